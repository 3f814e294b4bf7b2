"""Every command that a message prints can be pasted into a shell: each is really run, by bash.

The folder's name has spaces and a quote, and so have the files; one begins with a dash.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segan.runtime.bundle.classes import class_words, example_class
from segan.runtime.commands import command, quoted

#: A printed command: all that follows a colon and the program's name, to the end of its line.
_PRINTED = re.compile(r": +(segan [a-z].*)$", re.MULTILINE)

Replace = Callable[[Path, str, bytes], None]
Shell = Callable[[str], subprocess.CompletedProcess[str]]


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """Where the commands are typed."""
    folder = tmp_path / "Ann's own photos"
    folder.mkdir()
    return folder


@pytest.fixture
def shell(here: Path, tmp_path: Path) -> Shell:
    """shell(line) runs a line of bash as typed there; ``segan`` is this package."""
    program = tmp_path / "bin" / "segan"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {quoted(sys.executable)} -m segan.cli.main "$@"\n')
    program.chmod(0o755)
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}

    def run(line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", line],
            cwd=here,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run


def printed(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The commands in what a command printed."""
    return _PRINTED.findall(done.stdout + done.stderr)


def paste(shell: Shell, done: subprocess.CompletedProcess[str], count: int = 1) -> list[str]:
    """Run the commands that were printed, which all succeed; return what they print themselves."""
    commands = printed(done)
    assert len(commands) == count, done.stdout + done.stderr
    later = []
    for line in commands:
        pasted = shell(line)
        assert pasted.returncode == 0, f"{line}\n{pasted.stderr}"
        later += printed(pasted)
    return later


@pytest.fixture
def named(toy_bundle: Path, replace_file: Replace, here: Path) -> Path:
    """A bundle with a named slider, in a file that begins with a dash."""
    entries = [{"name": "Ann's smile $HOME", "layer": 1, "dim": 2, "range": [-1, 1], "sign": 1}]
    replace_file(toy_bundle, "attributes.json", json.dumps({"attributes": entries}).encode())
    return Path(toy_bundle.rename(here / "-my toy's.segan"))


def test_info_names_bundle_and_slider(shell: Shell, named: Path) -> None:
    done = shell("segan info")
    paste(shell, done, 3)
    assert all("./-my toy" in line for line in printed(done))
    assert printed(shell("segan info './-my toy'\\''s.segan'")) == printed(done)


def test_info_names_a_class(shell: Shell, toy_bundle_zip: Path, here: Path) -> None:
    toy_bundle_zip.rename(here / "with classes.segan")
    done = shell("segan info 'with classes.segan'")
    assert "--class" in done.stdout
    paste(shell, done)


def test_info_of_a_bundle_without_sliders(shell: Shell, toy_bundle_plain: Path, here: Path) -> None:
    pytest.importorskip("onnx", reason="needs onnx; the bare environment has none")
    toy_bundle_plain.rename(here / "plain it is.segan")
    (line,) = printed(shell("segan info"))  # which the toy's unnamed weights do not allow
    paste(shell, shell(f"{line} --method pca --samples 200"))


@pytest.mark.parametrize("conditional", [False, True])
def test_directions(
    shell: Shell, toy_bundle: Path, toy_bundle_zip: Path, here: Path, conditional: bool
) -> None:
    pytest.importorskip("onnx", reason="needs onnx; the bare environment has none")
    (toy_bundle_zip if conditional else toy_bundle).rename(here / "a b.segan")
    done = shell("segan directions 'a b.segan' --method pca --samples 200 --dims 2 -o 'c d.segan'")
    paste(shell, done)


def test_name(shell: Shell, named: Path) -> None:
    bundle = quoted(Path(named.name))
    paste(shell, shell(f"segan name {bundle} L0N0D0 'it'\\''s'"))
    done = shell(f"segan name {bundle} L0N0D1 'it'\\''s'")  # which L0N0D0 has
    assert done.returncode == 2
    paste(shell, done)
    assert shell(f"segan name {bundle} L0N0D1 'it'\\''s'").returncode == 0


def test_all_sliders_hidden(
    shell: Shell, toy_bundle: Path, here: Path, replace_file: Replace
) -> None:
    entries = [
        {"name": f"{layer} {dim}", "layer": layer, "dim": dim, "range": [-1, 1], "hidden": True}
        for layer, dims in ((0, 6), (1, 6), (2, 4))
        for dim in range(dims)
    ]
    replace_file(toy_bundle, "attributes.json", json.dumps({"attributes": entries}).encode())
    toy_bundle.rename(here / "a b.segan")
    done = shell("segan atlas 'a b.segan' --seeds 0-1")
    assert done.returncode == 2
    paste(shell, done)


def test_an_atlas_and_its_page(shell: Shell, named: Path, here: Path) -> None:
    import html

    done = shell(f"segan atlas {quoted(Path(named.name))} --seeds 0-1 --steps 3 -o 'at las'")
    assert done.returncode == 0, done.stderr
    (line,) = re.findall(r"; (segan .*)$", done.stdout, re.MULTILINE)
    assert shell(line).returncode == 0
    page = (here / "at las" / "index.html").read_text(encoding="utf-8")
    codes = re.findall(r"<code[^>]*>(.*?)</code>", page, re.DOTALL)
    shown = {" ".join(html.unescape(re.sub("<[^>]*>", "", code)).split()) for code in codes}
    on_page = {line for line in shown if line.startswith("segan ")}
    assert len(on_page) >= 3
    for prefix in ("segan sweep", "segan name", "segan atlas"):
        line = next(line for line in sorted(on_page) if line.startswith(prefix))
        pasted = shell(line)
        assert pasted.returncode == 0, f"{line}\n{pasted.stderr}"


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("sizes", "resolution"), [([(16, 16), (32, 32)], 16), ([(80, 60)], 32), ([(200, 200)], 128)]
)
def test_images_to_convert(
    shell: Shell, here: Path, sizes: list[tuple[int, int]], resolution: int, packed: bool
) -> None:
    photos = here / "-my photos"
    photos.mkdir()
    for number, size in enumerate(sizes):
        Image.fromarray(np.full((*size[::-1], 3), 99, np.uint8)).save(photos / f"{number}.png")
    if packed:
        shutil.make_archive(str(photos), "zip", photos)
    name = "-my photos" + ".zip" * packed
    done = shell(f"segan info ./{quoted(name)}")
    # One size for all is found by 'segan info' only where the first image is not good.
    if len(sizes) > 1:
        pytest.importorskip("torch", reason="training needs torch; the bare environment has none")
        done = shell(f"segan train --data ./{quoted(name)} --kimg 0.01")
    assert done.returncode == 1
    assert f"--resolution {resolution}" in done.stderr
    paste(shell, done)
    assert (here / f"-my photos-{resolution}.zip").exists()


@pytest.mark.slow
def test_training_to_export_and_on(shell: Shell, here: Path) -> None:
    pytest.importorskip("onnx", reason="export needs torch and onnx; the bare environment has none")
    assert shell("segan data render 'my faces.zip' --count 64 --resolution 8").returncode == 0
    small = "--kimg 0.016 --batch-size 4 --metric-images 0 --runs 'my runs'"
    done = shell(f"segan train --data 'my faces.zip' {small}")
    for line in paste(shell, done):  # export, which prints a sweep
        assert shell(line).returncode == 0
    (run,) = (here / "my runs").iterdir()
    resume = f"segan train --resume {quoted(run.relative_to(here))}"
    paste(shell, shell(resume), 2)  # complete: train longer, export
    # What a resumed run refuses is a new run with its weights.
    for other in ("--batch-size 8", "--mode 1"):
        done = shell(f"{resume} {other}")
        assert done.returncode == 2
        assert "--initial-checkpoint 'my runs/" in done.stderr
        assert other in printed(done)[0]
    paste(shell, done)
    assert shell("segan data render other.zip --count 64 --resolution 8 --seed 1").returncode == 0
    done = shell(f"{resume} --data other.zip")
    assert done.returncode == 1
    paste(shell, done)
    # Data that was moved is named once, and found from then on.
    (here / "my faces.zip").rename(here / "moved.zip")
    done = shell(f"{resume} --kimg 0.05")
    assert (done.returncode, "Pass --data PATH" in done.stderr) == (1, True)
    assert shell(f"{resume} --kimg 0.05 --data moved.zip").returncode == 0
    assert shell(f"{resume} --kimg 0.06").returncode == 0


@pytest.mark.slow
def test_a_projection(shell: Shell, here: Path) -> None:
    pytest.importorskip("onnx", reason="needs torch and onnx; the bare environment has none")
    done = shell("segan train --faces 64 --resolution 8 --kimg 0.008 --metric-images 0")
    assert done.returncode == 0
    Image.new("RGB", (16, 16), "red").save(here / "my photo.png")
    paste(shell, shell("segan project 'my photo.png' --steps 5 --video none"), 2)


def test_a_missing_bundle_names_the_command_that_writes_it(shell: Shell, here: Path) -> None:
    done = shell("segan info 'my own.segan'")
    assert printed(done) == ["segan export -o 'my own.segan'"]
    (here / "runs").mkdir()


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("a b", "'a b'"),
        ("it's", "'it'\"'\"'s'"),
        (Path("-x"), "./-x"),
        ("-x", "-x"),
        ("$HOME `x`", "'$HOME `x`'"),
        ("日本", "'日本'"),
        ("", "''"),
        ("\x1b[2J\n", r"$'\033[2J\012'"),
        ("\udcff9", r"$'\3779'"),
        ("\u202ea'\\", r"$'\342\200\256a\047\134'"),
    ],
)
def test_a_word_is_written_as_the_shell_reads_it(word: object, written: str) -> None:
    assert quoted(word) == written
    assert command("info", word) == f"segan info {written}"
    shown = subprocess.run(["bash", "-c", f"printf %s {written}"], capture_output=True).stdout
    assert os.path.normpath(os.fsdecode(shown)) == os.path.normpath(str(word))


def test_the_class_that_a_command_names() -> None:
    assert class_words(["a b", "c"], 2) == ["--class", "a b"]
    assert class_words([], 3) == ["--class", "0"]
    assert class_words([], 0) == []
    for name in ("7", "-1", "\x1b[2J", "", " a", "`psi`"):  # which would be misread
        assert example_class([name, "b"]) == "0"
