"""The user's cache folder: engines, decoded data sets and detectors."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import platformdirs

from segan.runtime.errors import OutputError
from segan.runtime.files.atomic import writing


def cache_root() -> Path:
    """Return ``$SEGAN_CACHE``, else the system's place for caches (``~/.cache/segan`` on Linux)."""
    named = os.environ.get("SEGAN_CACHE")
    if named:
        return Path(named).expanduser()
    return platformdirs.user_cache_path("segan", appauthor=False, opinion=False)


def cache_folder(name: str) -> Path:
    """Return a folder of the cache, which is made when it is missing.

    Files in it may be loaded as code, so no other user may be able to write to it.

    Args:
        name: of the folder within ``cache_root``.

    Raises:
        OutputError: it cannot be made, or others may write to it.
    """
    folder = cache_root() / name
    with writing(folder):
        # One at a time: with parents=True only the last folder gets the mode.
        for path in (cache_root(), folder):
            path.mkdir(parents=path != folder, exist_ok=True, mode=0o700)
        found = folder.stat()
    if hasattr(os, "getuid") and (
        found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    ):
        raise OutputError(
            f"{folder} belongs to or can be written by other users, so no file in it is loaded",
            field="path",
            value=folder,
            remedy="Run: chmod go-w on it, or name another folder in SEGAN_CACHE.",
        )
    return folder
