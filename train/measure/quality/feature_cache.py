"""Features of a data set in the user's cache.

The name of an entry is a hash of everything that the features depend on: the images' fingerprint,
the detector's sha256, resizing and output, the form and the number of images. An entry contains the
sha256 of its own arrays; an entry that was truncated or altered is computed again.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from segan.runtime.errors import OutputError
from segan.runtime.files.atomic import atomic_file
from segan.runtime.files.cache import cache_folder

#: Name of the folder below the cache's root.
FOLDER = "features"
#: Increased when the meaning of entries changes.
_VERSION = 1
_DIGEST = "sha256"

Arrays = dict[str, np.ndarray[Any, Any]]


def entry_path(key: Mapping[str, str | int]) -> Path:
    """Return the path of an entry. Raises: OutputError for a cache of another user."""
    text = json.dumps({"version": _VERSION, **key}, sort_keys=True)
    return cache_folder(FOLDER) / f"{hashlib.sha256(text.encode()).hexdigest()}.npz"


def cached_arrays(
    key: Mapping[str, str | int],
    compute: Callable[[], Arrays],
    *,
    on_note: Callable[[str], None] | None = None,
) -> Arrays:
    """Return the arrays of a key, from the cache or computed and stored there.

    Args:
        key: everything that the arrays depend on.
        compute: computes the arrays; its errors are raised.
        on_note: called with a message about a damaged entry, or a cache that cannot be written.
    """
    note = on_note or (lambda _: None)
    try:
        path = entry_path(key)
    except OutputError as error:
        note(f"features are not stored: {error}")
        return compute()
    if path.exists():
        found = _read(path)
        if found is not None:
            return found
        note(f"{path} is damaged; its features are computed again")
    arrays = compute()
    try:
        with atomic_file(path) as file:
            stored: dict[str, Any] = {**arrays, _DIGEST: np.array(_digest(arrays))}
            np.savez(file, allow_pickle=False, **stored)
    except OutputError as error:
        note(f"features are not stored: {error}")
    return arrays


def _read(path: Path) -> Arrays | None:
    """The arrays of an entry; None for a damaged one."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        stated = str(arrays.pop(_DIGEST))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
    return arrays if stated == _digest(arrays) else None


def _digest(arrays: Arrays) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        value = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {value.dtype} {value.shape}\n".encode())
        digest.update(value.data)
    return digest.hexdigest()
