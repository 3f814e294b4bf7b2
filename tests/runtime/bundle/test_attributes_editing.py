from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from segan.runtime.bundle import shipped
from segan.runtime.bundle.attributes import read_attributes
from segan.runtime.bundle.attributes_editing import (
    name_slider,
    name_sliders,
    pack_bundle,
    remove_names,
    write_attributes,
)
from segan.runtime.bundle.layout import Slider
from segan.runtime.bundle.reader import MANIFEST, open_bundle
from segan.runtime.errors import BundleError, ConfigError, OutputError
from segan.runtime.generate.generator import load

if TYPE_CHECKING:
    from tests.conftest import RaisesError

SMILE, POSE = Slider(1, 0, 2), Slider(0, 0, 5)


def names(path: Path) -> dict[str, str]:
    return {entry.name: str(entry.slider) for entry in read_attributes(open_bundle(path))}


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def name(path: Path, slider: Slider, text: str) -> None:
    bundle = open_bundle(path)
    write_attributes(bundle, name_slider(bundle, slider, text))


def test_a_name_is_kept_in_a_folder(toy_bundle: Path) -> None:
    before = contents(toy_bundle)
    bundle = open_bundle(toy_bundle)
    found = name_slider(bundle, SMILE, "smile", limits=(-1.5, 2), sign=-1, hidden=True)
    assert write_attributes(bundle, found) == toy_bundle
    after = contents(toy_bundle)
    assert {file for file in after if after[file] != before.get(file)} == {
        "manifest.json",
        "attributes.json",
    }
    assert set(after) == set(before)
    document = json.loads(after["attributes.json"])
    assert document == {
        "format": "segan.attributes/1",
        "attributes": [
            {
                "name": "smile",
                "layer": 1,
                "index": 0,
                "dim": 2,
                "range": [-1.5, 2],
                "sign": -1,
                "hidden": True,
            }
        ],
    }
    manifests = [json.loads(files["manifest.json"]) for files in (before, after)]
    digest = hashlib.sha256(after["attributes.json"]).hexdigest()
    manifests[0]["files"]["attributes.json"] = digest
    assert manifests[0] == manifests[1]
    open_bundle(toy_bundle).verify()


def test_a_name_is_kept_in_a_zip(toy_bundle_zip: Path) -> None:
    with load(toy_bundle_zip, "cpu") as generator:
        expected = generator.generate([5], class_index=1)
    name(toy_bundle_zip, Slider(1, 1, 2), "smile")
    assert names(toy_bundle_zip) == {"smile": "L1N1D2"}
    open_bundle(toy_bundle_zip).verify()
    with zipfile.ZipFile(toy_bundle_zip) as archive:
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        assert len(set(archive.namelist())) == len(archive.namelist())
    with load(toy_bundle_zip, "cpu") as generator:
        assert np.array_equal(generator.generate([5], class_index=1), expected)
    assert [path.name for path in toy_bundle_zip.parent.iterdir()] == [toy_bundle_zip.name]


def test_a_name_can_be_changed_and_removed(toy_bundle: Path) -> None:
    name(toy_bundle, POSE, "pose")
    name(toy_bundle, SMILE, "smile")
    name(toy_bundle, POSE, "head pose")
    assert names(toy_bundle) == {"head pose": "L0N0D5", "smile": "L1N0D2"}
    bundle = open_bundle(toy_bundle)
    (_, smile) = name_slider(bundle, SMILE, limits=(-1, 2))
    assert (smile.name, smile.range, smile.sign) == ("smile", (-1, 2), 1)
    write_attributes(bundle, remove_names(bundle, POSE))
    assert names(toy_bundle) == {"smile": "L1N0D2"}
    with pytest.raises(ConfigError, match="L0N0D5 has no name to remove"):
        remove_names(open_bundle(toy_bundle), POSE)


def test_several_sliders_are_named_as_far_as_they_go(toy_bundle: Path) -> None:
    bundle = open_bundle(toy_bundle)
    write_attributes(bundle, name_sliders(bundle, "glasses", {POSE: 0.5, SMILE: -2.0}))
    bundle = open_bundle(toy_bundle)
    (entry,) = read_attributes(bundle)
    assert entry.weights == {POSE: 0.5, SMILE: -2.0}
    assert entry.range == pytest.approx((-(3**0.5) / 2, 3**0.5 / 2))
    # The same name again changes it, and keeps the range.
    (again,) = name_sliders(bundle, "Glasses", {POSE: 1.0, SMILE: 1.0}, hidden=True)
    assert (again.name, again.range, again.hidden) == ("Glasses", entry.range, True)
    # A slider's own name is another one.
    write_attributes(bundle, name_slider(bundle, POSE, "pose"))
    bundle = open_bundle(toy_bundle)
    assert [each.name for each in read_attributes(bundle)] == ["glasses", "pose"]
    with pytest.raises(ConfigError, match="L0N0D5 has the name 'pose' already"):
        name_sliders(bundle, "pose", {POSE: 1.0, SMILE: 1.0})
    with pytest.raises(ConfigError, match="a name of several sliders has the name"):
        name_slider(bundle, SMILE, "GLASSES")
    assert [each.name for each in remove_names(bundle, entry)] == ["pose"]


def test_turning_the_sign_turns_the_range(toy_bundle: Path) -> None:
    bundle = open_bundle(toy_bundle)
    write_attributes(bundle, name_slider(bundle, SMILE, "smile", limits=(-1, 2)))
    (smile,) = name_slider(open_bundle(toy_bundle), SMILE, sign=-1)
    assert (smile.range, smile.sign) == ((-2, 1), -1)


def test_a_slider_without_a_name_can_be_hidden(toy_bundle: Path) -> None:
    bundle = open_bundle(toy_bundle)
    write_attributes(bundle, name_slider(bundle, SMILE, hidden=True))
    (entry,) = read_attributes(open_bundle(toy_bundle))
    assert (entry.name, entry.hidden) == ("L1N0D2", True)
    assert entry.range == pytest.approx((-(3**0.5), 3**0.5))


def test_what_others_wrote_stays(
    toy_bundle: Path, replace_file: Callable[[Path, str, bytes], None]
) -> None:
    entry = {"name": "pca 1, layer 0", "layer": 0, "index": 0, "dim": 1, "range": [-3, 3]}
    entry |= {"method": "pca", "layers": [0], "sigma": 0.5}
    document = {"attributes": [entry], "written_by": "me"}
    replace_file(toy_bundle, "attributes.json", json.dumps(document).encode())
    name(toy_bundle, Slider(0, 0, 1), "pose")
    found = json.loads((toy_bundle / "attributes.json").read_bytes())
    assert found["written_by"] == "me"
    assert found["attributes"] == [{**entry, "name": "pose"}]


@pytest.mark.parametrize(
    ("slider", "text", "message"),
    [
        (POSE, "smile", "L1N0D2 has the name 'smile'"),
        (POSE, "SMILE", "L1N0D2 has the name 'SMILE'"),
        (POSE, "", "1 to 100 printable"),
        (POSE, "a=b", "'='"),
        (POSE, "L1N0D1", "reads as a slider"),
        (Slider(7, 0, 0), "x", "layer is 7"),
        (Slider(2, 0, 4), "x", "dim is 4"),
    ],
)
def test_names_that_cannot_be(toy_bundle: Path, slider: Slider, text: str, message: str) -> None:
    name(toy_bundle, SMILE, "smile")
    with pytest.raises(ConfigError, match=message):
        name_slider(open_bundle(toy_bundle), slider, text)


def test_limits_that_do_not_rise(toy_bundle: Path) -> None:
    with pytest.raises(ConfigError, match="range is 1, -1"):
        name_slider(open_bundle(toy_bundle), SMILE, "smile", limits=(1, -1))


class Killed(BaseException):
    """Ends the writing where a crash would."""


@pytest.mark.parametrize("survived", range(4))
def test_a_crash_at_any_step_leaves_one_of_the_two(
    toy_bundle: Path, monkeypatch: pytest.MonkeyPatch, survived: int
) -> None:
    name(toy_bundle, SMILE, "smile")
    renames = 0
    rename = os.replace

    def replace(*paths: Path) -> None:
        nonlocal renames
        if renames == survived:
            raise Killed
        renames += 1
        rename(*paths)

    bundle = open_bundle(toy_bundle)
    found = name_slider(bundle, SMILE, "grin")
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace)
        if survived < 3:
            with pytest.raises(Killed):
                write_attributes(bundle, found)
        else:
            write_attributes(bundle, found)
    assert renames == survived
    open_bundle(toy_bundle).verify()
    assert names(toy_bundle) == {"smile" if survived < 2 else "grin": "L1N0D2"}
    # And the next writing is none the worse for it.
    name(toy_bundle, POSE, "pose")
    open_bundle(toy_bundle).verify()
    assert len(names(toy_bundle)) == 2
    assert not (toy_bundle / "attributes.json.next").exists()


def test_a_crash_leaves_a_zip_as_it_was(
    toy_bundle_zip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = toy_bundle_zip.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OutputError, match="the disk is full"):
        name(toy_bundle_zip, SMILE, "smile")
    assert toy_bundle_zip.read_bytes() == before
    assert [path.name for path in toy_bundle_zip.parent.iterdir()] == [toy_bundle_zip.name]


def test_an_altered_attributes_file_is_still_refused(toy_bundle: Path) -> None:
    name(toy_bundle, SMILE, "smile")
    (toy_bundle / "attributes.json").write_text("{}")
    with pytest.raises(BundleError, match="was altered"):
        read_attributes(open_bundle(toy_bundle))
    (toy_bundle / "attributes.json.next").write_text("{}")
    with pytest.raises(BundleError, match="was altered"):
        read_attributes(open_bundle(toy_bundle))


def test_a_copy_leaves_the_bundle_as_it_was(
    toy_bundle: Path, tmp_path: Path, raises_error: RaisesError
) -> None:
    before = contents(toy_bundle)
    bundle = open_bundle(toy_bundle)
    found = name_slider(bundle, SMILE, "smile")
    out = tmp_path / "mine.segan"
    assert write_attributes(bundle, found, out) == out
    assert contents(toy_bundle) == before
    assert names(out) == {"smile": "L1N0D2"}
    open_bundle(out).verify()
    with raises_error(OutputError, field="out", value=out):
        write_attributes(bundle, found, out)
    with raises_error(ConfigError, field="out", value=tmp_path / "mine.zip"):
        write_attributes(bundle, found, tmp_path / "mine.zip")


def test_a_damaged_bundle_is_not_copied(toy_bundle: Path, tmp_path: Path) -> None:
    (toy_bundle / "mapping.onnx").write_bytes(b"altered")
    bundle = open_bundle(toy_bundle)
    with pytest.raises(BundleError, match=r"mapping\.onnx was altered"):
        write_attributes(bundle, name_slider(bundle, SMILE, "smile"), tmp_path / "mine.segan")
    assert [path.name for path in tmp_path.iterdir()] == ["toy.segan"]


def test_the_shipped_bundle_is_not_changed(
    toy_bundle_zip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    raises_error: RaisesError,
) -> None:
    monkeypatch.setattr(shipped, "MODELS", toy_bundle_zip.parent)
    bundle = open_bundle(toy_bundle_zip)
    found = name_slider(bundle, SMILE, "smile")
    remedy = f"`out {toy_bundle_zip.name}`"
    with raises_error(ConfigError, field="bundle", value=toy_bundle_zip, remedy=remedy):
        write_attributes(bundle, found)
    write_attributes(bundle, found, tmp_path / "mine.segan")


def test_packing_gives_the_same_bytes(toy_bundle: Path, tmp_path: Path) -> None:
    for out in ("a.segan", "b.segan"):
        pack_bundle(toy_bundle, tmp_path / out)
    assert (tmp_path / "a.segan").read_bytes() == (tmp_path / "b.segan").read_bytes()
    open_bundle(tmp_path / "a.segan").verify()
    assert MANIFEST in zipfile.ZipFile(tmp_path / "a.segan").namelist()[0]
