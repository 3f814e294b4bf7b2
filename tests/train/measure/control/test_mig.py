"""The mutual information gap, against closed forms and codes whose attributes are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import mutual_info_score

from segan.runtime.errors import ConfigError
from segan.train.measure.control.attributes import encode_attributes
from segan.train.measure.control.drawn_model import DrawnModel
from segan.train.measure.control.mig import (
    BINS,
    entropy,
    equal_bins,
    mig,
    mig_interval,
    mutual_information,
)


def test_entropy_of_even_and_of_sure_histograms() -> None:
    assert entropy([5, 5, 5, 5]) == pytest.approx(np.log(4))
    assert entropy([9, 0]) == 0
    assert entropy([[1, 0], [0, 3]]) == pytest.approx(np.log(4) - 0.75 * np.log(3))


def test_information_agrees_with_scikit_learn() -> None:
    random = np.random.RandomState(0)
    a = random.randint(7, size=500)
    b = (a + random.randint(3, size=500)) % 5
    assert mutual_information(a, b) == pytest.approx(mutual_info_score(a, b))
    assert mutual_information(a, a) == pytest.approx(entropy(np.bincount(a)))


def test_bins_hold_equally_many() -> None:
    values = np.random.RandomState(0).randn(2000) ** 3
    assert np.bincount(equal_bins(values)).tolist() == [100] * BINS
    order = np.argsort(values)
    assert (np.diff(equal_bins(values)[order]) >= 0).all()


def test_gaps_of_straight_doubled_and_turned_codes() -> None:
    model = DrawnModel(16)
    codes = model.codes(range(4000))
    readings = encode_attributes(model.attributes(codes.coords)).astype(np.float64)
    straight, interval = mig_interval(codes.coords, readings, repeats=3)
    assert straight.gap > 0.9
    assert interval.value == straight.gap
    assert interval.high - interval.low < 0.1
    doubled = mig(np.repeat(codes.coords, 2, axis=1), readings)
    assert doubled.gap == pytest.approx(0, abs=1e-9)
    assert mig(codes.w, readings).gap < 0.1
    assert straight.gaps["smile"] == pytest.approx(1 - 19**2 / 8000 / np.log(20), abs=0.02)


def test_the_interval_holds_the_gap_of_few_codes() -> None:
    model = DrawnModel(16)
    codes = model.codes(range(1500))
    readings = encode_attributes(model.attributes(codes.coords)).astype(np.float64)
    for code in (codes.w, codes.coords):
        found = mig_interval(code, readings, repeats=100)[1]
        assert found.low <= found.value <= found.high


def test_too_few_codes_are_refused(raises_error: Callable[..., Any]) -> None:
    with raises_error(ConfigError, field="codes", value=(399, 2)):
        mig(np.zeros((399, 2)), np.zeros((399, 25)))
