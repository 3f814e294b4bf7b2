from __future__ import annotations

import numpy as np
import pytest
import torch

from segan.train.loop.watch.monitor import (
    coordinate_effects,
    mean_importance,
    shares_of_grid,
    variance_shares,
)
from segan.train.networks.config import NetworkConfig, SubspaceConfig
from segan.train.networks.stylegan2.generator import Generator

NETWORK = NetworkConfig(resolution=8, z_dim=8, w_dim=8, mapping_layers=2, channel_max=8)


def build(mode: int) -> Generator:
    torch.manual_seed(0)
    assert mode in (0, 1, 2, 3)
    return Generator(NETWORK, SubspaceConfig(mode=mode, dims=3))  # type: ignore[arg-type]


def test_shares_of_an_additive_grid() -> None:
    # x = a_i + b_j: each share is its own variance over the total.
    a, b = torch.tensor([0.0, 2.0, 4.0]), torch.tensor([1.0, 5.0])
    grid = (a[:, None] + b[None])[:, :, None]
    var_a, var_b = np.var([0, 2, 4]), np.var([1, 5])
    shares = shares_of_grid(grid)
    assert shares.z == pytest.approx(var_a / (var_a + var_b))
    assert shares.coords == pytest.approx(var_b / (var_a + var_b))


def test_shares_of_a_product_count_the_interaction_in_both() -> None:
    a = b = torch.tensor([-1.0, 1.0])
    assert shares_of_grid((a[:, None] * b[None])[:, :, None]) == pytest.approx((1.0, 1.0))


def test_a_coordinate_without_importance_has_no_effect() -> None:
    generator = build(2)
    with torch.no_grad():
        dict(generator.subspaces[1].named_parameters())["importance"][2] = 0.0
    effects = coordinate_effects(generator, torch.Generator().manual_seed(0), 4)
    assert effects is not None
    assert effects.shape == (2, 3)
    assert effects[1, 2] == 0
    assert (effects.flatten()[:5] > 0).all()
    assert mean_importance(generator) == pytest.approx([3.0, 2.0])


def test_effect_of_a_coordinate_against_its_definition() -> None:
    generator = build(2)
    found = coordinate_effects(generator, torch.Generator().manual_seed(7), 5)
    random = torch.Generator().manual_seed(7)
    z = torch.randn(5, 8, generator=random)
    coords = generator.sample_coords(5, random)
    assert coords is not None
    assert found is not None
    low, high = coords.clone(), coords.clone()
    low[:, 0, 1], high[:, 0, 1] = -1.0, 1.0
    with torch.no_grad():
        change = (generator(z, None, high) - generator(z, None, low)).double().numpy()
    assert found[0, 1].item() == pytest.approx(np.sqrt((change**2).mean()), rel=1e-5)


def test_mode_0_has_no_coordinates() -> None:
    generator = build(0)
    random = torch.Generator().manual_seed(0)
    assert coordinate_effects(generator, random) is None
    assert variance_shares(generator, random) is None
    assert mean_importance(generator) == []


def test_shares_of_a_generator_that_ignores_its_coords() -> None:
    generator = build(3)
    with torch.no_grad():
        for module in generator.subspaces:
            dict(module.named_parameters())["importance"].zero_()
    shares = variance_shares(generator, torch.Generator().manual_seed(0), 4)
    assert shares is not None
    assert shares.coords == pytest.approx(0.0, abs=1e-9)
    assert shares.z == pytest.approx(1.0)
