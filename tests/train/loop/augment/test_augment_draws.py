"""Gated random parameters: how often they act, how they are distributed, what they consume."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from segan.train.loop.augment.geometry import GatedDraws

N = 40_000


def draws(seed: int = 0, n: int = N) -> GatedDraws:
    return GatedDraws(n, torch.Generator().manual_seed(seed))


def scalar(value: float) -> torch.Tensor:
    return torch.tensor(value)


def assert_share(found: torch.Tensor, expected: float) -> None:
    """A share of N independent images within 4.5 standard deviations."""
    share = float(found.double().mean())
    assert abs(share - expected) <= 4.5 * math.sqrt(expected * (1 - expected) / N)


@pytest.mark.parametrize("p", [0.0, 0.15, 0.6, 1.0])
def test_each_acts_with_its_probability(p: float) -> None:
    d = draws()
    assert_share(d.uniform(scalar(p), 2.0)[:, 0] != 0, p)
    assert_share(d.normal(scalar(p), 2.0)[:, 0] != 0, p)
    for count in (2, 4):
        chosen = d.choice(scalar(p), count)
        for value in range(count):
            assert_share(chosen == value, p / count + (1 - p) * (value == 0))


def test_both_numbers_of_an_image_share_its_gate() -> None:
    pair = draws().uniform(scalar(0.5), 1.0, 2) != 0
    assert torch.equal(pair[:, 0], pair[:, 1])
    pair = draws().normal(scalar(0.5), 1.0, 2) != 0
    assert torch.equal(pair[:, 0], pair[:, 1])


def test_images_and_calls_are_independent() -> None:
    d = draws()
    first, second = d.uniform(scalar(0.5), 1.0)[:, 0], d.uniform(scalar(0.5), 1.0)[:, 0]
    assert_share((first != 0) & (second != 0), 0.25)
    assert_share((first[1:] != 0) & (first[:-1] != 0), 0.25)


def test_distributions() -> None:
    """Mean, standard deviation and quantiles, within what N numbers allow."""
    d = draws(3)
    uniform, normal = d.uniform(scalar(1.0), 0.125)[:, 0], d.normal(scalar(1.0), 0.2)[:, 0]
    grid = np.linspace(0.01, 0.99, 99)
    # The Kolmogorov statistic of N samples exceeds 2 / √N with probability 0.0007.
    for value in np.quantile(uniform.numpy(), grid) / 0.25 + 0.5 - grid:
        assert abs(value) < 2 / math.sqrt(N)
    for value in np.quantile(normal.double().numpy(), grid):
        cdf = 0.5 * (1 + math.erf(value / 0.2 / math.sqrt(2)))
        assert np.abs(cdf - grid).min() < 2 / math.sqrt(N)
    assert float(normal.std()) == pytest.approx(0.2, rel=4.5 / math.sqrt(2 * N))
    assert uniform.abs().max() <= 0.125


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_the_stream_goes_on_from_the_same_place(p: float) -> None:
    d = draws(5, n=7)
    d.uniform(scalar(p), 1.0, 2)
    d.normal(scalar(p), 1.0)
    d.choice(scalar(p), 4)
    after = torch.rand(3, generator=d.random)
    expected = torch.Generator().manual_seed(5)
    torch.rand(7, 1, generator=expected), torch.rand(7, 2, generator=expected)
    torch.rand(7, 1, generator=expected), torch.randn(7, 1, generator=expected)
    torch.rand(7, 1, generator=expected), torch.rand(7, 1, generator=expected)
    assert torch.equal(after, torch.rand(3, generator=expected))
