"""The images of an LMDB environment, which may come from a stranger.

An LMDB holds images under any keys. In the layout of rosinality's stylegan2-pytorch these are
``{resolution}-{index:05d}`` beside ``length``; of several resolutions the largest is read.

LMDB's own library trusts its files: one wrong length ends the process. This reader checks every
number. The format is that of LMDB 0.9 on 64-bit machines (mdb.c, "Meta Data"): pages with a header
of 16 bytes; pages 0 and 1 name the root of a B+ tree; its leaves hold keys with values, or with
the page where a large value starts.
"""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from segan.runtime.errors import DataError
from segan.train.data.sources import (
    MAX_ENCODED_BYTES,
    ImageSource,
    PassedOver,
    natural_key,
    too_large,
    unreadable,
)

#: Keys, unless the file has 200 bytes for each. A key takes some 300 bytes in memory.
MAX_KEYS: Final = 500_000

#: Key of an LMDB that holds several resolutions.
_KEY = re.compile(rb"(\d{1,5})-(\d{5,9})")

_MAGIC, _VERSION = 0xBEEFC0DE, 1
_HEADER: Final = 16
_BRANCH, _LEAF, _OVERFLOW, _LEAF_FIXED = 1, 2, 4, 0x20
#: Flags of a node: its value starts a page; it is a database; it has several values.
_LARGE, _DATABASE, _SEVERAL = 1, 2, 4
_NO_PAGE: Final = (1 << 64) - 1


class _BrokenError(Exception):
    """A number that cannot be right."""


class LmdbSource(ImageSource):
    """The images of an LMDB environment; keys that are not UTF-8 are named in hexadecimal."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.refused = []
        file = path / "data.mdb" if path.is_dir() else path
        try:
            with file.open("rb") as opened:
                self._data = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise unreadable(file, error) from error
        except ValueError as error:  # an empty file
            raise self._broken("it is empty") from error
        try:
            self._page_bytes, root = self._read_meta()
            found = dict(self._values(root))
        except (_BrokenError, struct.error) as error:
            self._data.close()
            raise self._broken(str(error)) from error
        except DataError:
            self._data.close()
            raise
        chosen = _choose(list(found))
        self._places = {_name(key): found[key] for key in chosen}
        self.names = sorted(self._places, key=natural_key)
        smaller = [_name(key) for key in found.keys() - set(chosen) - {b"length"}]
        self.passed_over = (
            [PassedOver("of smaller resolutions", len(smaller), smaller[:10])] if smaller else []
        )

    def _broken(self, why: str) -> DataError:
        return DataError(
            f"{self.path} is not a whole LMDB environment ({why})",
            field="path",
            value=self.path,
            remedy="Copy it again.",
        )

    def _read_meta(self) -> tuple[int, int]:
        """Bytes of a page, and the root's page, from the newer one of the first two pages.

        Raises:
            DataError: the file was truncated.
        """
        magic, version, _, _, page_bytes = struct.unpack_from("=IIQQI", self._data, _HEADER)
        if magic != _MAGIC or version != _VERSION:
            raise _BrokenError(f"of format {version}; {_VERSION} is read")
        if page_bytes.bit_count() != 1 or not 256 <= page_bytes <= 65_536:
            raise _BrokenError(f"pages of {page_bytes} bytes")
        metas = []
        for start in (0, page_bytes):
            if struct.unpack_from("=II", self._data, start + _HEADER) == (_MAGIC, _VERSION):
                root, last, number = struct.unpack_from("=QQQ", self._data, start + 128)
                metas.append((number, root, last))
        _, root, last = max(metas)
        needed = (last + 1) * page_bytes
        if len(self._data) < needed:
            raise DataError(
                f"{self.path} has {len(self._data)} bytes, so it was truncated",
                field="path",
                value=self.path,
                expected=f"{needed} bytes",
                remedy="Copy it again.",
            )
        return page_bytes, root

    def _values(self, root: int) -> Iterator[tuple[bytes, tuple[int, int]]]:
        """Yield each key, with the offset and the length of its value."""
        most = max(MAX_KEYS, len(self._data) // 200)
        pages, seen, count = [] if root == _NO_PAGE else [root], set(), 0
        while pages:
            number = pages.pop()
            if number in seen:
                raise _BrokenError(f"page {number} is there twice")
            seen.add(number)
            start, flags, nodes = self._read_page(number)
            if flags & _BRANCH:
                below = [self._child(start + at) for at in nodes]
                pages += reversed(below)
                continue
            for at in nodes:
                count += 1
                if count > most:
                    raise _BrokenError(f"more than {most} keys")
                low, high, node, length = struct.unpack_from("=4H", self._data, start + at)
                place, size = start + at + 8 + length, low | high << 16
                key = self._data[start + at + 8 : place]
                if node & (_DATABASE | _SEVERAL):
                    raise _BrokenError(f"key {key[:40]!r} is a database of its own")
                if node & _LARGE:
                    (page,) = struct.unpack_from("=Q", self._data, place)
                    place = self._page_start(page) + _HEADER
                if place + size > len(self._data):
                    raise _BrokenError(f"the value of {key[:40]!r} has {size} bytes")
                yield key, (place, size)

    def _page_start(self, number: int) -> int:
        if not 2 <= number < len(self._data) // self._page_bytes:
            raise _BrokenError(f"page {number}")
        return number * self._page_bytes

    def _read_page(self, number: int) -> tuple[int, int, tuple[int, ...]]:
        """Where a page of the tree starts, its flags, and where in it its nodes start."""
        start = self._page_start(number)
        flags, lower, upper = struct.unpack_from("=3H", self._data, start + 10)
        kind = flags & (_BRANCH | _LEAF | _OVERFLOW | _LEAF_FIXED)
        if kind not in (_BRANCH, _LEAF) or not _HEADER <= lower <= upper <= self._page_bytes:
            raise _BrokenError(f"page {number} is not of a tree")
        nodes = struct.unpack_from(f"={(lower - _HEADER) // 2}H", self._data, start + _HEADER)
        taken = 0
        for at in nodes:
            if not upper <= at <= self._page_bytes - 8:
                raise _BrokenError(f"page {number} has a node at {at}")
            taken += 8 + struct.unpack_from("=H", self._data, start + at + 6)[0]
        if taken > self._page_bytes:
            raise _BrokenError(f"the nodes of page {number} overlap")
        return start, flags, nodes

    def _child(self, node: int) -> int:
        low, middle, high = struct.unpack_from("=3H", self._data, node)
        return int(low | middle << 16 | high << 32)

    def read(self, name: str) -> bytes:
        """Return the value of the key. Raises: DataError."""
        place, size = self._places[name]
        if size > MAX_ENCODED_BYTES:
            raise too_large(f"{name} in {self.path}", size)
        return self._data[place : place + size]

    def close(self) -> None:
        """Close the file."""
        self._data.close()


def _choose(keys: list[bytes]) -> list[bytes]:
    """Leave out ``length`` and all resolutions except the largest."""
    keys = [key for key in keys if key != b"length"]
    matches = [_KEY.fullmatch(key) for key in keys]
    if not all(matches):
        return keys
    sizes = [int(match[1]) for match in matches if match]
    largest = max(sizes, default=0)
    return [key for key, size in zip(keys, sizes, strict=True) if size == largest]


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
