"""Reads images out of an LMDB environment: any whose values decode as images.

The layout of rosinality's stylegan2-pytorch is understood: keys ``{resolution}-{index:05d}`` and
``length``; of several resolutions the largest is taken.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from segan.runtime.errors import DataError
from segan.train.image_sources import MAX_ENCODED_BYTES, ImageSource, natural_key

_KEY = re.compile(rb"(\d{1,5})-(\d{5,9})")


class LmdbSource(ImageSource):
    """The images of an LMDB environment; keys that are not UTF-8 are named in hexadecimal."""

    def __init__(self, path: Path) -> None:
        import lmdb

        self.path = path
        self._lmdb = lmdb
        try:
            self._environment = lmdb.open(
                str(path), subdir=path.is_dir(), readonly=True, lock=False, readahead=False
            )
            _check_length(self._environment, path)
            self._transaction = self._environment.begin()
            keys = list(self._transaction.cursor().iternext(keys=True, values=False))
        except lmdb.Error as error:
            raise DataError(f"{path} is not a whole LMDB environment ({error}).") from error
        self._keys = {_name(key): key for key in _choose(keys)}
        self.names = sorted(self._keys, key=natural_key)

    def read(self, name: str) -> bytes:
        """The value under the key. Raises: DataError."""
        try:
            value = self._transaction.get(self._keys[name])
        except self._lmdb.Error as error:
            raise DataError(f"{name} in {self.path} cannot be read ({error}).") from error
        data = bytes(value or b"")
        if len(data) > MAX_ENCODED_BYTES:
            raise DataError(f"{name} in {self.path} is too large: {len(data) / 2**20:.0f} MiB.")
        return data

    def close(self) -> None:
        """Closes the environment."""
        self._transaction.abort()
        self._environment.close()


def _check_length(environment: Any, path: Path) -> None:
    """Refuses a file that was cut short: reading past its end would kill the process."""
    file = path / "data.mdb" if path.is_dir() else path
    needed = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
    if file.stat().st_size < needed:
        environment.close()
        raise DataError(
            f"{path} has {file.stat().st_size} bytes; expected {needed}. It was cut short: copy "
            "it again."
        )


def _choose(keys: list[bytes]) -> list[bytes]:
    """Leaves out ``length`` and all resolutions but the largest."""
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
