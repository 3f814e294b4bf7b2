"""The user's cache folder: compiled models and engines, which only this user may have written."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from segan.runtime.errors import OutputError
from segan.runtime.files.atomic import output_error


def cache_root() -> Path:
    """``$SEGAN_CACHE``, else the system's place for caches (``~/.cache/segan`` on Linux)."""
    named = os.environ.get("SEGAN_CACHE")
    if named:
        return Path(named).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "segan"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "segan"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "segan"


def cache_folder(name: str) -> Path:
    """A folder of the cache, made when it is missing.

    What lies in it may be loaded as code, so it must be this user's alone.

    Args:
        name: of the folder within ``cache_root``.

    Raises:
        OutputError: it cannot be made, or others may write to it.
    """
    folder = cache_root() / name
    try:
        # Each by itself: with parents=True only the last one gets the mode.
        for path in (cache_root(), folder):
            path.mkdir(parents=path != folder, exist_ok=True, mode=0o700)
        found = folder.stat()
    except OSError as error:
        raise output_error(folder, error) from error
    if hasattr(os, "getuid") and (
        found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    ):
        raise OutputError(
            f"{folder} belongs to or can be written by other users, so what lies in it is not "
            "loaded. Run: chmod go-w on it, or name another folder in SEGAN_CACHE."
        )
    return folder
