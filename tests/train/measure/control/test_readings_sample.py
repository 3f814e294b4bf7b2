"""Latents and readings of many seeds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from segan.runtime.errors import ConfigError
from segan.train.measure.control.attributes import OUTPUTS, AttributeNetwork, read_attributes
from segan.train.measure.control.drawn_model import DrawnModel
from segan.train.measure.control.readings_sample import code_spaces, sample_readings


def test_rows_belong_to_seeds_also_across_batches() -> None:
    model, network = DrawnModel(16), AttributeNetwork(16).eval()
    sample = sample_readings(model, network, 260, first_seed=3)
    assert sample.readings.shape == (260, OUTPUTS)
    assert len(sample) == 260
    expected = read_attributes(network, model.render([262]))
    np.testing.assert_allclose(sample.readings[259:], expected, atol=1e-5)
    np.testing.assert_array_equal(sample.codes.z[259:], model.codes([262]).z)


def test_another_estimator_reads_what_it_likes() -> None:
    def mean(images: torch.Tensor) -> np.ndarray:
        return images.double().mean((2, 3)).numpy()

    assert sample_readings(DrawnModel(16), mean, 5).readings.shape == (5, 3)


def test_spaces_of_a_model_with_and_without_drawn_coordinates() -> None:
    codes = DrawnModel(16).codes(range(4))
    spaces = code_spaces(codes)
    assert {name: space.shape[1] for name, space in spaces.items()} == {
        "z": 18,
        "w": 18,
        "coords": 18,
        "coords+z": 36,
    }
    assert list(code_spaces(codes._replace(coords=np.zeros((4, 0))))) == ["z", "w"]


def test_one_image_is_refused(raises_error: Callable[..., Any]) -> None:
    with raises_error(ConfigError, field="n", value=1):
        sample_readings(DrawnModel(16), AttributeNetwork(16), 1)
