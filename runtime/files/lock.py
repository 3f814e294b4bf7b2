"""One process at a time in a folder or file: batches, training runs, caches and bundles."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from segan.runtime.errors import ConfigError
from segan.runtime.files.atomic import writing
from segan.runtime.files.whole_folder import restore

#: Seconds between two tries to get a lock.
_PAUSE = 0.02


@contextlib.contextmanager
def locked(
    path: Path,
    held: str = "another batch is being written to",
    *,
    on_wait: Callable[[], None] | None = None,
    wait: float | None = None,
) -> Iterator[None]:
    """Keep other processes out of a folder or file while the block runs.

    The operating system holds the lock on ``path`` itself, so no lock file is left, and the lock
    ends with the process. Where another process replaced ``path`` while this one waited, the lock
    is taken again on what is there now. Windows cannot lock a folder, and some network file
    systems lock nothing; the block then runs without a lock.

    Args:
        path: a folder or file, which exists.
        held: how the error message about the other process begins.
        on_wait: called before waiting for the other process without a limit.
        wait: seconds to wait for the other process; None, without ``on_wait``, does not wait.

    Raises:
        ConfigError: another process holds the lock for as long.
        OutputError: ``path`` cannot be opened.
    """
    if os.name == "nt" and path.is_dir():
        yield
        return
    handle = _take(path, held, on_wait, wait or 0.0)
    try:
        yield
    finally:
        os.close(handle)


def _take(path: Path, held: str, on_wait: Callable[[], None] | None, wait: float) -> int:
    """Return a descriptor of ``path`` that holds its lock."""
    from filelock import lock_descriptor  # 25 ms that most commands do not need

    end = time.monotonic() + wait
    while True:
        with writing(path):
            try:
                handle = os.open(path, os.O_RDONLY)
            except FileNotFoundError:
                if not restore(path):
                    raise
                handle = os.open(path, os.O_RDONLY)
        try:
            # An OSError: the file system knows no locks.
            with contextlib.suppress(OSError):
                while not lock_descriptor(handle, blocking=False):
                    if on_wait is not None:
                        on_wait()
                        lock_descriptor(handle)
                        break
                    if time.monotonic() >= end:
                        waited = f", and has not ended in {wait:g} s" if wait else ""
                        raise ConfigError(
                            f"{held} {path} right now{waited}",
                            field="folder",
                            value=path,
                            remedy="Wait for it, or choose another folder.",
                        )
                    time.sleep(_PAUSE)
            if _is_at(handle, path):
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _is_at(handle: int, path: Path) -> bool:
    """Whether the open file or folder is still the one at ``path``."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False
