"""Progress of long work: a bar on a terminal, or a line every few seconds when piped."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Protocol, TextIO

from segan.cli.standard_streams import going_on_unread, with_control_codes
from segan.runtime.printable import printable

#: Seconds between two plain lines.
LINE_INTERVAL_S = 5.0


class Progress(Protocol):
    """Progress that ``progress`` opens."""

    def update(self, n: float = 1) -> None:
        """Count ``n`` more units as done."""


@contextlib.contextmanager
def progress(
    total: float | None,
    unit: str,
    description: str,
    *,
    stream: TextIO | None = None,
    quiet: bool = False,
) -> Iterator[Progress]:
    """Show the progress of long work, with its rate and the remaining time.

    Args:
        total: number of units; None where it is unknown.
        unit: name of a unit, such as ``images`` or ``kimg``.
        description: name of the work, such as ``generating``.
        stream: the output; None is stderr, since stdout is for results.
        quiet: show nothing, for processes whose progress another process shows.
    """
    stream = sys.stderr if stream is None else stream
    if quiet:
        yield _Bar(lambda _n=1: None, stream)
        return
    if stream.isatty():
        from tqdm import tqdm

        with tqdm(
            total=total,
            unit=f" {unit}",
            desc=printable(description),
            file=with_control_codes(stream),
            dynamic_ncols=True,
        ) as bar:
            yield _Bar(bar.update, stream)
        return
    lines = _Lines(total, unit, description, stream)
    yield lines
    lines.finish()


class LateProgress:
    """A bar that opens when the total is known; its methods serve as callbacks.

    It closes when all units are done, or with the block.

    Args:
        unit: what is counted, such as ``images``.
    """

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._stack = contextlib.ExitStack()
        self._bar: Progress | None = None
        self._left = 0.0

    def __enter__(self) -> LateProgress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # An error goes to the bar as well, which then prints no final line.
        self._stack.__exit__(kind, error, trace)

    def start(self, total: float, description: str) -> None:
        """Open the bar."""
        self._bar = self._stack.enter_context(progress(total, self._unit, description))
        self._left = total

    def update(self, n: float = 1) -> None:
        """Count ``n`` more units as done."""
        if self._bar is not None:
            self._bar.update(n)
            self._left -= n
            if self._left <= 0:
                self.close()

    def close(self) -> None:
        """Close the bar, if it was opened."""
        self._stack.close()
        self._bar = None


class _Bar:
    """Gives tqdm's update the signature of Progress."""

    def __init__(self, update: object, stream: TextIO) -> None:
        self._update, self._stream = update, stream

    def update(self, n: float = 1) -> None:
        assert callable(self._update)
        with going_on_unread(self._stream):
            self._update(n)


class _Lines:
    """A line about every LINE_INTERVAL_S seconds, and one at the end."""

    def __init__(self, total: float | None, unit: str, description: str, stream: TextIO) -> None:
        self._total, self._unit, self._description = total, unit, description
        self._stream = stream
        self._done = 0.0
        self._start = self._last = time.monotonic()

    def update(self, n: float = 1) -> None:
        self._done += n
        now = time.monotonic()
        if now - self._last >= LINE_INTERVAL_S:
            self._last = now
            self._write(now - self._start, final=False)

    def finish(self) -> None:
        self._write(time.monotonic() - self._start, final=True)

    def _write(self, seconds: float, *, final: bool) -> None:
        rate = self._done / max(seconds, 1e-9)
        of = "" if self._total is None else f"/{_number(self._total)}"
        line = f"{self._description}: {_number(self._done)}{of} {self._unit}"
        if self._done:
            line += f", {_rate(rate)} {self._unit}/s"
        if final:
            line += f", {_duration(seconds)}"
        elif self._total is not None and self._done:
            line += f", {_duration(max(self._total - self._done, 0) / rate)} left"
        with going_on_unread(self._stream):
            print(line, file=self._stream, flush=True)


def _number(value: float) -> str:
    return f"{value:.0f}" if float(value).is_integer() else f"{value:.1f}"


def _rate(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _duration(seconds: float) -> str:
    """Seconds as ``4.2 s``, ``3:25`` or ``2:03:25``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
