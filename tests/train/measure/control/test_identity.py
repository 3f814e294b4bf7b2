"""Identity kept, on readings for which it is known."""

from __future__ import annotations

import numpy as np
import pytest

from segan.train.data.faces.attributes import sample_attributes
from segan.train.measure.control.attributes import OUTPUTS, READINGS, encode_attributes
from segan.train.measure.control.slider_effects import SliderReadings, identity_kept, person

NAMES = [reading.name for reading in READINGS]


def faces(seed: int, count: int = 4000) -> np.ndarray:
    return encode_attributes(sample_attributes(seed, 0, count)).astype(np.float64)


def readings(low: np.ndarray, high: np.ndarray) -> SliderReadings:
    return SliderReadings(np.stack([low, high]), np.zeros(len(low)))


def columns(name: str) -> slice:
    reading = READINGS[NAMES.index(name)]
    return slice(reading.start, reading.start + reading.width)


def test_a_person_has_unit_variance_in_every_other_attribute() -> None:
    other = person(faces(0, 20000), "glasses")
    assert other.shape[1] == OUTPUTS - 3
    assert other.var(0).sum() == pytest.approx(len(NAMES) - 1, rel=0.02)


@pytest.mark.parametrize("name", ["smile", "shirt_hue", "glasses"])
def test_moving_the_main_attribute_alone_keeps_the_person(name: str) -> None:
    low, high = faces(1), faces(1)
    high[:, columns(name)] = faces(2)[:, columns(name)]
    assert identity_kept(readings(low, high), name) == pytest.approx(1)
    # Judged as a slider of something else, it changes 1 of 17 attributes to another person's.
    assert identity_kept(readings(low, high), "head_x") == pytest.approx(1 - 1 / 17, abs=0.01)


def test_another_person_is_zero() -> None:
    assert identity_kept(readings(faces(1), faces(2)), "smile") == pytest.approx(0, abs=0.02)
    assert identity_kept(readings(faces(1), faces(2)), "") == pytest.approx(0, abs=0.02)


def test_moving_another_attribute_from_end_to_end_costs_what_the_formula_says() -> None:
    low, high = faces(1), faces(1)
    low[:, columns("blush")], high[:, columns("blush")] = -np.sqrt(3), np.sqrt(3)
    # Persons at one end differ in 16 attributes: neither in smile, the main one, nor in blush.
    found = identity_kept(readings(low, high), "smile")
    assert found == pytest.approx(1 - 12 / (2 * 16), abs=0.01)


def test_one_person_or_equal_persons_have_no_identity() -> None:
    assert np.isnan(identity_kept(readings(faces(1, 1), faces(2, 1)), "smile"))
    same = np.repeat(faces(1, 1), 5, axis=0)
    assert np.isnan(identity_kept(readings(same, same), "smile"))
