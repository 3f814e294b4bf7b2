"""Writing files so that a crash never leaves an incomplete one, and errors that name the path."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from segan.runtime.errors import OutputError

#: errno → (what is wrong, what to do next).
_REASONS = {
    errno.ENOSPC: ("the disk is full", "Free some space, or choose another folder."),
    errno.EDQUOT: ("the disk quota is used up", "Free some space, or choose another folder."),
    errno.EFBIG: ("the file is larger than this system allows", "Choose another folder."),
    errno.EACCES: ("permission was denied", "Choose a folder that you may write to."),
    errno.EPERM: ("permission was denied", "Choose a folder that you may write to."),
    errno.EROFS: ("the file system is read-only", "Choose another folder."),
    errno.ENOTDIR: ("there is a file where a folder is expected", "Choose another path."),
    errno.EEXIST: ("there is a file where a folder is expected", "Choose another path."),
    errno.EISDIR: ("there is a folder where a file is expected", "Choose another path."),
    errno.ENAMETOOLONG: ("the name is too long", "Choose a shorter one."),
}


def output_error(path: str | os.PathLike[str], error: OSError) -> OutputError:
    """Return the error that says why ``path`` could not be written; its ``value`` is the path."""
    reason, remedy = _REASONS.get(error.errno or 0, (error.strerror or str(error), ""))
    path = Path(path)
    return OutputError(f"cannot write {path}: {reason}", field="path", value=path, remedy=remedy)


@contextlib.contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Raise an OSError of the block as the OutputError of ``output_error``."""
    try:
        yield
    except OSError as error:
        raise output_error(path, error) from error


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike[str], *, sync: bool = True) -> Iterator[BinaryIO]:
    """Open a file that is written to ``path`` completely, or not at all.

    The bytes go to a hidden temporary file in the same folder, which is renamed when the block
    ends, and removed when the block raises. Missing parent folders are made.

    Args:
        path: where the file appears; an older file there is replaced.
        sync: wait until the bytes are on the disk, so that a power cut leaves no torn file either.

    Raises:
        OutputError: when the folder or the file cannot be written, or the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name[:100]}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary, "xb") as file:
                yield file
                file.flush()
                if sync:
                    os.fsync(file.fileno())
            os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def write_atomic(path: str | os.PathLike[str], data: bytes, *, sync: bool = True) -> None:
    """Write ``data`` to ``path``, completely or not at all. Raises: OutputError."""
    with atomic_file(path, sync=sync) as file:
        file.write(data)


def make_folder(path: str | os.PathLike[str]) -> Path:
    """Make a folder and its parents, and return its path. Raises: OutputError."""
    path = Path(path)
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


def sync_folder(path: str | os.PathLike[str]) -> None:
    """Make renames inside ``path`` durable, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def sha256_file(path: str | os.PathLike[str]) -> str:
    """Return a file's SHA-256 as 64 hexadecimal digits; the file is read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
