"""Tests of exchanging two paths in one step."""

from __future__ import annotations

import ctypes
import errno
from pathlib import Path

import pytest

from segan.runtime.files import exchange as module
from segan.runtime.files.exchange import exchange


def test_folders_and_files_change_places(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "inside").write_text("of a")
    (tmp_path / "b").write_text("a file")
    if not exchange(tmp_path / "a", tmp_path / "b"):
        pytest.skip("this file system cannot")
    assert (tmp_path / "a").read_text() == "a file"
    assert (tmp_path / "b" / "inside").read_text() == "of a"
    with pytest.raises(FileNotFoundError):
        exchange(tmp_path / "a", tmp_path / "missing")
    assert (tmp_path / "a").read_text() == "a file"


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EINVAL])
def test_a_system_that_cannot_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> int:
        ctypes.set_errno(number)
        return -1

    monkeypatch.setattr(module, "_system_call", lambda: refuse)
    assert exchange(tmp_path, tmp_path) is False
    monkeypatch.setattr(module, "_system_call", lambda: None)
    assert exchange(tmp_path, tmp_path) is False
