"""Intervals of means, whose standard error is known."""

from __future__ import annotations

import numpy as np
import pytest

from segan.train.measure.control.bootstrap import Interval, bootstrap, centred_interval


@pytest.mark.parametrize("repeats", [30, 400])
def test_the_interval_of_a_mean_has_its_standard_error(repeats: int) -> None:
    values = np.random.RandomState(1).randn(900) * 3 + 5

    def mean(rows: np.ndarray) -> dict[str, float]:
        return {"mean": float(values[rows].mean())}

    found = bootstrap(mean, len(values), repeats)["mean"]
    assert found.value == pytest.approx(values.mean())
    half = 1.96 * values.std(ddof=1) / 30
    assert found.high - found.low == pytest.approx(2 * half, rel=0.35)
    assert found.low < values.mean() < found.high


def test_no_resample_gives_no_interval() -> None:
    found = bootstrap(lambda rows: {"n": float(len(rows))}, 7, 0)["n"]
    assert found.value == 7
    assert np.isnan(found.low)
    assert found.to_json() == {"value": 7.0, "low": None, "high": None}
    assert Interval(float("nan"), 0.0, 1.0).to_json()["value"] is None


def test_resampling_repeats() -> None:
    values = np.arange(50.0)

    def total(rows: np.ndarray) -> dict[str, float]:
        return {"sum": float(values[rows].sum())}

    assert bootstrap(total, 50, 120) == bootstrap(total, 50, 120)
    assert bootstrap(total, 50, 120) != bootstrap(total, 50, 120, seed=1)


@pytest.mark.parametrize("repeats", [20, 200])
def test_the_interval_holds_a_value_that_resampling_shifts(repeats: int) -> None:
    # The number of different seeds: resampled, only 1 - 1/e of them are left.
    found = bootstrap(lambda rows: {"n": float(len(np.unique(rows)))}, 300, repeats)["n"]
    assert found.low <= found.value == 300 <= found.high
    # Its variance is n (1/e - 2/e²), as of the empty boxes when n balls fall into n boxes.
    spread = np.sqrt(300 * (np.exp(-1) - 2 * np.exp(-2)))
    assert found.high - found.low == pytest.approx(2 * 1.96 * spread, rel=0.35)


def test_an_interval_holds_its_value_also_where_resamples_are_skewed() -> None:
    resampled = np.zeros(200)
    resampled[0] = 1000.0  # their mean is above 97.5 % of them
    low, high = centred_interval(resampled, 4.0)
    assert low <= 4 <= high
    assert np.isnan(centred_interval([1.0], 1.0)).all()
    assert np.isnan(centred_interval([1.0, np.nan], 1.0)).all()
