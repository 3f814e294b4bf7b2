"""The images of an LMDB environment.

An LMDB holds images under any keys. In the layout of rosinality's stylegan2-pytorch these are
``{resolution}-{index:05d}`` beside ``length``; of several resolutions the largest is read.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from segan.runtime.errors import DataError
from segan.train.data.sources import (
    MAX_ENCODED_BYTES,
    ImageSource,
    PassedOver,
    natural_key,
    too_large,
)

#: Key of an LMDB that holds several resolutions.
_KEY = re.compile(rb"(\d{1,5})-(\d{5,9})")


class LmdbSource(ImageSource):
    """The images of an LMDB environment; keys that are not UTF-8 are named in hexadecimal."""

    def __init__(self, path: Path) -> None:
        import lmdb

        self.path = path
        self.refused = []
        self._lmdb = lmdb
        try:
            self._environment = lmdb.open(
                str(path), subdir=path.is_dir(), readonly=True, lock=False, readahead=False
            )
            _check_length(self._environment, path)
            self._transaction = self._environment.begin()
            keys = list(self._transaction.cursor().iternext(keys=True, values=False))
        except lmdb.Error as error:
            problem = f"{path} is not a whole LMDB environment ({error})"
            raise DataError(problem, field="path", value=path) from error
        self._keys = {_name(key): key for key in _choose(keys)}
        self.names = sorted(self._keys, key=natural_key)
        others = [key for key in keys if key != b"length"][len(self._keys) :]
        self.passed_over = [PassedOver("smaller resolutions", len(others), [])] if others else []

    def read(self, name: str) -> bytes:
        """Return the value of the key. Raises: DataError."""
        try:
            value = self._transaction.get(self._keys[name])
        except self._lmdb.Error as error:
            raise DataError(f"{name} in {self.path} cannot be read ({error})") from error
        data = bytes(value or b"")
        if len(data) > MAX_ENCODED_BYTES:
            raise too_large(f"{name} in {self.path}", len(data))
        return data

    def close(self) -> None:
        """Close the environment."""
        self._transaction.abort()
        self._environment.close()


def _check_length(environment: Any, path: Path) -> None:
    """Raise DataError for a file that was truncated: reading past its end kills the process."""
    file = path / "data.mdb" if path.is_dir() else path
    needed = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
    if file.stat().st_size < needed:
        environment.close()
        raise DataError(
            f"{path} has {file.stat().st_size} bytes, so it was truncated",
            field="path",
            value=path,
            expected=f"{needed} bytes",
            remedy="Copy it again.",
        )


def _choose(keys: list[bytes]) -> list[bytes]:
    """Leave out ``length`` and all resolutions except the largest."""
    keys = [key for key in keys if key != b"length"]
    matches = [_KEY.fullmatch(key) for key in keys]
    if not all(matches):
        return keys
    sizes = [int(match[1]) for match in matches if match]
    return [key for key, size in zip(keys, sizes, strict=True) if size == max(sizes)]


def _name(key: bytes) -> str:
    try:
        return key.decode()
    except UnicodeDecodeError:
        return key.hex()


def is_lmdb(path: Path) -> bool:
    """Whether the path is an LMDB environment: a folder with data.mdb, or the data file itself."""
    if path.is_dir():
        return (path / "data.mdb").is_file()
    try:
        with path.open("rb") as file:
            head = file.read(32)
    except OSError:
        return False
    # A page header of 16 bytes, then LMDB's magic number, in the machine's byte order.
    return head[16:20] in (b"\xde\xc0\xef\xbe", b"\xbe\xef\xc0\xde")
