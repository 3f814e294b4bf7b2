"""The networks that ship: what they state, and how perfect and leaking sliders look to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from segan.runtime.errors import ConfigError
from segan.train.measure.control.attribute_files import (
    NETWORKS,
    attributes_for,
    shipped_attribute_network,
    shipped_attributes,
    shipped_resolutions,
)
from segan.train.measure.control.attribute_training import HELD_OUT, as_tensor, draw_set
from segan.train.measure.control.attributes import READINGS, attribute_scores, read_attributes
from segan.train.measure.control.drawn_model import DrawnModel
from segan.train.measure.control.report import SlidersReport, measure_sliders

NAMES = [reading.name for reading in READINGS]


def test_there_is_a_network_for_each_resolution_in_a_few_megabytes() -> None:
    assert shipped_resolutions() == (16, 32, 64)
    assert sum(path.stat().st_size for path in NETWORKS.rglob("*")) < 4_000_000
    assert shipped_attribute_network(32) is shipped_attribute_network(32)


@pytest.mark.parametrize("resolution", [16, 32, 64])
def test_held_out_scores_are_those_stated(resolution: int) -> None:
    network, record = shipped_attributes(resolution)
    faces = draw_set(resolution, record.seed + HELD_OUT, 500)
    found = attribute_scores(read_attributes(network, as_tensor(faces.images)), faces.targets)
    for name, stated in record.scores.items():
        # 500 of the 8,000 differ by sampling alone, the more the worse the reading.
        assert found[name] == pytest.approx(stated, abs=0.015 + 0.15 * (1 - stated)), name


def test_every_attribute_is_read_well_at_64() -> None:
    scores = shipped_attributes(64).record.scores
    assert min(scores.values()) >= 0.95, scores


@pytest.mark.parametrize("resolution", [8, 48, 128])
def test_other_resolutions_name_those_that_there_are(
    resolution: int, raises_error: Callable[..., Any]
) -> None:
    with raises_error(ConfigError, field="resolution", value=resolution, problem="16, 32, 64"):
        shipped_attribute_network(resolution)


def test_the_sharpest_network_that_fits_is_taken(raises_error: Callable[..., Any]) -> None:
    assert attributes_for(32).record.resolution == 32
    assert attributes_for(256).record.resolution == 64
    with raises_error(ConfigError, field="resolution", value=8):
        attributes_for(8)


def report(model: DrawnModel, seeds: int, *names: str) -> SlidersReport:
    chosen = [model.sliders[NAMES.index(name)].slider for name in names]
    network = shipped_attribute_network(32)
    found = measure_sliders(model, network, seeds=range(seeds), sliders=chosen, repeats=5)
    assert found is not None
    return found


def test_a_slider_of_one_attribute_leaks_little_and_keeps_the_person() -> None:
    names = ("skin_tone", "smile", "head_x", "background_hue")
    found = report(DrawnModel(32), 24, *names)
    for score, name in zip(found.scores.sliders, names, strict=True):
        assert score.attribute == name
        assert score.leakage < 0.1
        # What is read less surely is read closer to the middle: smile at 2.9.
        assert abs(score.effect) == pytest.approx(np.sqrt(12), rel=0.2)
        assert not score.dead  # a hue ends where it began, but not without a way between
        assert score.monotonicity > 0.9
        assert found.identity[score.slider] > 0.9
    assert len(found.scores.controlled(0.2)) == len(names)


def test_a_slider_that_moves_a_second_attribute_leaks_and_changes_the_person() -> None:
    mixing = np.eye(len(NAMES))
    mixing[NAMES.index("head_x"), NAMES.index("skin_tone")] = 0.9
    found = report(DrawnModel(32, mixing), 24, "head_x", "head_y")
    mixed, pure = found.scores.sliders
    # skin_tone moves by 2.42 sd, head_x by √12: E|clip(u + 0.9 √3) - clip(u - 0.9 √3)|, u uniform.
    assert mixed.leakage == pytest.approx(2.416 / (2.416 + np.sqrt(12)), abs=0.04)
    assert pure.leakage < 0.1
    # 1 - (0.9² · 12, less what the ends cut off) / (2 · 16 or 17):
    # see segan.train.measure.control.slider_effects
    assert 0.65 < found.identity[mixed.slider] < found.identity[pure.slider] - 0.1
