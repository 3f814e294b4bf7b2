"""One process at a time in a folder or file: batches, training runs and caches."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from segan.runtime.errors import ConfigError
from segan.runtime.files.atomic import writing


@contextlib.contextmanager
def locked(
    path: Path,
    held: str = "another batch is being written to",
    *,
    on_wait: Callable[[], None] | None = None,
) -> Iterator[None]:
    """Keep other processes out of a folder or file while the block runs.

    The operating system holds the lock on ``path`` itself, so no lock file is left, and the lock
    ends with the process. Windows cannot lock a folder, and some network file systems lock
    nothing; the block then runs without a lock.

    Args:
        path: a folder or file, which exists.
        held: how the error message about the other process begins.
        on_wait: called before waiting for the other process; None raises instead of waiting.

    Raises:
        ConfigError: another process holds the lock, and ``on_wait`` is None.
        OutputError: ``path`` cannot be opened.
    """
    if os.name == "nt" and path.is_dir():
        yield
        return
    from filelock import lock_descriptor  # 25 ms that most commands do not need

    with writing(path):
        handle = os.open(path, os.O_RDONLY)
    try:
        # An OSError: the file system knows no locks.
        with contextlib.suppress(OSError):
            if not lock_descriptor(handle, blocking=False):
                if on_wait is None:
                    raise ConfigError(
                        f"{held} {path} right now",
                        field="folder",
                        value=path,
                        remedy="Wait for it, or choose another folder.",
                    )
                on_wait()
                lock_descriptor(handle)
        yield
    finally:
        os.close(handle)
