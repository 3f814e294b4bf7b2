"""Standard output and error whose reader goes away: ``segan info | head``, a closed terminal."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from typing import TextIO

#: What writing to a pipe without a reader, and to a terminal that was closed, fails with.
_GONE = (errno.EPIPE, errno.EIO)


@contextlib.contextmanager
def going_on_unread(stream: TextIO) -> Iterator[None]:
    """Lets work of hours go on where a stream that the body writes to has no reader any more.

    What the body could not write is dropped, as is all that follows on that stream. Where it is
    standard output, standard error says so.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _GONE:
            raise
        silence(stream)
        if stream is sys.stdout:
            say("nobody reads the output any more; the work goes on")


def say(text: str) -> None:
    """A line on standard error, for whoever reads it."""
    with going_on_unread(sys.stderr):
        print(text, file=sys.stderr, flush=True)


def silence(stream: TextIO) -> None:
    """Sends what a stream still holds, and all that follows, to nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
