"""The drawn faces as a model: attributes follow the coordinates as the mixing says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from segan.runtime.errors import ConfigError
from segan.train.data.faces.attributes import FACE_ATTRIBUTES
from segan.train.measure.control.attributes import READINGS, encode_attributes
from segan.train.measure.control.drawn_model import REACH, DrawnModel
from segan.train.measure.models.model import Codes

NAMES = [attribute.name for attribute in FACE_ATTRIBUTES]


def test_sampled_attributes_are_distributed_as_in_the_data() -> None:
    model = DrawnModel(16)
    codes = model.codes(range(4000))
    encoded = encode_attributes(model.attributes(codes.coords)).astype(np.float64)
    for reading in READINGS:
        part = encoded[:, reading.start : reading.start + reading.width]
        if reading.kind == "categorical":
            np.testing.assert_allclose(part.mean(0), reading.weights, atol=0.03)
        else:
            assert part.var(0).sum() == pytest.approx(1, abs=0.06)
    assert np.abs(codes.coords).max() <= REACH
    np.testing.assert_allclose(codes.coords.std(0), 1, atol=0.05)


def test_a_slider_moves_its_attribute_alone_from_end_to_end() -> None:
    model = DrawnModel(16)
    coords = model.codes(range(5)).coords
    before = model.attributes(coords)
    at = NAMES.index("smile")
    ends = []
    for value in (-REACH, REACH):
        coords[:, at] = value
        moved = model.attributes(coords)
        ends.append(moved["smile"])
        assert all(np.array_equal(moved[n], before[n]) for n in NAMES if n != "smile")
    np.testing.assert_allclose(ends, [[-1] * 5, [1] * 5], atol=1e-9)


def test_mixing_moves_two_attributes_and_stops_at_the_ends() -> None:
    mixing = np.zeros((1, len(NAMES)))
    mixing[0, NAMES.index("smile")], mixing[0, NAMES.index("blush")] = 1.0, -0.5
    model = DrawnModel(16, mixing)
    moved = model.attributes(np.array([[0.0], [REACH], [10.0]]))
    np.testing.assert_allclose(moved["smile"], [0, 1, 1], atol=1e-9)
    np.testing.assert_allclose(moved["blush"], [0.5, 0.25, 0], atol=1e-9)
    assert len(model.sliders) == 1


def test_images_do_not_depend_on_the_batch_and_codes_are_turned() -> None:
    model = DrawnModel(16)
    codes = model.codes(range(3))
    assert isinstance(codes, Codes)
    np.testing.assert_allclose(np.linalg.norm(codes.w, axis=1), np.linalg.norm(codes.z, axis=1))
    assert torch.equal(model.render([1]), model.render(range(3))[1:2])
    slider = model.sliders[NAMES.index("skin_tone")].slider
    moved = model.slider(slider)(range(3), REACH)
    assert moved.shape == (3, 3, 16, 16)
    assert float(moved.mean()) < float(model.render(range(3)).mean())  # the skin gets darker


def test_a_mixing_of_another_width_is_refused(raises_error: Callable[..., Any]) -> None:
    with raises_error(ConfigError, field="mixing", value=(2, 3)):
        DrawnModel(16, np.ones((2, 3)))
