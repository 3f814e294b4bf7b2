"""The attribute network: encoding, scores, images it takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from segan.runtime.errors import ConfigError
from segan.runtime.readings.reading import find_reading
from segan.train.data.faces.attributes import FACE_ATTRIBUTES, sample_attributes
from segan.train.measure.control.attributes import (
    OUTPUTS,
    READINGS,
    AttributeNetwork,
    attribute_loss,
    attribute_scores,
    encode_attributes,
    read_attributes,
)


def test_every_attribute_is_read_once() -> None:
    assert [reading.name for reading in READINGS] == [a.name for a in FACE_ATTRIBUTES]
    columns = [reading.start + i for reading in READINGS for i in range(reading.width)]
    assert columns == list(range(OUTPUTS))


def test_encoded_attributes_have_unit_variance() -> None:
    encoded = encode_attributes(sample_attributes(0, 0, 20000)).astype(np.float64)
    for reading in READINGS:
        part = encoded[:, reading.start : reading.start + reading.width]
        if reading.kind == "categorical":
            np.testing.assert_allclose(part.mean(0), reading.weights, atol=0.015)
            assert (part.sum(1) == 1).all()
        else:
            assert np.abs(part.mean(0)).max() < 0.03
            assert part.var(0).sum() == pytest.approx(1, abs=0.03)


def test_scores_of_perfect_and_of_constant_readings() -> None:
    truth = encode_attributes(sample_attributes(1, 0, 500))
    assert set(attribute_scores(truth.astype(np.float64), truth).values()) == {1.0}
    mean = np.broadcast_to(truth.mean(0, dtype=np.float64), truth.shape)
    for reading, score in zip(READINGS, attribute_scores(mean, truth).values(), strict=True):
        if reading.kind == "categorical":
            assert score == pytest.approx(max(reading.weights), abs=0.08)
        else:
            assert score == pytest.approx(0, abs=1e-6)


def test_categories_are_read_as_probabilities() -> None:
    network = AttributeNetwork(16)
    found = read_attributes(network, torch.randn(5, 3, 16, 16), batch=2)
    assert found.shape == (5, OUTPUTS)
    for reading in READINGS:
        if reading.kind == "categorical":
            part = found[:, reading.start : reading.start + reading.width]
            np.testing.assert_allclose(part.sum(1), 1)


def test_loss_is_zero_for_sure_and_right_outputs() -> None:
    targets = torch.from_numpy(encode_attributes(sample_attributes(2, 0, 10)))
    outputs = targets.clone()
    for reading in READINGS:
        if reading.kind == "categorical":
            outputs[:, reading.start : reading.start + reading.width] *= 50
    assert float(attribute_loss(outputs, targets)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("resolution", [16, 32, 64])
def test_larger_images_are_averaged_down(resolution: int) -> None:
    network = AttributeNetwork(resolution).eval()
    small = torch.randn(2, 3, resolution, resolution)
    large = small.repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(network(large), network(small))
    assert network(small).shape == (2, OUTPUTS)
    assert sum(p.numel() for p in network.parameters()) < 400_000


@pytest.mark.parametrize("shape", [(1, 3, 16, 16), (1, 1, 32, 32), (1, 3, 32, 64), (3, 32, 32)])
def test_images_that_do_not_fit_are_refused(
    shape: tuple[int, ...], raises_error: Callable[..., Any]
) -> None:
    with raises_error(
        ConfigError,
        field="images",
        value=list(shape),
        expected="[N, 3, R, R] with R a multiple of 32",
    ):
        AttributeNetwork(32)(torch.zeros(shape))


def past(network: AttributeNetwork, layers: int) -> nn.Sequential:
    return nn.Sequential(*list(network.trunk)[layers:])


@pytest.mark.parametrize("resolution", [16, 64])
def test_a_network_goes_on_from_one_of_another_resolution(resolution: int) -> None:
    one, other = AttributeNetwork(32).eval(), AttributeNetwork(resolution).eval()
    other.start_from(one)
    seen = torch.randn(3, 48, 16, 16)
    of_one = one.head(one.hidden(past(one, 2)(seen)))
    first = {16: 1, 64: 3}[resolution]
    assert torch.equal(other.head(other.hidden(past(other, first)(seen))), of_one)


def test_other_resolutions_are_refused(raises_error: Callable[..., Any]) -> None:
    with raises_error(ConfigError, field="resolution", value=48, expected="16, 32 or 64"):
        AttributeNetwork(48)


def test_an_attribute_is_found_by_name_or_the_nearest_are_named(
    raises_error: Callable[..., Any],
) -> None:
    assert find_reading(READINGS, "smile").name == "smile"
    with raises_error(ConfigError, field="attribute", value="hair-colour", remedy="hair_color"):
        find_reading(READINGS, "hair-colour")
    with raises_error(ConfigError, field="attribute", value="zzz"):
        find_reading(READINGS, "zzz")
