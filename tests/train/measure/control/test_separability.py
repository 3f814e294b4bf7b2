"""Linear separability of codes with known answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from segan.runtime.errors import ConfigError
from segan.train.measure.control.attributes import READINGS, encode_attributes
from segan.train.measure.control.drawn_model import DrawnModel
from segan.train.measure.control.separability import (
    Question,
    attribute_questions,
    class_questions,
    conditional_entropy,
    metric_name,
    separability,
    separability_interval,
)


def question(answers: np.ndarray, confidence: np.ndarray | None = None) -> Question:
    sure = np.ones(len(answers)) if confidence is None else confidence
    return Question("q", answers, sure)


def test_separable_answers_score_1_and_random_ones_2() -> None:
    codes = np.random.RandomState(0).randn(4000, 3)
    told = question(codes @ [1.0, -2.0, 0.5] > 0.3)
    assert separability(codes, [told]).score == pytest.approx(1, abs=0.01)
    tossed = question(np.random.RandomState(1).rand(4000) > 0.5)
    # Nothing is told: H(Y | X) = log 2, and each such question doubles the score.
    assert separability(codes, [tossed]).score == pytest.approx(2, abs=0.01)
    again = Question("again", np.random.RandomState(2).rand(4000) > 0.5, np.ones(4000))
    three = [tossed, told._replace(name="told"), again]
    assert separability(codes, three).score == pytest.approx(4, abs=0.05)


def test_only_the_most_confident_half_counts() -> None:
    codes = np.random.RandomState(0).randn(1000, 1)
    answers = codes[:, 0] > 0
    answers[500:] ^= np.random.RandomState(1).rand(500) > 0.5
    confidence = np.r_[np.ones(500), np.zeros(500)]
    assert separability(codes, [question(answers, confidence)]).score == pytest.approx(1, abs=0.01)
    assert separability(codes, [question(answers, 1 - confidence)]).score > 1.8


def test_conditional_entropy_by_hand() -> None:
    predicted = np.array([0, 0, 0, 0, 1, 1, 1, 1], bool)
    answers = np.array([0, 0, 0, 1, 1, 1, 1, 1], bool)
    quarter = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    assert conditional_entropy(predicted, answers) == pytest.approx(quarter / 2)
    assert conditional_entropy(answers, answers) == 0


def test_answers_that_are_all_alike_are_named() -> None:
    codes = np.random.RandomState(0).randn(100, 2)
    found = separability(codes, [question(np.ones(100, bool))])
    assert (found.score, found.constant) == (1.0, ("q",))


def test_questions_about_drawn_faces() -> None:
    model = DrawnModel(16)
    codes = model.codes(range(2000))
    readings = encode_attributes(model.attributes(codes.coords)).astype(np.float64)
    questions = attribute_questions(readings)
    kinds = {"continuous": 1, "circular": 2, "categorical": 3}
    assert len(questions) == sum(kinds[reading.kind] for reading in READINGS)
    for space in (codes.coords, codes.w):
        found = separability(space, questions)
        assert found.entropies["smile"] < 0.01
        # A hue runs once around along one coordinate: no line tells red from cyan.
        assert found.entropies["shirt_hue.cos"] > 0.6
        assert found.entropies["shirt_hue.sin"] < 0.05


def test_classes_become_questions() -> None:
    chances = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
    questions = class_questions(chances, ["a", "b", "c"])
    assert [q.name for q in questions] == ["label=a", "label=b", "label=c"]
    assert questions[0].answers.tolist() == [True, False]
    np.testing.assert_allclose(questions[2].confidence, [0.4, 0.3])
    (only,) = class_questions(chances[:, :2], ["no", "yes"])
    assert only.name == "label=yes"


def test_the_interval_is_around_the_score() -> None:
    codes = np.random.RandomState(0).randn(600, 2)
    noisy = question(codes[:, 0] + np.random.RandomState(1).randn(600) > 0)
    scores, interval = separability_interval(codes, [noisy], repeats=8)
    assert interval.value == pytest.approx(scores.score)
    assert 1 < interval.low < interval.value < interval.high < 2


@pytest.mark.parametrize(
    ("n", "name"),
    [(10_000, "separability10k"), (200_000, "separability200k"), (512, "separability512")],
)
def test_smaller_n_are_named_by_it(n: int, name: str) -> None:
    assert metric_name(n) == name


def test_no_question_is_refused(raises_error: Callable[..., Any]) -> None:
    with raises_error(ConfigError, field="questions", value=0):
        separability(np.zeros((10, 2)), [])
