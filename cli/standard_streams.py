"""Standard output and error without a reader: ``segan info | head``, a closed terminal."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from typing import TextIO

#: Errors of writing to a pipe without a reader and to a terminal that was closed.
_GONE = (errno.EPIPE, errno.EIO)


@contextlib.contextmanager
def going_on_unread(stream: TextIO) -> Iterator[None]:
    """Let long work continue when a stream that the block writes to has lost its reader.

    Everything that is written to the stream from then on is dropped. For standard output, a line
    on standard error says so.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _GONE:
            raise
        silence(stream)
        if stream is sys.stdout:
            say("standard output is closed; the work continues without it")


def say(text: str) -> None:
    """Print a line on standard error; a closed one is ignored."""
    with going_on_unread(sys.stderr):
        print(text, file=sys.stderr, flush=True)


def silence(stream: TextIO) -> None:
    """Discard what a stream has buffered, and everything written to it from now on."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)
