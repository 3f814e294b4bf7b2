"""Training the attribute network, a few steps of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from segan.runtime.errors import ConfigError
from segan.train.measure.control.attribute_training import (
    as_tensor,
    degrade,
    draw_set,
    finish,
    train_attribute_network,
)


def test_a_few_steps_lower_the_loss_and_repeat_exactly() -> None:
    faces = draw_set(16, 0, 128)
    losses: list[float] = []

    def report(step: int, loss: float) -> None:
        losses.append(loss)

    state = torch.random.get_rng_state()
    first = train_attribute_network(16, 128, 3, epochs=5, batch_size=32, faces=faces, report=report)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert len(losses) == 20
    assert np.mean(losses[-4:]) < 0.85 * np.mean(losses[:4])
    second = train_attribute_network(16, 128, 3, epochs=5, batch_size=32, faces=faces)
    assert torch.equal(first.head.weight, second.head.weight)


def test_finishing_keeps_the_features_statistics() -> None:
    faces = draw_set(16, 1, 40)
    network = train_attribute_network(16, 40, 1, epochs=1, batch_size=20, faces=faces)
    scores = finish(network, faces)
    features = network.features(as_tensor(faces.images)).double().numpy()
    np.testing.assert_allclose(network.reference_mean, features.mean(0), atol=1e-5)
    np.testing.assert_allclose(
        network.reference_covariance, np.cov(features, rowvar=False), atol=1e-5
    )
    assert scores.clean["glasses"] <= 1
    assert set(scores.degraded) == set(scores.clean)
    weight = network.head.weight
    assert torch.equal(weight, weight.half().float())  # as the file holds it


def test_pixels_become_numbers_from_minus_one_to_one() -> None:
    images = np.zeros((1, 16, 16, 3), np.uint8)
    images[0, 2, 5, 1] = 255
    tensor = as_tensor(images)
    assert tensor.shape == (1, 3, 16, 16)
    assert float(tensor[0, 1, 2, 5]) == 1
    assert float(tensor[0, 1, 5, 2]) == -1


def test_degrading_is_mild_and_leaves_some_images_alone() -> None:
    images = as_tensor(draw_set(16, 2, 64).images)
    changed = degrade(images, torch.Generator().manual_seed(0)) - images
    rms = changed.square().mean((1, 2, 3)).sqrt()
    assert 0 < int((rms == 0).sum()) < 40
    assert float(rms.max()) < 0.3


def test_too_few_faces_are_refused(raises_error: Callable[..., Any]) -> None:
    with raises_error(ConfigError, field="count", value=10):
        train_attribute_network(16, 10)
