"""One process at a time in a folder: batches and training runs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from segan.runtime.errors import ConfigError
from segan.runtime.files.atomic import output_error


@contextlib.contextmanager
def locked(
    folder: Path,
    held: str = "another batch is being written to",
    *,
    on_wait: Callable[[], None] | None = None,
) -> Iterator[None]:
    """Keeps a second process out of the folder while this one runs.

    The lock ends with the process, however that ends. Systems without flock go unguarded.

    Args:
        folder: exists already.
        held: how the message about the other process begins.
        on_wait: wait for the other process instead of failing; called before waiting.

    Raises:
        ConfigError: another process is writing there, and ``on_wait`` is None.
        OutputError: the folder cannot be opened.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise output_error(folder, error) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if on_wait is None:
                raise ConfigError(
                    f"{held} {folder} right now. Wait for it, or choose another folder."
                ) from None
            on_wait()
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:
            # Some network file systems know no locks.
            pass
        yield
    finally:
        os.close(handle)
