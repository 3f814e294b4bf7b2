"""The images of a zip, which may come from a stranger.

Members are stored or deflated: LZMA and bzip2 state how much memory the reader shall take. What a
member may swell to and how many members there may be is bounded before it is read.
"""

from __future__ import annotations

import contextlib
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from segan.runtime.errors import DataError
from segan.runtime.files.kinds import HEAD_BYTES, ContentKind, kind_of
from segan.runtime.files.zips import DamagedZipError, open_zip
from segan.train.data.sources import (
    MAX_ENCODED_BYTES,
    METADATA_NAME,
    ImageSource,
    too_large,
    unreadable,
)

#: A member that was deflated to less than a third of its size may have this many bytes: a picture
#: of so many bytes fits into 512 MiB beside its pixels.
MAX_INFLATED_BYTES = 64 << 20
#: Bytes of the directory, unless it is less than a fifth of the zip. Each member takes 46 bytes and
#: its name there, and some 700 in memory.
MAX_DIRECTORY_BYTES = 24 << 20
#: Bytes of dataset.json, unless it is smaller than the zip.
MAX_METADATA_BYTES = 24 << 20

_METHODS = {
    1: "Shrink",
    6: "Implode",
    9: "Deflate64",
    12: "bzip2",
    14: "LZMA",
    20: "Zstandard",
    93: "Zstandard",
    95: "xz",
    98: "PPMd",
    99: "AES encryption",
}
#: What zipfile raises on broken input.
_ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    ValueError,
    LookupError,
    OverflowError,
)


class ZipSource(ImageSource):
    """The images of a zip."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.refused = []
        try:
            self._size = path.stat().st_size
            with path.open("rb") as file:
                kind = kind_of(file.read(HEAD_BYTES))
        except OSError as error:
            raise unreadable(path, error) from error
        most = max(MAX_DIRECTORY_BYTES, self._size // 5)
        with contextlib.ExitStack() as opened:
            try:
                self._archive = opened.enter_context(open_zip(path, directory=most))
            except DamagedZipError as error:
                raise _not_a_zip(path, kind, error) from error
            self._opened = opened.pop_all()
        self._entries: dict[str, zipfile.ZipInfo] = {}
        self._sort(self._files(), self._odd())

    def _files(self) -> Iterator[str]:
        """Yield the names of the regular files, with ``/``. Raises: DataError for a name twice."""
        for entry in self._archive.infolist():
            name = _name(entry)
            is_folder = name.endswith("/") or stat.S_ISDIR(entry.external_attr >> 16)
            if is_folder or _odd_kind(entry) is not None:
                continue
            if name in self._entries:
                raise DataError(
                    f"{self.path} holds {name} twice",
                    field="path",
                    value=self.path,
                    remedy="Unpack it and pack it again.",
                )
            self._entries[name] = entry
            yield name

    def _odd(self) -> Iterator[tuple[str, str]]:
        for entry in self._archive.infolist():
            kind = _odd_kind(entry)
            if kind is not None:
                yield kind, _name(entry)

    def read(self, name: str) -> bytes:
        """Return the file's bytes. Raises: DataError."""
        entry = self._entries[name]
        where = f"{name} in {self.path}"
        if entry.file_size > MAX_ENCODED_BYTES:
            raise too_large(where, entry.file_size)
        swollen = entry.file_size > 3 * entry.compress_size
        if swollen and entry.file_size > MAX_INFLATED_BYTES:
            raise too_large(where, entry.file_size, MAX_INFLATED_BYTES)
        return self._unpack(entry, where)

    def _unpack(self, entry: zipfile.ZipInfo, where: str) -> bytes:
        """The bytes of a member, as many as its size says at most."""
        if entry.flag_bits & 1:
            raise DataError(
                f"{where} is encrypted",
                remedy="Unpack the zip with its password, and give the folder.",
            )
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            method = _METHODS.get(entry.compress_type, f"method {entry.compress_type}")
            raise DataError(
                f"{where} is compressed with {method}",
                expected="stored or deflated members",
                remedy="Unpack the zip, and give the folder.",
            )
        try:
            with self._archive.open(entry) as file:
                # Without a length, zipfile unpacks what the data hold, not what the size says.
                data = file.read(entry.file_size) if entry.file_size else b""
        except (*_ZIP_ERRORS, OSError) as error:
            raise DataError(f"{where} is damaged ({error})") from error
        except (NotImplementedError, RuntimeError) as error:
            raise DataError(f"{where} cannot be unpacked: {error}") from error
        if len(data) != entry.file_size:
            raise DataError(f"{where} is damaged (it ends early)")
        return data

    def metadata(self) -> bytes | None:
        """Return the bytes of dataset.json, or None. Raises: DataError."""
        if self.metadata_name is None:
            return None
        entry, most = self._entries[self.metadata_name], max(MAX_METADATA_BYTES, self._size)
        if entry.file_size > most:
            raise DataError(
                f"{METADATA_NAME} in {self.path} is {entry.file_size / 2**20:.0f} MiB",
                field="path",
                value=self.path,
                expected=f"at most {most / 2**20:.0f} MiB for a zip of this size",
                remedy="Create the data set again.",
            )
        return self._unpack(entry, f"{METADATA_NAME} in {self.path}")

    def close(self) -> None:
        """Close the zip."""
        self._opened.close()


def _name(entry: zipfile.ZipInfo) -> str:
    r"""The member's path; some programs for Windows write ``\`` for ``/``."""
    return entry.filename.replace("\\", "/")


def _odd_kind(entry: zipfile.ZipInfo) -> str | None:
    """Why a member is no regular file with a name inside the archive; None if it is one."""
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if ".." in PurePosixPath(_name(entry)).parts:
        return "with a path that leads out"
    if kind == stat.S_IFLNK:
        return "link"
    return None if kind in (0, stat.S_IFREG, stat.S_IFDIR) else "pipe or device"


def _not_a_zip(path: Path, kind: ContentKind | None, error: DamagedZipError) -> DataError:
    """What a file is that is no zip, or why a zip cannot be opened."""
    if isinstance(error.__cause__, NotImplementedError):
        return DataError(
            f"{path} cannot be unpacked: a member needs {error}",
            field="path",
            value=path,
            expected="stored or deflated members",
            remedy="Unpack it, and give the folder.",
        )
    expected = "a folder, zip or LMDB of images"
    if kind is None or "zip" in kind.name.split():
        return DataError(
            f"{path} is not a whole zip file ({error})",
            field="path",
            value=path,
            expected="" if kind is not None else expected,
            remedy="Copy or download it again.",
        )
    remedy = {
        "archive": "Unpack it, and give the folder.",
        "picture": f"Give the folder that holds it: {path.parent}.",
        "other": "",
    }[kind.group]
    return DataError(
        f"{path} is {kind.name}", field="path", value=path, expected=expected, remedy=remedy
    )
