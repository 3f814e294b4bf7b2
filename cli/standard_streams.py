r"""Standard output and error: printable text in any encoding, with or without a reader.

What a command prints holds foreign text: names from bundles, keys of checkpoints, names of files,
messages of backends. No escape sequence in it reaches the terminal, and no character that the
stream's encoding lacks stops a command whose work is done.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast

from segan.runtime.printable import escaped, printable

#: Errors of writing to a pipe without a reader and to a terminal that was closed.
_GONE = (errno.EPIPE, errno.EIO)

#: Characters of our own messages → what stands for them in an encoding without them.
_PLAIN = {"²": "^2", "×": "x", "…": "...", "–": "-", "−": "-"}


def _replace(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    lost = error.object[error.start : error.end]
    return "".join(_PLAIN.get(char) or escaped(char) for char in lost), error.end


codecs.register_error("segan.plain", _replace)


class _PrintableStream:
    """A text stream that writes escapes for what its encoding lacks and for invisible characters.

    It hides the stream's buffer, where click would write around it.

    Args:
        stream: where the text goes.
        raw: leave invisible characters: a progress bar's control codes.
    """

    def __init__(self, stream: TextIO, *, raw: bool = False) -> None:
        self.stream, self._raw = stream, raw

    def write(self, text: str) -> int:
        shown = text if self._raw else printable(text, keep="\n")
        encoding = self.stream.encoding
        if encoding:
            shown = shown.encode(encoding, "segan.plain").decode(encoding)
        self.stream.write(shown)
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        if name == "buffer":
            raise AttributeError(name)
        return getattr(self.stream, name)


@contextlib.contextmanager
def printable_streams() -> Iterator[None]:
    """Within it, standard output and error take any text; see the module."""
    before = sys.stdout, sys.stderr
    make_streams_printable()
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def make_streams_printable() -> None:
    """Let standard output and error take any text from now on, tracebacks included."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, _PrintableStream):
            setattr(sys, name, _PrintableStream(stream))


def with_control_codes(stream: TextIO) -> TextIO:
    """Return a stream for a progress bar, whose control codes reach the terminal."""
    inner = stream.stream if isinstance(stream, _PrintableStream) else stream
    return cast(TextIO, _PrintableStream(inner, raw=True))


def echo(*lines: str, err: bool = False) -> None:
    """Print lines on standard output, or on standard error.

    A line feed within a line is written as an escape, so that foreign text cannot pass for
    another line of ours.
    """
    stream = sys.stderr if err else sys.stdout
    if stream is not None:
        print("\n".join(map(printable, lines)), file=stream, flush=True)


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


def say(*lines: str) -> None:
    """Print lines on standard error, as ``echo``; a closed one is ignored."""
    with going_on_unread(sys.stderr):
        echo(*lines, err=True)


def silence(stream: TextIO) -> None:
    """Discard what a stream has buffered, and everything written to it from now on."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)
