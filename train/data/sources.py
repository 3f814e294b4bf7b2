"""Where images come from: folders, zips and LMDB environments, behind one interface.

Nothing is unpacked to the disk, links are not followed out of a folder, and names are natural
paths with ``/``. Hidden files, ``__MACOSX`` and files that are no images by their ending are left
out.
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

#: Endings of image files that are looked at.
IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".dib", ".gif", ".tif", ".tiff"}
    | {".tga", ".ppm", ".pgm", ".pbm", ".pnm", ".ico", ".jp2", ".avif", ".qoi"}
)

#: A larger encoded image is refused: no sensible one comes near, a zip bomb does.
MAX_ENCODED_BYTES = 512 << 20

#: The name of the file that holds the labels.
METADATA_NAME = "dataset.json"


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sorts ``img2`` before ``img10``: runs of digits count as numbers."""
    return tuple(
        (0, int(part), part) if part.isdecimal() else (1, 0, part)
        for part in re.split(r"(\d+)", name)
        if part
    )


def is_image_name(name: str) -> bool:
    """Whether a path inside a source names an image that is to be read."""
    path = PurePosixPath(name)
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return not hidden and not path.is_absolute() and path.suffix.lower() in IMAGE_SUFFIXES


class ImageSource(abc.ABC):
    """A set of encoded images with names.

    Attributes:
        path: where it lies.
        names: of the images, in natural order.
    """

    path: Path
    names: list[str]

    @abc.abstractmethod
    def read(self, name: str) -> bytes:
        """The encoded image. Raises: DataError."""

    def metadata(self) -> bytes | None:
        """The content of dataset.json; None where there is none. Raises: DataError."""
        return None

    def close(self) -> None:
        """Closes the files."""
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
        """Whether it is no pipe or device; links are kept, and judged when they are read."""
        file = self.path / name
        return file.is_file() or file.is_symlink()

    def read(self, name: str) -> bytes:
        """The file's bytes. Raises: DataError."""
        file = self.path / name
        if file.is_symlink() and not file.resolve().is_relative_to(self._root):
            raise DataError(
                f"{file} is a link that leads out of {self.path}, which is not followed. "
                "Copy the image there, or convert the folder that it lies in."
            )
        try:
            size = file.stat().st_size
            if size > MAX_ENCODED_BYTES:
                raise DataError(_too_large(f"{file}", size))
            return file.read_bytes()
        except OSError as error:
            raise DataError(f"cannot read {file}: {error.strerror or error}.") from error

    def metadata(self) -> bytes | None:
        """The bytes of dataset.json, or None. Raises: DataError."""
        return self.read(METADATA_NAME) if (self.path / METADATA_NAME).is_file() else None


def _refuse(error: OSError) -> None:
    raise DataError(f"cannot read {error.filename}: {error.strerror or error}.") from error


class ZipSource(ImageSource):
    """The images of a zip."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            raise DataError(
                f"{path} is not a whole zip file ({error}). Copy or download it again."
            ) from error
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror or error}.") from error
        self._refuse_duplicates()
        self._entries = {
            entry.filename: entry for entry in self._archive.infolist() if _is_plain(entry)
        }
        self.names = sorted(filter(is_image_name, self._entries), key=natural_key)

    def _refuse_duplicates(self) -> None:
        """A name that stands for two images cannot keep both. Raises: DataError."""
        seen = set()
        for entry in filter(_is_plain, self._archive.infolist()):
            if entry.filename in seen:
                raise DataError(
                    f"{self.path} holds {entry.filename} twice. Unpack it and pack it again."
                )
            seen.add(entry.filename)

    def read(self, name: str) -> bytes:
        """The file's bytes. Raises: DataError."""
        entry = self._entries[name]
        where = f"{name} in {self.path}"
        if entry.file_size > MAX_ENCODED_BYTES:
            raise DataError(_too_large(where, entry.file_size))
        try:
            return self._archive.read(entry)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError) as error:
            raise DataError(f"{where} is damaged ({error}).") from error
        except (NotImplementedError, RuntimeError) as error:  # method unknown, or encrypted
            raise DataError(f"{where} cannot be unpacked: {error}.") from error

    def metadata(self) -> bytes | None:
        """The bytes of dataset.json, or None. Raises: DataError."""
        return self.read(METADATA_NAME) if METADATA_NAME in self._entries else None

    def close(self) -> None:
        """Closes the zip."""
        self._archive.close()


def _is_plain(entry: zipfile.ZipInfo) -> bool:
    """A regular file whose name stays inside the archive."""
    kind = stat.S_IFMT(entry.external_attr >> 16)
    return (
        not entry.is_dir()
        and kind in (0, stat.S_IFREG)
        and ".." not in PurePosixPath(entry.filename).parts
    )


def _too_large(what: str, size: int) -> str:
    return (
        f"{what} is {size / 2**20:.0f} MiB; expected an image of at most "
        f"{MAX_ENCODED_BYTES / 2**20:.0f} MiB. Remove it."
    )


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
    """Opens a folder, zip or LMDB environment of images.

    Raises:
        DataError: when there is none, it cannot be read, or holds no image.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(
            f"there is no {path}. Give a folder, zip or LMDB of images, or make one with "
            "'segan data render faces.zip'."
        )
    source: ImageSource
    if is_lmdb(path):
        from segan.train.data.sources import LmdbSource

        source = LmdbSource(path)
    else:
        source = FolderSource(path) if path.is_dir() else ZipSource(path)
    try:
        if not source.names:
            raise DataError(f"{path} holds no image. Expected files such as .png or .jpg in it.")
        yield source
    finally:
        source.close()


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
