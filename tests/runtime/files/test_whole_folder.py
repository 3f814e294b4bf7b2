"""What the commands that write folders share; their own tests are beside them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from segan.runtime.errors import OutputError
from segan.runtime.files.whole_folder import FolderKind, check_folder, folder_draft

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
    with pytest.raises(OutputError, match=r"is the current folder, or one above it.*-o"):
        write(Path(out), "one")
    assert list(tmp_path.rglob("*")) == [here]
    assert Path.cwd() == here
    write(Path("below"), "one")
    assert (here / "below" / "page.html").is_file()


def test_a_link_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "real", "one")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(OutputError, match="link exists and is not a result"):
        write(tmp_path / "link", "two")
    assert (tmp_path / "link").is_symlink()


def test_a_file_that_comes_while_the_draft_is_written_stays(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(out, "one")

    def meanwhile() -> None:
        with folder_draft(out, KIND) as draft:
            (draft / "page.html").write_text("two")
            (out / "notes.txt").write_text("mine")

    with pytest.raises(OutputError, match=r"holds notes\.txt"):
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
        f".out.{os.getpid()}-0123abcd.tmp",  # of a run that goes on
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
    with pytest.raises(KeyboardInterrupt):
        write(out, "two")
    assert (out / "page.html").read_text() == "one"
    assert list(tmp_path.iterdir()) == [out]
