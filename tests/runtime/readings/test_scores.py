"""Control scores of sliders with a known effect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from segan.runtime.errors import ConfigError
from segan.runtime.readings.effects import SliderEffect
from segan.runtime.readings.scores import concentration, control_scores
from segan.train.data.faces.attributes import FACE_ATTRIBUTES

NAMES = [attribute.name for attribute in FACE_ATTRIBUTES]


def slider(change: float = 0.2, sign: float = 1.0, **effects: float) -> SliderEffect:
    row = np.array([effects.get(name, 0.0) for name in NAMES])
    return SliderEffect(change, row, row, sign * np.sign(row), np.sign(row))


def test_a_slider_for_each_attribute_controls_all() -> None:
    scores = control_scores({f"s{i}": slider(**{name: 2.0}) for i, name in enumerate(NAMES)}, NAMES)
    assert list(scores.controlled(0.2)) == NAMES
    assert all(score.leakage == 0 for score in scores.sliders)
    assert scores.disentanglement == pytest.approx(1)
    assert scores.completeness == pytest.approx(1)
    assert scores.gap == pytest.approx(1)


def test_a_slider_of_two_attributes_leaks_a_half() -> None:
    scores = control_scores({"a": slider(smile=2.0, blush=2.0)}, NAMES)
    assert scores.sliders[0].leakage == pytest.approx(0.5)
    assert not scores.controlled()
    # log 2 of log 18 is lost.
    assert scores.disentanglement == pytest.approx(1 - np.log(2) / np.log(len(NAMES)))


def test_bounds_of_control() -> None:
    effects = {
        "weak": slider(head_x=0.99),
        "quarter": slider(smile=3.0, blush=1.0),
        "clean": slider(glasses=1.5, blush=0.09),
    }
    scores = control_scores(effects, NAMES)
    assert list(scores.controlled()) == ["smile", "glasses"]
    assert list(scores.controlled(0.2)) == ["glasses"]
    assert scores.controlled()["smile"].leakage == pytest.approx(0.25)
    assert scores.sliders[2].leakage == 0  # less than 0.1 sd counts as nothing


def test_the_cleaner_of_two_sliders_is_named() -> None:
    scores = control_scores({"a": slider(smile=3, blush=1), "b": slider(smile=2, sign=-1.0)}, NAMES)
    best = scores.controlled()["smile"]
    assert (best.slider, best.effect) == ("b", -2.0)
    at = NAMES.index("smile")
    assert scores.gap == pytest.approx(((3 - 2) / 3 + 1) / len(NAMES))
    assert scores.effects[:, at].tolist() == [3, 2]


def test_a_slider_without_effect_has_no_attribute() -> None:
    score = control_scores({"a": slider(change=0.001)}, NAMES).sliders[0]
    assert score.dead
    assert (score.attribute, score.effect, score.leakage) == ("", 0.0, 1.0)


def test_absolute_leakage_counts_what_differs_between_seeds() -> None:
    effect = slider(smile=2.0)
    absolute = effect.absolute.copy()
    absolute[NAMES.index("blush")] = 2.0
    score = control_scores({"a": effect._replace(absolute=absolute)}, NAMES).sliders[0]
    assert score.leakage == 0
    assert score.leakage_absolute == pytest.approx(0.5)


def test_concentration_of_even_and_mixed_rows() -> None:
    assert concentration(np.ones((3, 4))) == pytest.approx(0)
    assert concentration(np.zeros((3, 4))) == 0
    # Rows weigh by their sums: 3/4 · 1 + 1/4 · 0.
    assert concentration(np.array([[3.0, 0.0], [0.5, 0.5]])) == pytest.approx(0.75)
    assert concentration(np.array([[1.0], [2.0]])) == pytest.approx(1)


def test_no_slider_is_refused(raises_error: Callable[..., Any]) -> None:
    with raises_error(ConfigError, field="effects", value=0):
        control_scores({}, NAMES)
