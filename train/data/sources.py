"""Sources of encoded images behind one interface: folders, zips and LMDB environments.

Nothing is unpacked to the disk, and links are not followed out of a folder. Names are paths with
``/``. Hidden files, ``__MACOSX`` and files without the ending of an image are left out.

An LMDB holds images under any keys. In the layout of rosinality's stylegan2-pytorch these are
``{resolution}-{index:05d}`` beside ``length``; of several resolutions the largest is read.
"""

from __future__ import annotations

import abc
import contextlib
import os
import re
import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from segan.runtime.errors import DataError

#: Endings of image files.
IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".dib", ".gif", ".tif", ".tiff"}
    | {".tga", ".ppm", ".pgm", ".pbm", ".pnm", ".ico", ".jp2", ".avif", ".qoi"}
)

#: Larger encoded images are refused, as zip bombs: real images stay far below.
MAX_ENCODED_BYTES = 512 << 20

#: Name of the file that holds the labels.
METADATA_NAME = "dataset.json"

#: Key of an LMDB that holds several resolutions.
_KEY = re.compile(rb"(\d{1,5})-(\d{5,9})")


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key in which digits count as numbers, so that ``img2`` comes before ``img10``."""
    return tuple(
        (0, int(part), part) if part.isdecimal() else (1, 0, part)
        for part in re.split(r"(\d+)", name)
        if part
    )


def is_image_name(name: str) -> bool:
    """Whether a path inside a source names an image to read."""
    path = PurePosixPath(name)
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return not hidden and not path.is_absolute() and path.suffix.lower() in IMAGE_SUFFIXES


class ImageSource(abc.ABC):
    """A set of encoded images with names.

    Attributes:
        path: of the folder, zip or LMDB.
        names: of the images, in natural order.
    """

    path: Path
    names: list[str]

    @abc.abstractmethod
    def read(self, name: str) -> bytes:
        """Return the encoded image. Raises: DataError."""

    def metadata(self) -> bytes | None:
        """Return the content of dataset.json; None without one. Raises: DataError."""
        return None

    def close(self) -> None:
        """Close the files."""
        return None


class FolderSource(ImageSource):
    """The images of a folder and its sub-folders."""

    def __init__(self, path: Path) -> None:
        self.path = path
        names = []
        for folder, folders, files in os.walk(path, onerror=_refuse, followlinks=False):
            folders[:] = [name for name in folders if not name.startswith(".")]
            inside = Path(folder).relative_to(path)
            names += [(inside / name).as_posix() for name in files]
        self._root = path.resolve()
        self.names = sorted(
            (name for name in names if is_image_name(name) and self._is_file(name)),
            key=natural_key,
        )

    def _is_file(self, name: str) -> bool:
        """Whether it is not a pipe or device; links are checked when they are read."""
        file = self.path / name
        return file.is_file() or file.is_symlink()

    def read(self, name: str) -> bytes:
        """Return the file's bytes. Raises: DataError."""
        file = self.path / name
        if file.is_symlink() and not file.resolve().is_relative_to(self._root):
            raise DataError(
                f"{file} is a link that leads out of {self.path}, which is not followed",
                field="path",
                value=self.path,
                remedy="Copy the image there, or convert the folder that holds it.",
            )
        try:
            size = file.stat().st_size
            if size > MAX_ENCODED_BYTES:
                raise _too_large(f"{file}", size)
            return file.read_bytes()
        except OSError as error:
            raise _unreadable(file, error) from error

    def metadata(self) -> bytes | None:
        """Return the bytes of dataset.json, or None. Raises: DataError."""
        return self.read(METADATA_NAME) if (self.path / METADATA_NAME).is_file() else None


def _refuse(error: OSError) -> None:
    raise _unreadable(error.filename, error) from error


def _unreadable(path: Path | str, error: OSError) -> DataError:
    problem = f"cannot read {path}: {error.strerror or error}"
    return DataError(problem, field="path", value=path)


class ZipSource(ImageSource):
    """The images of a zip."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            raise DataError(
                f"{path} is not a whole zip file ({error})",
                field="path",
                value=path,
                remedy="Copy or download it again.",
            ) from error
        except OSError as error:
            raise _unreadable(path, error) from error
        self._refuse_duplicates()
        self._entries = {
            entry.filename: entry for entry in self._archive.infolist() if _is_plain(entry)
        }
        self.names = sorted(filter(is_image_name, self._entries), key=natural_key)

    def _refuse_duplicates(self) -> None:
        """Raise DataError for two entries of one name."""
        seen = set()
        for entry in filter(_is_plain, self._archive.infolist()):
            if entry.filename in seen:
                raise DataError(
                    f"{self.path} holds {entry.filename} twice",
                    field="path",
                    value=self.path,
                    remedy="Unpack it and pack it again.",
                )
            seen.add(entry.filename)

    def read(self, name: str) -> bytes:
        """Return the file's bytes. Raises: DataError."""
        entry = self._entries[name]
        where = f"{name} in {self.path}"
        if entry.file_size > MAX_ENCODED_BYTES:
            raise _too_large(where, entry.file_size)
        try:
            return self._archive.read(entry)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError) as error:
            raise DataError(f"{where} is damaged ({error})") from error
        except (NotImplementedError, RuntimeError) as error:  # method unknown, or encrypted
            raise DataError(f"{where} cannot be unpacked: {error}") from error

    def metadata(self) -> bytes | None:
        """Return the bytes of dataset.json, or None. Raises: DataError."""
        return self.read(METADATA_NAME) if METADATA_NAME in self._entries else None

    def close(self) -> None:
        """Close the zip."""
        self._archive.close()


def _is_plain(entry: zipfile.ZipInfo) -> bool:
    """Whether an entry is a regular file whose name stays inside the archive."""
    kind = stat.S_IFMT(entry.external_attr >> 16)
    return (
        not entry.is_dir()
        and kind in (0, stat.S_IFREG)
        and ".." not in PurePosixPath(entry.filename).parts
    )


def _too_large(where: str, size: int) -> DataError:
    return DataError(
        f"{where} is {size / 2**20:.0f} MiB",
        expected=f"an image of at most {MAX_ENCODED_BYTES / 2**20:.0f} MiB",
        remedy="Remove it.",
    )


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
            problem = f"{path} is not a whole LMDB environment ({error})"
            raise DataError(problem, field="path", value=path) from error
        self._keys = {_name(key): key for key in _choose(keys)}
        self.names = sorted(self._keys, key=natural_key)

    def read(self, name: str) -> bytes:
        """Return the value of the key. Raises: DataError."""
        try:
            value = self._transaction.get(self._keys[name])
        except self._lmdb.Error as error:
            raise DataError(f"{name} in {self.path} cannot be read ({error})") from error
        data = bytes(value or b"")
        if len(data) > MAX_ENCODED_BYTES:
            raise _too_large(f"{name} in {self.path}", len(data))
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


@contextlib.contextmanager
def open_source(path: str | os.PathLike[str]) -> Iterator[ImageSource]:
    """Open a folder, zip or LMDB environment of images.

    Raises:
        DataError: the path does not exist, cannot be read, or holds no image.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(
            f"{path} does not exist",
            field="path",
            value=path,
            remedy="Give a folder, zip or LMDB of images, or make one with 'segan data render "
            "faces.zip'.",
        )
    source: ImageSource
    if is_lmdb(path):
        source = LmdbSource(path)
    else:
        source = FolderSource(path) if path.is_dir() else ZipSource(path)
    try:
        if not source.names:
            raise DataError(
                f"{path} contains no images",
                field="path",
                value=path,
                expected="files such as .png or .jpg",
            )
        yield source
    finally:
        source.close()
