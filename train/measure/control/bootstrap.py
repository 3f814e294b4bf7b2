"""Confidence intervals by resampling seeds (Efron 1979).

Resampled seeds repeat, so many statistics of them are shifted: fewer different images are farther
from the real ones, fewer different codes tell more by chance. That shift says nothing about the
value, so it is taken out: an interval is the spread of the resamples around their mean, moved to
the value. It always holds the value, and may reach a little past the statistic's own bounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.intp]

#: From so many resamples on the ends are percentiles; below, ± 1.96 deviations of the resamples.
PERCENTILES_FROM = 100
_LOW, _HIGH = 2.5, 97.5
_NORMAL = 1.959964


class Interval(NamedTuple):
    """A value with the ends of its 95 % interval; both NaN where nothing was resampled."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float | None]:
        """As JSON values, rounded to 5 decimals; an end that is not known is null."""
        names = ("value", "low", "high")
        return {
            name: round(float(value), 5) if np.isfinite(value) else None
            for name, value in zip(names, self, strict=True)
        }


def centred_interval(resampled: npt.ArrayLike, value: float) -> tuple[float, float]:
    """The ends of a 95 % interval around a value, from what resamples gave.

    Args:
        resampled: [B] values of resampled seeds.
        value: of the seeds themselves.

    Returns:
        low ≤ value ≤ high; both NaN with fewer than 2 resamples, or where a number is NaN.
    """
    values = np.asarray(resampled, np.float64)
    if len(values) < 2 or not np.isfinite([value, *values]).all():
        return math.nan, math.nan
    if len(values) >= PERCENTILES_FROM:
        low, high = np.percentile(values - values.mean(), (_LOW, _HIGH))
    else:
        high = _NORMAL * values.std(ddof=1)
        low = -high
    # The mean of very skewed resamples can lie outside of their percentiles.
    return value + min(float(low), 0.0), value + max(float(high), 0.0)


def bootstrap(
    statistics: Callable[[Rows], Mapping[str, float]], count: int, repeats: int, seed: int = 0
) -> dict[str, Interval]:
    """Intervals of statistics over ``count`` seeds.

    Args:
        statistics: of the rows that it is given: numbers from 0 to count - 1, some of them more
            than once; its names are the same each time.
        count: how many seeds there are.
        repeats: resamples; 0 gives values without intervals. For what is slow, 10 to 30 give a
            standard deviation; see ``PERCENTILES_FROM``.
        seed: of the resampling.
    """
    value = statistics(np.arange(count))
    random = np.random.RandomState(seed)
    drawn = [statistics(random.randint(count, size=count)) for _ in range(repeats)]
    found = {}
    for name, middle in value.items():
        values = np.array([resample[name] for resample in drawn])
        found[name] = Interval(float(middle), *centred_interval(values, float(middle)))
    return found
