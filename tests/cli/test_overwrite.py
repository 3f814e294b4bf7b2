"""Every command that writes: what is there is never lost, and free names are chosen."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from segan.cli.main import COMMANDS, root, run

Run = Callable[..., str]


class Written(NamedTuple):
    """A command without its output, its option, and the file that it writes."""

    words: tuple[str, ...]
    option: str
    name: str


SHEET = ("--seeds", "0", "--steps", "2")
FILES = {
    "render": Written(("data", "render", "--count", "2", "--resolution", "8"), "", "out.zip"),
    "convert": Written(("data", "convert", "photos", "--resolution", "8"), "", "out.zip"),
    "sweep": Written(("sweep", "toy.segan", "--at", "L0N0D0", *SHEET), "-o", "out.png"),
    "webp": Written(("sweep", "toy.segan", "--at", "L0N0D0", *SHEET), "-o", "out.webp"),
    "gif": Written(("sweep", "toy.segan", "--at", "L0N0D0", *SHEET), "-o", "out.gif"),
    "mix": Written(("mix", "toy.segan", "--rows", "0", "--cols", "1"), "-o", "out.jpg"),
    "walk": Written(("interpolate", "toy.segan", "--seeds", "0,1", "--frames", "1"), "-o", "a.gif"),
    "benchmark": Written(
        (
            *("benchmark", "toy.segan", "--backends", "cpu", "--precisions", "fp32"),
            *("--batches", "1", "--rounds", "1", "--seconds", "0.01"),
        ),
        "-o",
        "out.json",
    ),
}
EACH = pytest.mark.parametrize("written", FILES.values(), ids=FILES)


@pytest.fixture
def here(toy_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with toy.segan and two photos, which is the current one."""
    folder = toy_bundle.parent
    (folder / "photos").mkdir()
    for number in range(2):
        Image.new("RGB", (9, 9), (200, number, 30)).save(folder / "photos" / f"{number}.png")
    monkeypatch.chdir(folder)
    return folder


def command(written: Written, out: Path | str, *more: str) -> list[str]:
    words = list(written.words)
    return [*words, *([written.option] if written.option else []), str(out), *more]


@EACH
def test_the_same_kind_needs_overwrite(
    here: Path, written: Written, capsys: pytest.CaptureFixture[str]
) -> None:
    out = here / written.name
    assert run(command(written, out)) == 0
    first = out.read_bytes()
    capsys.readouterr()
    assert run(command(written, out)) == 1
    message = capsys.readouterr().err
    assert str(out) in message
    assert "--overwrite" in message
    assert out.read_bytes() == first
    out.touch()
    os.utime(out, (1, 1))
    assert run(command(written, out, "--overwrite")) == 0
    assert out.stat().st_mtime > 1


@EACH
@pytest.mark.parametrize("content", [b"my notes", b"PK\x05\x06" + bytes(18), b'{"my": "notes"}'])
def test_another_kind_is_never_replaced(here: Path, written: Written, content: bytes) -> None:
    out = here / written.name
    out.write_bytes(content)
    for more in ((), ("--overwrite",)):
        assert run(command(written, out, *more)) == 1
        assert out.read_bytes() == content


@EACH
def test_a_link_is_written_through_and_devices_stay(here: Path, written: Written) -> None:
    out, goal = here / written.name, here / f"goal{Path(written.name).suffix}"
    assert run(command(written, goal)) == 0
    before = goal.stat().st_ino
    out.symlink_to(goal.name)
    assert run(command(written, out)) == 1
    assert run(command(written, out, "--overwrite")) == 0
    assert out.is_symlink()
    assert goal.stat().st_ino != before
    out.unlink()
    os.mkfifo(out)
    assert run(command(written, out, "--overwrite")) == 1
    assert out.is_fifo()


def test_a_source_is_never_the_target(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with zipfile.ZipFile("photos.zip", "w") as archive:
        for path in sorted((here / "photos").iterdir()):
            archive.write(path, path.name)
    os.link("photos.zip", "other.zip")
    (here / "link.zip").symlink_to("photos.zip")
    before = (here / "photos.zip").read_bytes()
    for out in ("photos.zip", "./photos/../photos.zip", "other.zip", "link.zip"):
        words = ["data", "convert", "photos.zip", out, "--resolution", "8", "--overwrite"]
        assert run(words) == 1
        assert "is read for the result" in capsys.readouterr().err
        assert (here / "photos.zip").read_bytes() == before
    np.savez("w.npz", w=np.zeros((1, 32), np.float32))
    shutil.copyfile("toy.segan/manifest.json", "bundle.json")
    assert run(["data", "render", "set.zip", "--count", "2", "--resolution", "8"]) == 0
    # A training zip that is converted onto itself is of the same kind, and still a source.
    assert run(["data", "convert", "set.zip", "set.zip", "--resolution", "8", "--overwrite"]) == 1


def test_a_photo_is_never_replaced_by_its_projection(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch", reason="segan project needs torch")
    shutil.copyfile("photos/0.png", "comparison.png")
    before = (here / "comparison.png").read_bytes()
    for more in ((), ("--overwrite",)):
        assert run(["project", "comparison.png", "runs/none", "-o", ".", *more]) == 1
        assert "comparison.png is read for the result" in capsys.readouterr().err
    # Another picture of that name needs --overwrite; without one the run is looked for.
    assert run(["project", "photos/1.png", "runs/none", "-o", "."]) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert run(["project", "photos/1.png", "runs/none"]) == 1
    assert "runs/none" in capsys.readouterr().err
    assert (here / "comparison.png").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "first", "second"),
    [
        (("sweep", "--at", "L0N0D0", *SHEET), "sweep-L0N0D0.png", "sweep-L0N0D0-2.png"),
        (("mix", "--rows", "0", "--cols", "1"), "mix.png", "mix-2.png"),
        (("interpolate", "--seeds", "0,1", "--frames", "1"), "walk.gif", "walk-2.gif"),
        (("sweep", "--all", *SHEET), "sweep", "sweep-2"),
        (
            ("sweep", "--at", "L0N0D0", "--by", "L1N0D0", "--seeds", "0,1", "--steps", "2"),
            "sweep-L0N0D0-by-L1N0D0-seed0.png",
            "sweep-L0N0D0-by-L1N0D0-2-seed0.png",
        ),
        (
            ("atlas", "--seeds", "0,1", "--shown", "1", "--steps", "3", "--no-propose"),
            "atlas/index.html",
            "atlas-2/index.html",
        ),
    ],
)
def test_a_name_that_the_command_chooses_is_free(
    here: Path, words: tuple[str, ...], first: str, second: str
) -> None:
    assert run([*words]) == 0
    made = here / first
    before = made.read_bytes() if made.is_file() else sorted(made.iterdir())
    assert run([*words]) == 0
    assert (here / second).exists()
    assert before == (made.read_bytes() if made.is_file() else sorted(made.iterdir()))
    assert run([*words, "--overwrite"]) == 0
    number = second.replace("-2", "-3")
    assert not (here / number).exists()


def test_frames_of_another_walk_need_overwrite(here: Path) -> None:
    words = ["interpolate", "toy.segan", "--seeds", "0,1", "-o", "walk", "--frames"]
    (here / "walk").mkdir()
    (here / "walk" / "notes.txt").write_text("mine")
    assert run([*words, "3"]) == 0
    (here / "walk" / "frame000000.png").unlink()
    assert run([*words, "1"]) == 1
    assert run([*words, "1", "--overwrite"]) == 0
    assert sorted(os.listdir("walk")) == ["frame000000.png", "frame000001.png", "notes.txt"]
    (here / "walk" / "frame000001.png").write_text("not a picture")
    assert run([*words, "1", "--overwrite"]) == 1


@pytest.mark.parametrize("words", [("atlas", "--seeds", "0,1", "--shown", "1", "--no-propose")])
def test_folders_need_overwrite(
    here: Path, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "out").mkdir()
    assert run([*words, "-o", "out"]) == 0
    (before,) = (here / "out").glob("*.json")
    stamp = before.stat().st_mtime_ns
    assert run([*words, "-o", "out"]) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert before.stat().st_mtime_ns == stamp
    assert run([*words, "-o", "out", "--overwrite"]) == 0
    (here / "out" / "notes.txt").write_text("mine")
    assert run([*words, "-o", "out", "--overwrite"]) == 1


def test_a_sheet_of_a_batch_replaces_no_other_picture(here: Path) -> None:
    (here / "out").mkdir()
    shutil.copyfile("photos/0.png", "out/sheet.png")
    before = (here / "out" / "sheet.png").read_bytes()
    words = ["generate", "toy.segan", "--seeds", "0-1", "-o", "out", "--sheet"]
    assert run(words) == 1
    assert os.listdir("out") == ["sheet.png"]
    assert (here / "out" / "sheet.png").read_bytes() == before
    assert run([*words, "--overwrite"]) == 0
    assert run(words) == 0  # The batch's own continuation.


def test_scores_are_appended_to_nothing_but_scores(here: Path) -> None:
    shutil.copyfile("photos/0.png", "m.jsonl")
    before = (here / "m.jsonl").read_bytes()
    assert run(["metrics", "toy.segan", "--metrics", "ppl_wend", "-o", "m.jsonl"]) == 1
    assert (here / "m.jsonl").read_bytes() == before


def test_every_command_with_an_output_has_the_option() -> None:
    """``metrics`` appends, and ``train`` numbers its runs."""
    missing = set()
    with root.make_context("segan", ["info"]) as context:
        for name in COMMANDS:
            found = root.get_command(context, name)
            assert found is not None
            for one in getattr(found, "commands", {name: found}).values():
                names = {parameter.name for parameter in one.params}
                if "out" in names and "overwrite" not in names:
                    missing.add(name)
    assert missing == {"metrics"}


def test_benchmark_and_its_plot_are_two_files(here: Path) -> None:
    written = FILES["benchmark"]
    pytest.importorskip("matplotlib", reason="needs matplotlib; the bare environment has none")
    assert run(command(written, "a.png", "--plot", str(here / "a.png"))) == 2
    shutil.copyfile("photos/0.png", "b.png")
    assert run(command(written, "a.json", "--plot", "b.png")) == 1
    assert not (here / "a.json").exists()
    assert run(command(written, "a.json", "--plot", "b.png", "--overwrite")) == 0
    assert json.loads((here / "a.json").read_text())["rows"]
