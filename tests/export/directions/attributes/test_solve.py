"""The least-squares problem of one direction, against a general solver."""

from __future__ import annotations

import numpy as np
import pytest

from segan.export.directions.attributes.solve import (
    IMAGE_WEIGHT,
    SEED_WEIGHT,
    LeakageProblem,
    output_scales,
    predicted_leakage,
    targets,
)
from segan.runtime.readings.effects import effect_of_readings
from segan.runtime.readings.reading import Reading

READINGS = (
    Reading("length", "continuous", 0, sd=2.0),
    Reading("hue", "circular", 1, 2),
    Reading("glasses", "categorical", 3, 3, weights=(0.5, 0.3, 0.2)),
    Reading("tilt", "continuous", 6),
)
S, P, WIDTH = 5, 9, 7


def random_problem(seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.RandomState(seed)
    pixels = random.standard_normal((P, 40))
    return random.standard_normal((S, P, WIDTH)), pixels @ pixels.T / 40


@pytest.mark.parametrize("number", range(4))
def test_the_direction_is_the_constrained_minimum(number: int) -> None:
    jacobian, change = random_problem(number)
    reading = READINGS[number]
    others = np.ones(WIDTH, bool)
    others[reading.columns] = False
    for target in targets(reading):
        move = LeakageProblem(jacobian, change, reading, target, 0.03).direction()
        mean = jacobian.mean(0)
        gain = mean[:, reading.columns] @ target
        assert gain @ move == pytest.approx(1)

        def cost(theta: np.ndarray, mean: np.ndarray = mean) -> float:
            each = np.einsum("spo,p->so", jacobian[:, :, others], theta)
            return float(
                np.square(theta @ mean[:, others]).sum()
                + SEED_WEIGHT * np.square(each).sum() / S
                + IMAGE_WEIGHT * theta @ change @ theta
                + 0.03 * theta @ theta
            )

        random = np.random.RandomState(9)
        for _ in range(50):
            step = random.standard_normal(P) * 0.1
            step -= gain * (gain @ step) / (gain @ gain)  # Keeps the constraint.
            assert cost(move + step) > cost(move)


def test_a_correction_takes_back_what_a_linear_model_leaves() -> None:
    jacobian, change = random_problem(1)
    jacobian[:] = jacobian[0]  # Without differences between seeds, and many parameters.
    reading = READINGS[0]
    problem = LeakageProblem(jacobian, np.zeros((P, P)), reading, targets(reading)[0], 1e-9)
    left = np.zeros(WIDTH)
    left[3], left[6] = 0.4, -0.2
    step = problem.correction(left, 0.3)
    effect = step @ jacobian[0]
    np.testing.assert_allclose(effect[1:], -left[1:] / (1 + SEED_WEIGHT), atol=1e-4)
    assert effect[0] == pytest.approx(0.3)
    assert change.shape == (P, P)


def test_parameters_that_are_not_used_stay_0() -> None:
    jacobian, change = random_problem(2)
    used = np.arange(P) % 2 == 0
    move = LeakageProblem(jacobian, change, READINGS[3], np.ones(1), 0.1, used).direction()
    assert not move[~used].any()
    assert move[used].all()


def test_scaled_outputs_have_the_length_of_the_effect() -> None:
    scales = output_scales(READINGS)
    start = np.array([0.0, 1, 0, 0.5, 0.3, 0.2, 0])
    for number, moved in enumerate(
        [
            start + np.eye(WIDTH)[0],
            np.array([0.0, np.cos(0.01), np.sin(0.01), 0.5, 0.3, 0.2, 0]),
            np.array([0.0, 1, 0, 0.4, 0.4, 0.2, 0]),
            start + np.eye(WIDTH)[6],
        ]
    ):
        effect = effect_of_readings(np.stack([start, moved])[:, None], READINGS).consistent
        length = np.linalg.norm(
            (moved - start)[READINGS[number].columns] * scales[READINGS[number].columns]
        )
        assert length == pytest.approx(effect[number], rel=1e-3)


def test_targets_are_unit_vectors() -> None:
    assert [len(targets(reading)) for reading in READINGS] == [1, 4, 3, 1]
    for reading in READINGS:
        for target in targets(reading):
            assert np.linalg.norm(target) == pytest.approx(1)


def test_predicted_leakage_is_the_share_of_the_others() -> None:
    jacobian = np.zeros((1, 1, WIDTH))
    jacobian[0, 0, [0, 6]] = 3, 1
    assert predicted_leakage(jacobian, READINGS, 0, np.ones(1)) == pytest.approx(0.25)
    assert predicted_leakage(jacobian, READINGS, 3, np.ones(1)) == pytest.approx(0.75)
