"""Tests of what a command may write over."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from segan.runtime.errors import OutputError
from segan.runtime.files.atomic import write_atomic
from segan.runtime.files.target import (
    check_file,
    check_not_source,
    free_name,
    json_kind,
    kind_of_ending,
)

if TYPE_CHECKING:
    from tests.conftest import RaisesError

PNG = kind_of_ending(Path("x.png"))


def picture(path: Path) -> Path:
    Image.new("RGB", (4, 4), "red").save(path, path.suffix[1:].replace("jpg", "jpeg"))
    return path


def test_a_file_of_the_kind_needs_overwrite(tmp_path: Path, raises_error: RaisesError) -> None:
    out = picture(tmp_path / "a.png")
    before = out.read_bytes()
    with raises_error(OutputError, field="out", value=out, remedy="`overwrite`"):
        check_file(out, PNG, overwrite=False)
    check_file(out, PNG, overwrite=True)
    assert out.read_bytes() == before


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.jpeg", "a.webp", "a.gif"])
def test_pictures_are_recognised_by_their_bytes(tmp_path: Path, name: str) -> None:
    out = picture(tmp_path / name)
    check_file(out, kind_of_ending(out), overwrite=True)
    other = picture(tmp_path / ("b.gif" if name == "a.png" else "b.png")).rename(out)
    with pytest.raises(OutputError):
        check_file(other, kind_of_ending(out), overwrite=True)


@pytest.mark.parametrize("content", [b"notes", b"PK\x03\x04", b"\x00" * 40])
def test_a_file_of_another_kind_is_never_replaced(
    tmp_path: Path, content: bytes, raises_error: RaisesError
) -> None:
    out = tmp_path / "a.png"
    out.write_bytes(content)
    with raises_error(OutputError, field="plot", value=out, problem="PNG", remedy="`plot`"):
        check_file(out, PNG, overwrite=True, field="plot")


def test_an_empty_file_is_free(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    check_file(tmp_path / "a.png", PNG, overwrite=False)
    check_file(tmp_path / "new folder" / "a.png", PNG, overwrite=False)
    assert not (tmp_path / "new folder").exists()


def test_a_folder_in_the_way(tmp_path: Path, raises_error: RaisesError) -> None:
    (tmp_path / "a.png").mkdir()
    (tmp_path / "file").write_bytes(b"x")
    for out in (tmp_path / "a.png", tmp_path / "file" / "a.png"):
        with raises_error(OutputError, field="out", value=out):
            check_file(out, PNG, overwrite=True)


def test_json_records_are_known_by_their_keys(tmp_path: Path) -> None:
    out, kind = tmp_path / "a.json", json_kind("a benchmark", "rows")
    for text in ("[]", "{", '{"other": 1}', "[" * 100_000):
        out.write_text(text)
        with pytest.raises(OutputError):
            check_file(out, kind, overwrite=True)
    out.write_text(json.dumps({"rows": []}))
    check_file(out, kind, overwrite=True)


@pytest.mark.skipif(os.name == "nt", reason="links")
def test_the_source_is_found_by_every_spelling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raises_error: RaisesError
) -> None:
    source = picture(tmp_path / "a.png")
    (tmp_path / "link.png").symlink_to(source)
    os.link(source, tmp_path / "hard.png")
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path)
    for text in ("a.png", "below/../a.png", "./a.png", "link.png", "hard.png", str(source)):
        out = Path(text)
        with raises_error(OutputError, field="out", value=out, problem="read"):
            check_file(out, PNG, overwrite=True, sources=[None, tmp_path / "missing", source])
        with raises_error(OutputError, remedy="In place."):
            check_not_source(Path("link.png"), [out], remedy="In place.")
    check_not_source(Path("other.png"), [source])
    check_not_source(tmp_path / "missing", [tmp_path / "missing"])


@pytest.mark.skipif(os.name == "nt", reason="links")
def test_a_link_is_written_through(tmp_path: Path) -> None:
    goal, link = picture(tmp_path / "goal.png"), tmp_path / "link.png"
    link.symlink_to("goal.png")
    (tmp_path / "second.png").symlink_to(link)
    with pytest.raises(OutputError):
        check_file(tmp_path / "second.png", PNG, overwrite=False)
    check_file(tmp_path / "second.png", PNG, overwrite=True)
    write_atomic(tmp_path / "second.png", b"new", follow=True)
    assert goal.read_bytes() == b"new"
    assert link.is_symlink()
    assert (tmp_path / "second.png").is_symlink()
    goal.unlink()
    check_file(link, PNG, overwrite=False)
    write_atomic(link, b"again", follow=True)
    assert goal.read_bytes() == b"again"
    write_atomic(link, b"of another folder")  # What a stranger's link may not lead out of.
    assert not link.is_symlink()
    assert goal.read_bytes() == b"again"


@pytest.mark.skipif(os.name == "nt", reason="links")
@pytest.mark.parametrize("goal", ["loop.png", "missing/goal.png"])
def test_a_link_to_nowhere_is_refused(tmp_path: Path, goal: str, raises_error: RaisesError) -> None:
    out = tmp_path / "loop.png"
    out.symlink_to(tmp_path / goal)
    with raises_error(OutputError, field="out", value=out, problem="link"):
        check_file(out, PNG, overwrite=True)
    with pytest.raises(OutputError):
        write_atomic(out, b"x", follow=True)
    assert os.listdir(tmp_path) == ["loop.png"]


@pytest.mark.skipif(os.name == "nt", reason="special files")
def test_devices_pipes_and_sockets_are_refused_and_stay(
    tmp_path: Path, raises_error: RaisesError
) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        for out in (tmp_path / "pipe", tmp_path / "link", tmp_path / "socket", Path("/dev/null")):
            before = os.lstat(out).st_mode
            with raises_error(OutputError, field="out", value=out):
                check_file(out, PNG, overwrite=True)
            with pytest.raises(OutputError):
                write_atomic(out, b"x", follow=True)
            assert os.lstat(out).st_mode == before


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_what_is_read_only_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raises_error: RaisesError
) -> None:
    out = picture(tmp_path / "a.png")

    for refused in (tmp_path, out):
        # In place of permissions: root may write everywhere.
        monkeypatch.setattr(os, "access", lambda path, _, refused=refused: Path(path) != refused)
        with raises_error(OutputError, field="out", value=out, problem="read-only"):
            check_file(out, PNG, overwrite=True)


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_the_permissions_stay(tmp_path: Path) -> None:
    out = tmp_path / "file"
    write_atomic(out, b"one")
    out.chmod(0o600)
    write_atomic(out, b"two")
    assert (out.read_bytes(), out.stat().st_mode & 0o777) == (b"two", 0o600)


@pytest.mark.skipif(os.name == "nt", reason="Windows does not tell whether a process runs")
def test_drafts_of_killed_processes_do_not_gather(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys\n"
        "from segan.runtime.files.atomic import atomic_file\n"
        "with atomic_file(sys.argv[1]) as file:\n"
        "    file.write(b'half')\n    file.flush()\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    out = tmp_path / f"{'n' * 120}.png"
    for _ in range(3):
        check_file(out, PNG, overwrite=False)
        assert subprocess.run([sys.executable, "-c", program, out], check=False).returncode == -9
        assert len(os.listdir(tmp_path)) == 1
    check_file(out, PNG, overwrite=False)
    assert os.listdir(tmp_path) == []


def test_a_free_name(tmp_path: Path) -> None:
    first, other = tmp_path / "a.segan", tmp_path / "a-pkl.segan"
    assert free_name(first) == first
    first.touch()
    assert free_name(first) == tmp_path / "a-2.segan"
    (tmp_path / "a-2.segan").symlink_to("nowhere")
    assert free_name(first) == tmp_path / "a-3.segan"
    assert free_name(first, other) == other
    other.touch()
    assert free_name(first, other) == tmp_path / "a-pkl-2.segan"
    assert free_name(first, is_free=lambda path: path.name.endswith("7.segan")).name == "a-7.segan"
