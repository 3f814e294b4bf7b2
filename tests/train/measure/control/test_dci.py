"""DCI of codes whose attributes are known exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from segan.runtime.errors import ConfigError
from segan.train.measure.control.attributes import READINGS, encode_attributes
from segan.train.measure.control.dci import REGRESSORS, Regressor, dci, dci_intervals
from segan.train.measure.control.drawn_model import DrawnModel

Case = tuple[np.ndarray, np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def case() -> Case:
    """Coordinates with one attribute each, the same rotated, and the attributes."""
    model = DrawnModel(16)
    codes = model.codes(range(1500))
    readings = encode_attributes(model.attributes(codes.coords)).astype(np.float64)
    return codes.coords, codes.w, readings


@pytest.mark.parametrize("regressor", REGRESSORS)
def test_a_dimension_for_each_attribute_is_disentangled_and_complete(
    case: Case, regressor: Regressor
) -> None:
    found = dci(case[0], case[2], regressor)
    assert found.disentanglement > (0.75 if regressor == "forest" else 0.9)
    assert found.completeness > (0.75 if regressor == "forest" else 0.9)
    # No straight line follows a cosine; the forest does.
    assert found.informativeness > (0.93 if regressor == "forest" else 0.8)
    assert (found.importance.argmax(0) == np.arange(len(READINGS))).all()
    np.testing.assert_allclose(found.importance.sum(0), 1)


def test_a_rotated_code_tells_as_much_but_is_entangled(case: Case) -> None:
    straight, turned = (dci(codes, case[2], "lasso") for codes in case[:2])
    assert turned.disentanglement < 0.25
    assert turned.completeness < 0.25
    assert turned.informativeness == pytest.approx(straight.informativeness, abs=0.1)


def test_a_code_that_tells_nothing_is_not_informative(case: Case) -> None:
    random = np.random.RandomState(0).randn(*case[0].shape)
    found = dci(random, case[2], "lasso")
    assert found.informativeness < 0.01
    assert found.predicted["smile"] < 0.01


def test_one_code_for_two_attributes_is_complete_but_not_disentangled() -> None:
    # Attributes 8 and 9 both follow the only dimension.
    code = np.random.RandomState(0).uniform(-1.7, 1.7, (800, 1))
    readings = np.zeros((800, READINGS[-1].start + READINGS[-1].width))
    at = [READINGS[number].start for number in (8, 9)]
    readings[:, at] = code
    found = dci(code, readings, "lasso")
    assert found.disentanglement == pytest.approx(1 - np.log(2) / np.log(len(READINGS)))
    assert found.informativeness == pytest.approx(2 / len(READINGS), abs=0.01)


def test_intervals_hold_the_scores(case: Case) -> None:
    scores, intervals = dci_intervals(case[0], case[2], "lasso", repeats=5)
    found = intervals["disentanglement"]
    assert found.value == scores.disentanglement
    assert found.low < found.value < found.high < found.low + 0.2


def test_too_few_codes_or_another_regressor_are_refused(
    case: Case, raises_error: Callable[..., Any]
) -> None:
    with raises_error(ConfigError, field="codes", value=case[0][:20].shape):
        dci(case[0][:20], case[2][:20])
    with raises_error(ConfigError, field="regressor", value="tree", expected="forest or lasso"):
        dci(case[0], case[2], "tree")  # type: ignore[arg-type]
