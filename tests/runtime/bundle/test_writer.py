"""Changes of one bundle by several processes, and changes that are killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from segan.runtime.bundle import writer
from segan.runtime.bundle.attributes import read_attributes
from segan.runtime.bundle.attributes_editing import change_attributes, name_slider, write_attributes
from segan.runtime.bundle.layout import Slider
from segan.runtime.bundle.reader import find_bundle, open_bundle
from segan.runtime.bundle.writer import BundleDraft, changing, check_replaceable, check_target
from segan.runtime.errors import BundleError, ConfigError, OutputError

if TYPE_CHECKING:
    from tests.conftest import RaisesError

ROUNDS = 12

NAMER = """
import sys
from segan.runtime.bundle.attributes import read_attributes
from segan.runtime.bundle.attributes_editing import change_attributes, name_slider, remove_names
from segan.runtime.bundle.layout import Slider
from segan.runtime.bundle.reader import open_bundle

path, layer, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
sys.stdin.readline()
for number in range(rounds):
    for dim in range(3):
        slider = Slider(layer, 0, dim)
        text = f"{layer} {dim} {number}"
        change_attributes(path, lambda bundle: name_slider(bundle, slider, text))
        assert text in {entry.name for entry in read_attributes(open_bundle(path))}
    if number < rounds - 1:
        change_attributes(path, lambda bundle: remove_names(bundle, Slider(layer, 0, 0)))
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows locks no folder")
@pytest.mark.parametrize("kind", ["toy_bundle", "toy_bundle_zip"])
def test_processes_that_name_sliders_at_once_lose_nothing(
    request: pytest.FixtureRequest, kind: str
) -> None:
    path: Path = request.getfixturevalue(kind)
    command = [sys.executable, "-c", NAMER, str(path)]
    running = [
        subprocess.Popen([*command, str(layer), str(ROUNDS)], stdin=subprocess.PIPE)
        for layer in range(3 if kind == "toy_bundle" else 2)
    ]
    for process in running:
        process.communicate(b"\n")
    assert [process.returncode for process in running] == [0] * len(running)
    bundle = open_bundle(path)
    bundle.verify()
    assert {entry.name for entry in read_attributes(bundle)} == {
        f"{layer} {dim} {ROUNDS - 1}" for layer in range(len(running)) for dim in range(3)
    }
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_another_change_is_waited_for(
    toy_bundle: Path, monkeypatch: pytest.MonkeyPatch, raises_error: RaisesError
) -> None:
    monkeypatch.setattr(writer, "CHANGE_WAIT", 0.1)
    bundle = open_bundle(toy_bundle)
    found = name_slider(bundle, Slider(0, 0, 0), "smile")
    with changing(toy_bundle), raises_error(ConfigError, value=toy_bundle, problem="changing"):
        write_attributes(bundle, found)
    write_attributes(bundle, found)
    with raises_error(BundleError, field="bundle", value=toy_bundle):
        write_attributes(bundle, found)


def test_a_copy_replaces_only_where_that_is_asked_for(
    toy_bundle: Path, tmp_path: Path, raises_error: RaisesError
) -> None:
    out = tmp_path / "mine.segan"

    def named(text: str, overwrite: bool) -> None:
        change_attributes(
            toy_bundle,
            lambda bundle: name_slider(bundle, Slider(0, 0, 0), text),
            out,
            overwrite=overwrite,
        )

    named("smile", False)
    with raises_error(OutputError, field="out", value=out, remedy="`overwrite`"):
        named("smile", False)
    named("smile", True)
    with raises_error(OutputError, field="out", value=out, problem="smile (L0N0D0)"):
        named("pose", True)
    (tmp_path / "link.segan").symlink_to(toy_bundle)
    for place in (toy_bundle, tmp_path / "link.segan"):
        with raises_error(OutputError, field="out", value=place, problem="is read for"):
            change_attributes(toy_bundle, read_attributes, place, overwrite=True)


@pytest.mark.skipif(os.name == "nt", reason="special files")
def test_a_pipe_is_no_place_for_a_bundle(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.segan")
    with pytest.raises(OutputError):
        check_target(tmp_path / "a.segan")
    assert (tmp_path / "a.segan").is_fifo()


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_bundle_that_a_kill_left_aside_is_opened(toy_bundle: Path) -> None:
    with subprocess.Popen([sys.executable, "-S", "-c", ""]) as gone:
        gone.wait()
    aside = toy_bundle.with_name(f".{toy_bundle.name}.{gone.pid}-0123abcd.old.tmp")
    for find in (
        lambda: find_bundle(toy_bundle.parent),
        lambda: open_bundle(toy_bundle).path,
        lambda: change_attributes(toy_bundle, read_attributes)[0],
    ):
        toy_bundle.rename(aside)
        assert find() == toy_bundle
        open_bundle(toy_bundle).verify()
        assert [path.name for path in toy_bundle.parent.iterdir()] == [toy_bundle.name]


CHANGE = """
import os, shutil
from pathlib import Path
from segan.runtime.bundle.attributes import read_attributes
from segan.runtime.bundle.attributes_editing import change_attributes, name_slider
from segan.runtime.bundle.layout import Slider
from segan.runtime.bundle.reader import open_bundle
from segan.runtime.bundle.writer import BundleDraft

CAN_EXCHANGE, IN_PLACE = {can_exchange}, {in_place}
PATH, COPY = Path("b.segan"), Path("../{source}")
Path("..").resolve()

def name(text):
    change_attributes(PATH, lambda bundle: name_slider(bundle, Slider(0, 0, 0), text))

def names():
    bundle = open_bundle(PATH)
    bundle.verify()
    return [entry.name for entry in read_attributes(bundle)]

def replace():
    source = open_bundle(PATH)
    with BundleDraft(PATH, in_place=IN_PLACE) as draft, draft.replacing():
        for file in source.manifest.files:
            draft.add(file, source.read(file))
        draft.add("attributes.json", b'{{"format": "segan.attributes/1", "attributes": []}}')
        import msgspec
        files = dict(draft.files)
        draft.write_manifest(msgspec.structs.replace(source.manifest, files=files))
        draft.commit()

def reset():
    if not PATH.exists():
        (shutil.copytree if COPY.is_dir() else shutil.copyfile)(COPY, PATH)
    name("old")

def change():
    {change}

def check(finished):
    found, new = names(), {new}
    assert found == new if finished else found in (["old"], new), found
    assert len(os.listdir(".")) <= 3, os.listdir(".")  # A draft, and its zip.
    name("next")
    assert names() == ["next"]
    with BundleDraft(PATH):
        pass
    assert os.listdir(".") == ["b.segan"], os.listdir(".")
    if PATH.is_dir():
        assert sorted(os.listdir(PATH)) == sorted(os.listdir(COPY)), os.listdir(PATH)
"""


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize(
    ("source", "change", "new", "can_exchange"),
    [
        ("toy.segan", "name('new')", "['new']", True),
        ("toy_shifts.segan", "name('new')", "['new']", True),
        ("toy.segan", "replace()", "[]", True),
        ("toy.segan", "replace()", "[]", False),
        ("toy_shifts.segan", "replace()", "[]", True),
    ],
    ids=["name", "name-zip", "replace", "replace-by-renames", "replace-zip"],
)
def test_a_kill_leaves_the_old_bundle_or_the_new_one(
    toy_bundle: Path,
    toy_bundle_zip: Path,
    tmp_path: Path,
    kill_everywhere: Callable[[str, Path], int],
    source: str,
    change: str,
    new: str,
    can_exchange: bool,
) -> None:
    (tmp_path / "here").mkdir()
    program = CHANGE.format(
        source=source,
        change=change,
        new=new,
        can_exchange=can_exchange,
        in_place=source == toy_bundle_zip.name,
    )
    assert kill_everywhere(program, tmp_path / "here") > 10


def test_a_draft_that_is_not_committed_changes_nothing(toy_bundle: Path) -> None:
    before = open_bundle(toy_bundle).manifest
    with BundleDraft(toy_bundle) as draft, draft.replacing() as old:
        assert old is not None
        assert old.manifest == before
    assert open_bundle(toy_bundle).manifest == before


def test_a_bundle_that_holds_files_of_its_user_is_not_replaced(toy_bundle: Path) -> None:
    (toy_bundle / "engines").mkdir()
    (toy_bundle / "engines" / "a.plan").touch()
    check_replaceable(toy_bundle)
    (toy_bundle / "mine.txt").touch()
    with pytest.raises(OutputError, match=r"holds mine.txt, which its manifest does not list"):
        check_replaceable(toy_bundle)
