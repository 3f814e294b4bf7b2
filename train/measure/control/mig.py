"""The mutual information gap of a code (Chen et al. 2018, Eq. 6).

MIG = 1/K Σ_k (I(code_1; v_k) - I(code_2; v_k)) / H(v_k), where code_1 and code_2 are the two
dimensions with the most information on attribute k: 1 when each attribute depends on one dimension
alone. Entropies are those of histograms with 20 bins, as in Locatello et al. 2019, but with equally
many values in each bin. Such an estimate of I is too large by about (bins - 1)² / 2N nats, which
cancels in the difference of two estimates.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from segan.runtime.errors import ConfigError
from segan.runtime.readings.reading import Reading
from segan.train.measure.control.attributes import READINGS
from segan.train.measure.control.bootstrap import Interval, bootstrap

Array = npt.NDArray[np.float64]
Bins = npt.NDArray[np.int64]

#: Bins of a code's dimension and of a continuous attribute.
BINS = 20


class Mig(NamedTuple):
    """Mutual information of a code with attributes.

    Attributes:
        gap: MIG, 0 to 1.
        gaps: by attribute.
        information: [dimensions, attributes] I(code; v) / H(v), 0 to 1.
    """

    gap: float
    gaps: dict[str, float]
    information: Array


def mig(codes: Array, readings: Array) -> Mig:
    """Score a code.

    Args:
        codes: [N, D].
        readings: [N, OUTPUTS], from ``read_attributes``.

    Raises:
        ConfigError: too few codes for the bins.
    """
    if len(codes) < BINS**2 or not codes.shape[1]:
        raise ConfigError(
            f"codes have the shape {codes.shape}",
            field="codes",
            value=codes.shape,
            expected=f"{BINS**2} or more codes of 1 or more dimensions",
        )
    return _from_bins(*_binned(codes, readings))


def mig_interval(
    codes: Array, readings: Array, *, repeats: int = 100, seed: int = 0
) -> tuple[Mig, Interval]:
    """Score a code with an interval over seeds.

    Resampled codes repeat, so I is overestimated and the gap is shifted. ``bootstrap`` removes that
    shift, as for every statistic.
    """
    scores = mig(codes, readings)
    binned, values = _binned(codes, readings)

    def statistics(rows: npt.NDArray[np.intp]) -> dict[str, float]:
        return {"mig": _from_bins(binned[rows], values[rows]).gap}

    return scores, bootstrap(statistics, len(codes), repeats, seed)["mig"]


def _binned(codes: Array, readings: Array) -> tuple[Bins, Bins]:
    columns = [_attribute_bins(readings, reading) for reading in READINGS]
    return np.stack([equal_bins(column) for column in codes.T], axis=1), np.stack(columns, axis=1)


def _from_bins(codes: Bins, values: Bins) -> Mig:
    table = np.zeros((codes.shape[1], len(READINGS)))
    for k in range(len(READINGS)):
        whole = entropy(np.bincount(values[:, k]))
        if whole > 0:
            table[:, k] = [mutual_information(code, values[:, k]) / whole for code in codes.T]
    ordered = np.sort(table, axis=0)
    gaps = ordered[-1] - (ordered[-2] if len(ordered) > 1 else 0)
    by_name = {reading.name: float(gaps[k]) for k, reading in enumerate(READINGS)}
    return Mig(float(gaps.mean()), by_name, table)


def equal_bins(values: Array, bins: int = BINS) -> Bins:
    """Return the bin of each value, 0 to bins - 1, with equally many values in each bin; [N]."""
    edges = np.quantile(values, np.arange(1, bins) / bins)
    return np.searchsorted(edges, values, side="right").astype(np.int64)


def entropy(counts: npt.ArrayLike) -> float:
    """Return the entropy of a histogram, in nats."""
    shares = np.asarray(counts, np.float64).ravel()
    shares = shares[shares > 0] / shares.sum()
    return float(-(shares * np.log(shares)).sum())


def mutual_information(a: Bins, b: Bins) -> float:
    """Return I(a; b) = H(a) + H(b) - H(a, b) of two lists of bins, in nats."""
    joint = np.bincount(a * (int(b.max()) + 1) + b)
    return entropy(np.bincount(a)) + entropy(np.bincount(b)) - entropy(joint)


def _attribute_bins(readings: Array, reading: Reading) -> Bins:
    part = readings[:, reading.columns]
    if reading.kind == "categorical":
        likeliest: Bins = part.argmax(1).astype(np.int64)
        return likeliest
    if reading.kind == "circular":
        return equal_bins(np.arctan2(part[:, 1], part[:, 0]))
    return equal_bins(part[:, 0])
