"""Confidence intervals by resampling seeds (Efron 1979).

Resampled seeds repeat, which shifts many statistics: fewer distinct images are farther from the
real ones, and fewer distinct codes carry more information by chance. That shift is removed: an
interval is the spread of the resamples around their mean, centred on the value. It always contains
the value, and may exceed the statistic's own bounds slightly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.intp]

#: Ends are percentiles from this many resamples on, else ± 1.96 deviations of the resamples.
PERCENTILES_FROM = 100
_LOW, _HIGH = 2.5, 97.5
_NORMAL = 1.959964


class Interval(NamedTuple):
    """A value with the ends of its 95 % interval; both are NaN without resamples."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float | None]:
        """Return JSON values, rounded to 5 decimals; an unknown end is None."""
        names = ("value", "low", "high")
        return {
            name: round(float(value), 5) if np.isfinite(value) else None
            for name, value in zip(names, self, strict=True)
        }


def centred_interval(resampled: npt.ArrayLike, value: float) -> tuple[float, float]:
    """Return the ends of a 95 % interval around a value.

    Args:
        resampled: [B] values of resampled seeds.
        value: of the original seeds.

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
    # The mean of very skewed resamples can lie outside their percentiles.
    return value + min(float(low), 0.0), value + max(float(high), 0.0)


def bootstrap(
    statistics: Callable[[Rows], Mapping[str, float]], count: int, repeats: int, seed: int = 0
) -> dict[str, Interval]:
    """Return intervals of statistics over ``count`` seeds.

    Args:
        statistics: returns values by name for rows, numbers from 0 to count - 1 that may repeat;
            the names are the same for each call.
        count: number of seeds.
        repeats: resamples; 0 gives values without intervals. For slow statistics, 10 to 30 suffice
            for a standard deviation; see ``PERCENTILES_FROM``.
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
