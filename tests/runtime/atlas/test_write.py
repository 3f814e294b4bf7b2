from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from segan.runtime.atlas import Atlas, AtlasConfig, measure_atlas
from segan.runtime.atlas import write as atlas_folder
from segan.runtime.atlas.cards import PageCommands
from segan.runtime.atlas.write import check_atlas_folder, write_atlas
from segan.runtime.errors import OutputError
from segan.runtime.files import whole_folder
from segan.runtime.generate.generator import load

if TYPE_CHECKING:
    from tests.conftest import RaisesError
    from tests.runtime.atlas.conftest import DrawnGenerator

COMMANDS = PageCommands()


@pytest.fixture
def atlas(drawn: DrawnGenerator) -> Atlas:
    return measure_atlas(drawn, AtlasConfig(seeds=range(3), shown=2, steps=3))


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_folder_holds_the_page_and_its_pictures(atlas: Atlas, tmp_path: Path) -> None:
    page = write_atlas(atlas, tmp_path / "deep" / "atlas", COMMANDS)
    out = tmp_path / "deep" / "atlas"
    assert page == out / "index.html"
    names = set(contents(out))
    sliders = [str(entry.slider) for entry in atlas.sliders]
    assert names == {
        "index.html",
        "atlas.json",
        "samples.webp",
        *(f"strips/{slider}.webp" for slider in sliders),
        *(f"heat/{slider}.webp" for slider in sliders),
        *(f"sheets/L{layer}N0.png" for layer in range(3)),
    }
    record = json.loads((out / "atlas.json").read_text())
    assert record.pop("files") == sorted(names)
    assert record == json.loads(json.dumps(atlas.to_json()))
    with Image.open(out / "strips" / "L0N0D0.webp") as strip:
        assert strip.size == (3 * 96, 2 * 96)
    assert list(out.parent.iterdir()) == [out]


def test_the_same_atlas_gives_the_same_bytes(atlas: Atlas, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_atlas(atlas, tmp_path / name, COMMANDS)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_an_atlas_is_replaced_whole(atlas: Atlas, tmp_path: Path) -> None:
    out = tmp_path / "atlas"
    write_atlas(atlas, out, COMMANDS)
    (out / "strips" / "L9N9D9.webp").write_bytes(b"of an older bundle")
    record = json.loads((out / "atlas.json").read_text())
    record["files"].append("strips/L9N9D9.webp")
    (out / "atlas.json").write_text(json.dumps(record))
    write_atlas(atlas, out, COMMANDS)
    assert not (out / "strips" / "L9N9D9.webp").exists()
    out = tmp_path / "empty"
    out.mkdir()
    write_atlas(atlas, out, COMMANDS)
    assert (out / "index.html").is_file()


def test_other_folders_are_not_replaced(
    atlas: Atlas, tmp_path: Path, raises_error: RaisesError
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("years of work")
    other = tmp_path / "other"
    other.mkdir()
    (other / "atlas.json").write_text('{"format": "world"}')
    (tmp_path / "file").write_text("x")
    write_atlas(atlas, tmp_path / "real", COMMANDS)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    before = contents(tmp_path)
    for name in ("mine", "other", "file", "link"):
        with raises_error(OutputError, field="out", value=tmp_path / name):
            write_atlas(atlas, tmp_path / name, COMMANDS)
    assert contents(tmp_path) == before
    check_atlas_folder(tmp_path / "nothing")


def test_an_atlas_with_other_files_is_not_replaced(
    atlas: Atlas, tmp_path: Path, raises_error: RaisesError
) -> None:
    out = tmp_path / "atlas"
    write_atlas(atlas, out, COMMANDS)
    (out / "strips" / "notes.txt").write_text("mine")
    before = contents(tmp_path)
    with raises_error(OutputError, field="out", value=out, problem="strips/notes.txt"):
        check_atlas_folder(out)
    with raises_error(OutputError, field="out", value=out, problem="strips/notes.txt"):
        write_atlas(atlas, out, COMMANDS)
    assert contents(tmp_path) == before
    # An atlas that does not say what belongs to it could hold anything.
    (out / "strips" / "notes.txt").unlink()
    (out / "atlas.json").write_text(json.dumps(atlas.to_json()))
    with raises_error(OutputError, field="out", value=out):
        write_atlas(atlas, out, COMMANDS)


@pytest.mark.parametrize("cut", ["_fill", "rename"])
def test_a_failure_leaves_the_old_atlas(
    atlas: Atlas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: str
) -> None:
    out = tmp_path / "atlas"
    write_atlas(atlas, out, COMMANDS)
    before = contents(tmp_path)
    rename = os.rename

    def fail(*arguments: object) -> None:
        raise OSError(28, "no room")

    def fail_second(source: Path, target: Path) -> None:
        if target == out and ".old" not in str(source):
            fail()
        rename(source, target)

    if cut == "_fill":
        monkeypatch.setattr(atlas_folder, "png", fail)
    else:
        monkeypatch.setattr(os, "rename", fail_second)
        monkeypatch.setattr(whole_folder, "exchange", lambda *_: False)
    with pytest.raises(OutputError, match="the disk is full"):
        write_atlas(atlas, out, COMMANDS)
    assert contents(tmp_path) == before
    assert list(tmp_path.glob(".*.tmp")) == []


def test_heat_is_where_the_image_changes(atlas: Atlas, tmp_path: Path) -> None:
    write_atlas(atlas, tmp_path / "atlas", COMMANDS)
    with Image.open(tmp_path / "atlas" / "heat" / "L0N0D0.webp") as found:
        heat = np.asarray(found.convert("RGB")).astype(int)
    assert heat.shape == (128, 128, 3)
    assert heat[10, 10].sum() > 550  # pale yellow
    assert heat[80, 80].sum() < 300
    with Image.open(tmp_path / "atlas" / "heat" / "L0N0D2.webp") as found:
        dead = np.asarray(found.convert("RGB")).astype(int)
    assert dead.max(-1).mean() < 110


def test_grey_pictures_of_a_conditional_bundle(toy_bundle_zip: Path, tmp_path: Path) -> None:
    with load(toy_bundle_zip, "cpu", threads=1) as generator:
        atlas = measure_atlas(generator, AtlasConfig(seeds=range(3), steps=3))
    write_atlas(atlas, tmp_path / "atlas", COMMANDS)
    text = (tmp_path / "atlas" / "index.html").read_text(encoding="utf-8")
    assert "3 classes in turn" in text
    assert "seeds 0 (circle), 1 (square), 2 (star)" in text
    assert sorted(path.name for path in (tmp_path / "atlas" / "sheets").iterdir()) == [
        "L0N0.png",
        "L1N0.png",
        "L1N1.png",
        "L2N0.png",
    ]
