"""Tests of the lock on a folder or file; another process is a second open file here."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import time
from pathlib import Path

import pytest

from segan.runtime.errors import ConfigError, OutputError
from segan.runtime.files.lock import locked


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_second_holder_is_refused_and_no_file_is_left(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file" if kind == "file" else tmp_path
    if kind == "file":
        path.write_bytes(b"data")
    before = os.listdir(tmp_path)
    with locked(path):
        with pytest.raises(ConfigError) as error, locked(path, "held:"):
            pass
        assert (error.value.field, error.value.value) == ("folder", path)
        assert os.listdir(tmp_path) == before
    with locked(path):
        pass
    assert os.listdir(tmp_path) == before
    if kind == "file":
        assert path.read_bytes() == b"data"


def test_waiting_for_the_other_holder(tmp_path: Path) -> None:
    release, order = threading.Event(), []

    def hold(entered: threading.Event) -> None:
        with locked(tmp_path):
            entered.set()
            release.wait(30)
            order.append("first")

    entered = threading.Event()
    thread = threading.Thread(target=hold, args=[entered])
    thread.start()
    assert entered.wait(30)
    with locked(tmp_path, on_wait=release.set):
        order.append("second")
    thread.join()
    assert order == ["first", "second"]


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with locked(tmp_path), locked(tmp_path):
        pass


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError) as error, locked(tmp_path / "missing"):
        pass
    assert error.value.value == tmp_path / "missing"


def test_waiting_has_an_end(tmp_path: Path) -> None:
    start = time.monotonic()
    message = pytest.raises(ConfigError, match=r"0\.2 s")
    with locked(tmp_path), message as error, locked(tmp_path, wait=0.2):
        pass
    assert error.value.value == tmp_path
    assert 0.2 <= time.monotonic() - start < 5


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_the_lock_is_on_what_has_replaced_the_path(tmp_path: Path, kind: str) -> None:
    """Who waited for the older file or folder must not change the new one beside its holder."""
    path, new = tmp_path / "path", tmp_path / "new"
    for place in (path, new):
        place.mkdir() if kind == "folder" else place.write_bytes(b"")
    entered, order = threading.Event(), []

    def wait() -> None:
        entered.set()
        with locked(path, wait=30):
            order.append("second")

    thread = threading.Thread(target=wait)
    with locked(new):
        with locked(path):
            thread.start()
            assert entered.wait(30)
            path.rename(tmp_path / "old")
            new.rename(path)
        time.sleep(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
