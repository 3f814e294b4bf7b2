"""Axes of charts: their ticks and numbers, and where values lie in a drawing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

Point = tuple[float, float]

#: Values whose largest is more than this times their smallest get a logarithmic axis, if allowed.
_LINEAR_UP_TO = 60


class Axis(NamedTuple):
    """One axis.

    Attributes:
        low: value at its beginning.
        high: value at its end, above ``low``.
        ticks: values that get a line and a number.
        log: whether it is logarithmic.
    """

    low: float
    high: float
    ticks: tuple[float, ...]
    log: bool = False

    def place(self, value: float) -> float:
        """Return where a value lies: 0 at ``low``, 1 at ``high``."""
        if self.log:
            span = math.log(self.high) - math.log(self.low)
            return (math.log(max(value, self.low)) - math.log(self.low)) / span
        return (value - self.low) / (self.high - self.low)


class Frame(NamedTuple):
    """A drawing of ``width`` by ``height`` with margins around the area between its axes."""

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float

    @property
    def end(self) -> float:
        """The right edge of the area."""
        return self.width - self.right

    @property
    def base(self) -> float:
        """The lower edge of the area; SVG counts from the top."""
        return self.height - self.bottom

    def x(self, axis: Axis, value: float) -> float:
        """Return where a value of the horizontal axis lies, to a tenth of a unit."""
        return round(self.left + axis.place(value) * (self.end - self.left), 1)

    def y(self, axis: Axis, value: float) -> float:
        """Return where a value of the vertical axis lies, to a tenth of a unit."""
        return round(self.base - axis.place(value) * (self.base - self.top), 1)


def axis_of(values: Sequence[float], *, from_zero: bool = False, may_log: bool = False) -> Axis:
    """Return an axis that shows all values, with round ticks.

    Args:
        values: finite; may be empty.
        from_zero: whether 0 is always shown.
        may_log: whether the axis may be logarithmic.
    """
    if not values:
        return Axis(0.0, 1.0, (0.0, 0.5, 1.0))
    low, high = min(values), max(values)
    if may_log and low > 0 and high / low > _LINEAR_UP_TO:
        return _decades(low, high)
    if from_zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if high - low < 1e-9 * max(abs(low), abs(high), 1e-9):
        margin = abs(high) / 2 or 0.5
        low, high = low - margin, high + margin
        low = max(low, 0.0) if from_zero or high <= 2 * margin else low
    step = _round_step((high - low) / 4)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(number * step for number in range(first, last + 1))
    return Axis(ticks[0], ticks[-1], ticks)


def span_axis(low: float, high: float) -> Axis:
    """Return an axis from ``low`` to ``high`` exactly, with the round ticks between them."""
    if high <= low:
        high = low + 1
    step = _round_step((high - low) / 5)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return Axis(low, high, tuple(number * step for number in range(first, last + 1)))


def log_span_axis(low: float, high: float) -> Axis:
    """Return a logarithmic axis from ``low`` to ``high``, with ticks at 1, 2, 5, 10, 20 and so on.

    Args:
        low: above 0.
        high: above ``low``.
    """
    first, last = math.floor(math.log10(low)), math.floor(math.log10(high))
    ticks = (factor * 10.0**power for power in range(first, last + 1) for factor in (1, 2, 5))
    return Axis(low, high, tuple(tick for tick in ticks if low <= tick <= high), log=True)


def _round_step(rough: float) -> float:
    """The next of 1, 2, 2.5, 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(
        factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * (1 - 1e-9)
    )


def _decades(low: float, high: float) -> Axis:
    """A logarithmic axis of whole powers of ten."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    every = max(1, math.ceil((last - first) / 6))
    ticks = tuple(10.0**power for power in range(first, last + 1, every))
    return Axis(10.0**first, 10.0**last, ticks, log=True)


def number_text(value: float, digits: int = 4) -> str:
    """Return a number for people: ``12,346``, ``0.1235``, ``3.2e-06``, with a real minus sign."""
    size = abs(value)
    if size >= 10_000:
        text = f"{value:,.0f}" if size < 1e9 else f"{value:.2e}"
    elif size < 1e-3 and value:
        text = f"{value:.{min(digits, 3) - 1}e}"
    else:
        text = f"{value:.{digits}g}"
    return text.replace("-", "−", 1) if text.startswith("-") else text
