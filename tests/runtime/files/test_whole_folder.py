"""Tests of folders that appear whole; bundles and checkpoints have further ones."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from segan.runtime.errors import OutputError
from segan.runtime.files import whole_folder
from segan.runtime.files.atomic import write_atomic
from segan.runtime.files.whole_folder import (
    FolderKind,
    check_folder,
    folder_draft,
    recover,
    remove_whole,
)

KIND = FolderKind("a result", "record.json", "segan.result/1")


def write(out: Path, text: str) -> None:
    with folder_draft(out, KIND) as draft:
        (draft / "page.html").write_text(text)
        record = {"format": KIND.format, "files": ["page.html", "record.json"]}
        (draft / "record.json").write_text(json.dumps(record))


@pytest.fixture
def gone() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize("out", [".", "..", "../../..", "../here", "/"])
def test_the_folder_that_a_shell_stands_in_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    with pytest.raises(OutputError, match="current folder") as error:
        write(Path(out), "one")
    assert (error.value.field, error.value.value) == ("out", Path(out))
    assert list(tmp_path.rglob("*")) == [here]
    assert Path.cwd() == here
    write(Path("below"), "one")
    assert (here / "below" / "page.html").is_file()


def test_a_link_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "real", "one")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(OutputError, match=KIND.what) as error:
        write(tmp_path / "link", "two")
    assert (error.value.field, error.value.value) == ("out", tmp_path / "link")
    assert (tmp_path / "link").is_symlink()


def test_a_file_that_comes_while_the_draft_is_written_stays(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(out, "one")

    def meanwhile() -> None:
        with folder_draft(out, KIND) as draft:
            (draft / "page.html").write_text("two")
            (out / "notes.txt").write_text("mine")

    with pytest.raises(OutputError, match=r"notes\.txt"):
        meanwhile()
    assert (out / "notes.txt").read_text() == "mine"
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.skipif(os.name == "nt", reason="Windows does not tell whether a process runs")
def test_what_a_killed_run_left_is_put_back_or_removed(tmp_path: Path, gone: int) -> None:
    out = tmp_path / "out"
    write(out, "one")
    # Killed between the two renames.
    out.rename(tmp_path / f".out.{gone}-0123abcd.old.tmp")
    (tmp_path / f".out.{gone}-0123abcd.tmp").mkdir()
    (tmp_path / f".out.{gone}-0123abcd.tmp" / "page.html").write_text("two")
    check_folder(out, KIND)
    assert list(tmp_path.iterdir()) == [out]
    assert (out / "page.html").read_text() == "one"
    # Killed after them.
    shutil.copytree(out, tmp_path / f".out.{gone}-0123abcd.old.tmp")
    check_folder(out, KIND)
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.skipif(os.name == "nt", reason="Windows does not tell whether a process runs")
def test_what_may_be_somebodys_is_not_removed(tmp_path: Path, gone: int) -> None:
    out = tmp_path / "out"
    write(out, "one")
    names = {
        f".out.{os.getpid()}-0123abcd.tmp",  # of a run that continues
        f".out.{os.getpid()}-0123abcd.old.tmp",
        f".other.{gone}-0123abcd.tmp",
        f".out.{gone}-0123abcd.old.tmp",  # holds a file that no result lists
        f".out.{gone}.tmp",
    }
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "notes.txt").write_text("mine")
    write(out, "two")
    assert {path.name for path in tmp_path.iterdir()} == {"out", *names}


def test_an_error_names_the_final_place_of_a_file(tmp_path: Path) -> None:
    out = tmp_path / "out"

    def write_into(place: str) -> None:
        with folder_draft(out, KIND) as draft:
            (draft / "file").write_text("")
            write_atomic(draft / place, b"data")

    with pytest.raises(OutputError) as error:
        write_into("file/below")
    assert error.value.value == out / "file" / "below"
    with pytest.raises(OutputError) as error, folder_draft(out, KIND) as draft:
        (draft / "missing").read_bytes()
    assert error.value.value == out / "missing"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows does not tell whether a process runs")
def test_a_kill_while_the_older_is_removed_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: int
) -> None:
    """The record goes first, so that the rest of the folder is not known by it any more."""
    out = tmp_path / "out"
    write(out, "one")
    removed: list[Path] = []
    rmtree = shutil.rmtree

    def cut(path: Path, **_: object) -> None:
        if (path / "record.json").exists() and not removed:
            removed.append(path)
            (path / "record.json").unlink()
            raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", cut)
    with pytest.raises(KeyboardInterrupt):
        write(out, "two")
    monkeypatch.setattr(shutil, "rmtree", rmtree)
    (rest,) = set(tmp_path.iterdir()) - {out}
    rest.rename(tmp_path / rest.name.replace(str(os.getpid()), str(gone)))
    check_folder(out, KIND)
    assert list(tmp_path.iterdir()) == [out]
    assert (out / "page.html").read_text() == "two"


def test_the_holder_of_a_lock_clears_everything(tmp_path: Path) -> None:
    """Also of a process that runs, and names of an older form."""
    former = r"(?P<name>{name})-(?P<process>\d+)(?P<old>-old)?"
    for name in (f".a1.{os.getpid()}-0123abcd.tmp", f"a2-{os.getpid()}-old", "a3-7", "b1-7", "a9"):
        (tmp_path / name).mkdir()
    recover(tmp_path, r"a\d", locked=True, former_names=[former])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a2", "a9", "b1-7"]
    recover(tmp_path / "missing", r"a\d")


def test_a_folder_that_cannot_be_renamed_is_not_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    (tmp_path / "out").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", refuse)
        remove_whole(tmp_path / "out")
    assert (tmp_path / "out").is_dir()
    remove_whole(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["x" * 250, "ü" * 120])
def test_a_long_name(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, "one")
    write(tmp_path / name, "two")
    assert list(tmp_path.iterdir()) == [tmp_path / name]
    assert (tmp_path / name / "page.html").read_text() == "two"


def test_an_interrupt_between_the_renames_leaves_the_older(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, rename = tmp_path / "out", os.rename
    write(out, "one")

    def interrupt(source: Path, target: Path) -> None:
        if target == out and not source.name.endswith(".old.tmp"):
            raise KeyboardInterrupt
        rename(source, target)

    monkeypatch.setattr(os, "rename", interrupt)
    monkeypatch.setattr(whole_folder, "exchange", lambda *_: False)
    with pytest.raises(KeyboardInterrupt):
        write(out, "two")
    assert (out / "page.html").read_text() == "one"
    assert list(tmp_path.iterdir()) == [out]


WRITER = """
import itertools, json, sys
from pathlib import Path
from segan.runtime.files.whole_folder import FolderKind, folder_draft

out, kind = Path(sys.argv[1]), FolderKind("a result", "record.json", "segan.result/1")
for number in itertools.count():
    with folder_draft(out, kind) as draft:
        for name in ("a", "b", "c"):
            (draft / name).write_text(str(number))
        record = {"format": kind.format, "number": number, "files": ["a", "b", "c", "record.json"]}
        (draft / "record.json").write_text(json.dumps(record))
    print(number, flush=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_killed_at_any_moment_the_folder_is_whole(tmp_path: Path) -> None:
    out, moments = tmp_path / "out", random.Random(0)
    for _ in range(8):
        command = [sys.executable, "-c", WRITER, str(out)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline()
            time.sleep(moments.uniform(0, 0.02))
            process.kill()
        check_folder(out, KIND)
        assert list(tmp_path.iterdir()) == [out]
        number = str(json.loads((out / "record.json").read_text())["number"])
        assert [(out / name).read_text() for name in ("a", "b", "c")] == [number] * 3
