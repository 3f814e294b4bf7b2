"""Effects and kept identity of sliders whose movement is known, read without error."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from segan.runtime.errors import ConfigError
from segan.runtime.readings.effects import SliderReadings, effect_of_readings, identity_kept, person
from segan.runtime.readings.scores import control_scores
from segan.train.data.faces.attributes import FACE_ATTRIBUTES, sample_attributes
from segan.train.measure.control.attributes import (
    OUTPUTS,
    READINGS,
    AttributeNetwork,
    encode_attributes,
)
from segan.train.measure.control.slider_effects import generator_effects, measure_slider
from segan.train.networks.config import SubspaceConfig
from segan.train.networks.stylegan2.generator import Generator
from segan.train.runs.presets import preset

NAMES = [reading.name for reading in READINGS]
SCHEMA = {attribute.name: attribute for attribute in FACE_ATTRIBUTES}
STEPS = 5


def readings_of(change: Any, seeds: int = 64) -> np.ndarray:
    """True readings [values, seeds, OUTPUTS] when ``change(columns, t)`` sets attributes."""
    stacked = []
    for t in np.linspace(0, 1, STEPS):
        columns = sample_attributes(5, 0, seeds)
        change(columns, float(t))
        stacked.append(encode_attributes(columns).astype(np.float64))
    return np.stack(stacked)


def set_to(name: str) -> Any:
    attribute = SCHEMA[name]

    def change(columns: dict[str, np.ndarray], t: float) -> None:
        columns[name][:] = attribute.low + t * (attribute.high - attribute.low)

    return change


@pytest.mark.parametrize("name", [r.name for r in READINGS if r.kind == "continuous"])
def test_the_whole_range_of_an_attribute_is_the_root_of_twelve(name: str) -> None:
    effect = effect_of_readings(readings_of(set_to(name)), READINGS)
    expected = np.where(np.array(NAMES) == name, math.sqrt(12), 0)
    np.testing.assert_allclose(effect.consistent, expected, atol=1e-6)
    np.testing.assert_allclose(effect.absolute, expected, atol=1e-6)
    assert effect.sign[NAMES.index(name)] == 1
    assert effect.monotonicity[NAMES.index(name)] == pytest.approx(1)


def test_a_falling_attribute_has_a_negative_sign() -> None:
    up = set_to("smile")
    effect = effect_of_readings(readings_of(lambda columns, t: up(columns, 1 - t)), READINGS)
    at = NAMES.index("smile")
    assert effect.sign[at] == -1
    assert effect.monotonicity[at] == pytest.approx(1)


def test_movement_that_differs_from_seed_to_seed_is_not_consistent() -> None:
    signs = np.tile([1.0, -1.0], 32)

    def change(columns: dict[str, np.ndarray], t: float) -> None:
        columns["smile"][:] = signs * (2 * t - 1)

    effect = effect_of_readings(readings_of(change), READINGS)
    at = NAMES.index("smile")
    assert effect.consistent[at] == pytest.approx(0, abs=1e-6)
    assert effect.absolute[at] == pytest.approx(math.sqrt(12), rel=1e-6)
    assert effect.monotonicity[at] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("turns", [0.25, -0.5, 0.9, 1.0])
def test_turning_a_hue_counts_in_deviations_of_a_uniform_angle(turns: float) -> None:
    def change(columns: dict[str, np.ndarray], t: float) -> None:
        columns["shirt_hue"] = columns["shirt_hue"] + turns * t

    effect = effect_of_readings(readings_of(change), READINGS)
    at = NAMES.index("shirt_hue")
    assert effect.absolute[at] == pytest.approx(abs(turns) * math.sqrt(12), rel=1e-5)
    # The mean chord of random hues is near 0: the turning is what counts.
    assert effect.consistent[at] == pytest.approx(abs(turns) * math.sqrt(12), rel=1e-5)
    assert effect.monotonicity[at] == pytest.approx(1)


def test_taking_every_hue_from_one_colour_to_its_opposite_is_half_a_turn() -> None:
    directions = np.tile([1.0, -1.0], 32)  # half of the seeds turn the other way round

    def change(columns: dict[str, np.ndarray], t: float) -> None:
        columns["background_hue"] = 0.1 + directions * t * 0.5

    effect = effect_of_readings(readings_of(change), READINGS)
    at = NAMES.index("background_hue")
    assert effect.consistent[at] == pytest.approx(0.5 * math.sqrt(12), rel=1e-3)


@pytest.mark.parametrize("name", ["glasses", "fringe"])
def test_a_full_switch_counts_in_deviations_of_the_category(name: str) -> None:
    def change(columns: dict[str, np.ndarray], t: float) -> None:
        columns[name][:] = int(t > 0.5)

    effect = effect_of_readings(readings_of(change), READINGS)
    q = np.array(SCHEMA[name].weights)
    at = NAMES.index(name)
    assert effect.consistent[at] == pytest.approx(1 / math.sqrt((q * (1 - q)).sum() / 2))
    assert effect.absolute[at] == pytest.approx(effect.consistent[at])


def test_spearman_agrees_with_ranks_by_hand() -> None:
    readings = np.zeros((4, 1, OUTPUTS))
    at = READINGS[NAMES.index("smile")]
    readings[:, 0, at.start] = [1, 3, 2, 4]  # Σd² = 2: ρ = 1 - 6 · 2 / (4 · 15)
    effect = effect_of_readings(readings, READINGS)
    assert effect.monotonicity[NAMES.index("smile")] == pytest.approx(0.8)


def test_measuring_calls_the_renderer_for_every_value() -> None:
    called = []

    def render(seeds: Any, value: float) -> torch.Tensor:
        called.append((list(seeds), value))
        return torch.full((len(seeds), 3, 16, 16), value)

    network = AttributeNetwork(16).eval()
    effect = measure_slider(render, network, range(3), [-0.5, 0.0, 0.5])
    assert called == [([0, 1, 2], -0.5), ([0, 1, 2], 0.0), ([0, 1, 2], 0.5)]
    assert effect.change == pytest.approx(1.0)


@pytest.mark.parametrize(("seeds", "values"), [(0, [0.0, 1.0]), (2, [0.0])])
def test_too_few_seeds_or_values_are_refused(
    seeds: int, values: list[float], raises_error: Callable[..., Any]
) -> None:
    def render(seeds: Any, value: float) -> torch.Tensor:
        raise AssertionError

    with raises_error(ConfigError, field="values", value=len(values)):
        measure_slider(render, AttributeNetwork(16), range(seeds), values)


# Identity.


def faces(seed: int, count: int = 4000) -> np.ndarray:
    return encode_attributes(sample_attributes(seed, 0, count)).astype(np.float64)


def readings(low: np.ndarray, high: np.ndarray) -> SliderReadings:
    return SliderReadings(np.stack([low, high]), np.zeros(len(low)))


def columns(name: str) -> slice:
    reading = READINGS[NAMES.index(name)]
    return slice(reading.start, reading.start + reading.width)


def test_a_person_has_unit_variance_in_every_other_attribute() -> None:
    other = person(faces(0, 20000), READINGS, "glasses")
    assert other.shape[1] == OUTPUTS - 3
    assert other.var(0).sum() == pytest.approx(len(NAMES) - 1, rel=0.02)


@pytest.mark.parametrize("name", ["smile", "shirt_hue", "glasses"])
def test_moving_the_main_attribute_alone_keeps_the_person(name: str) -> None:
    low, high = faces(1), faces(1)
    high[:, columns(name)] = faces(2)[:, columns(name)]
    assert identity_kept(readings(low, high), READINGS, name) == pytest.approx(1)
    # Judged as a slider of something else, it changes 1 of 17 attributes to another person's.
    assert identity_kept(readings(low, high), READINGS, "head_x") == pytest.approx(
        1 - 1 / 17, abs=0.01
    )


def test_another_person_is_zero() -> None:
    assert identity_kept(readings(faces(1), faces(2)), READINGS, "smile") == pytest.approx(
        0, abs=0.02
    )
    assert identity_kept(readings(faces(1), faces(2)), READINGS, "") == pytest.approx(0, abs=0.02)


def test_moving_another_attribute_from_end_to_end_costs_what_the_formula_says() -> None:
    low, high = faces(1), faces(1)
    low[:, columns("blush")], high[:, columns("blush")] = -np.sqrt(3), np.sqrt(3)
    # Persons at one end differ in 16 attributes: neither in smile, the main one, nor in blush.
    found = identity_kept(readings(low, high), READINGS, "smile")
    assert found == pytest.approx(1 - 12 / (2 * 16), abs=0.01)


def test_one_person_or_equal_persons_have_no_identity() -> None:
    assert np.isnan(identity_kept(readings(faces(1, 1), faces(2, 1)), READINGS, "smile"))
    same = np.repeat(faces(1, 1), 5, axis=0)
    assert np.isnan(identity_kept(readings(same, same), READINGS, "smile"))


def test_every_slider_of_a_generator_is_measured() -> None:
    config = preset("tiny", resolution=16)
    generator = Generator(config.network, SubspaceConfig(dims=2)).eval().requires_grad_(False)
    effects = generator_effects(generator, AttributeNetwork(16), range(2), steps=2)
    assert list(effects) == [f"L{layer}N0D{dim}" for layer in range(3) for dim in range(2)]
    assert control_scores(effects, NAMES).to_json()["sliders"] == 6


def test_mode_0_has_no_sliders() -> None:
    config = preset("tiny", resolution=16, mode=0)
    generator = Generator(config.network, config.subspace).eval()
    assert generator_effects(generator, AttributeNetwork(16)) == {}
