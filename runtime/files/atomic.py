"""Writing files so that a crash never leaves an incomplete one, and errors that name the path."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from segan.runtime.errors import OutputError

#: Longest name, in bytes, that temporary names repeat; a file system allows 255.
_NAME_BYTES = 220

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


def temporary_name(final: Path, ending: str = ".tmp") -> Path:
    """Return a hidden path next to ``final``, ``.NAME.PID-TOKEN.tmp``, for a draft of it."""
    name = final.name
    if len(os.fsencode(name)) > _NAME_BYTES:
        name = f"{name[:50]}~"
    return final.with_name(f".{name}.{os.getpid()}-{secrets.token_hex(4)}{ending}")


def follow_link(path: Path) -> Path:
    """Return where a file is really written: the goal of a link, and every other path as it is.

    Raises:
        OutputError: a link that leads in a circle or into a missing folder; or a device, pipe or
            socket, which a regular file would replace.
    """
    goal = path
    try:
        mode = os.lstat(path).st_mode
        if stat.S_ISLNK(mode):
            goal = Path(os.path.realpath(path))
            if goal.is_symlink() or not goal.parent.is_dir():
                raise OutputError(
                    f"{path} is a link to {os.readlink(path)}, where no file can be written",
                    field="path",
                    value=path,
                    remedy="Remove the link, or choose another path.",
                )
            mode = os.lstat(goal).st_mode
    except OSError:
        return goal  # Nothing is there, or opening it will say why.
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise OutputError(
            f"{path} is {_special(mode)}, and only regular files are written",
            field="path",
            value=path,
            remedy="Choose another path.",
        )
    return goal


def _special(mode: int) -> str:
    if stat.S_ISFIFO(mode):
        return "a pipe"
    return "a socket" if stat.S_ISSOCK(mode) else "a device"


@contextlib.contextmanager
def atomic_file(
    path: str | os.PathLike[str], *, sync: bool = True, follow: bool = False
) -> Iterator[BinaryIO]:
    """Open a file that is written to ``path`` completely, or not at all.

    The bytes go to a hidden temporary file in the same folder, which is renamed when the block
    ends, and removed when the block raises. Missing parent folders are made. A file that is
    replaced leaves its permissions to the new one; its other hard links keep the old bytes.

    Args:
        path: where the file appears; an older file or link there is replaced.
        sync: wait until the bytes are on the disk, so that a power cut leaves no torn file either.
        follow: keep a link, and replace the file that it points to: for files that the user named.
            A link in a folder that came from somebody else may lead anywhere.

    Raises:
        OutputError: when the folder or the file cannot be written, the disk is full, or a device
            or pipe is there.
    """
    path = Path(path)
    goal = path if not follow and path.is_symlink() else follow_link(path)
    temporary = temporary_name(goal)
    try:
        with writing(path):
            goal.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary, "xb") as file:
                yield file
                file.flush()
                with contextlib.suppress(OSError):
                    os.chmod(temporary, stat.S_IMODE(os.stat(goal).st_mode))
                if sync:
                    os.fsync(file.fileno())
            os.replace(temporary, goal)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def write_atomic(
    path: str | os.PathLike[str], data: bytes, *, sync: bool = True, follow: bool = False
) -> None:
    """Write ``data`` to ``path``, completely or not at all; see ``atomic_file``."""
    with atomic_file(path, sync=sync, follow=follow) as file:
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
