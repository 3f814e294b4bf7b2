"""Tests of the cache folder's place and of who may write to it."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest

from segan.runtime.errors import OutputError
from segan.runtime.files.cache import cache_folder, cache_root


@pytest.mark.skipif(sys.platform != "linux", reason="the paths of Linux")
def test_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SEGAN_CACHE", "~/mine")
    assert cache_root() == tmp_path / "mine"
    monkeypatch.setenv("SEGAN_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_root() == tmp_path / "xdg" / "segan"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_root() == tmp_path / ".cache" / "segan"
    assert not (tmp_path / ".cache").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
def test_a_folder_that_others_may_write_to_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGAN_CACHE", str(tmp_path / "cache"))
    folder = cache_folder("engines")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
    folder.chmod(0o770)
    with pytest.raises(OutputError) as error:
        cache_folder("engines")
    assert error.value.value == folder
