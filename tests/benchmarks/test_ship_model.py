"""``benchmarks/ship_model.py``: sliders that change places."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from segan.runtime.bundle.layout import Slider
from segan.runtime.errors import ConfigError
from segan.train.networks.config import Mode, NetworkConfig, SubspaceConfig
from segan.train.networks.stylegan2.generator import Generator
from segan.train.networks.stylegan2.subspace import StyleSubspace


@pytest.fixture(scope="module")
def ship_model() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "ship_model.py"
    spec = importlib.util.spec_from_file_location("ship_model", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def built(mode: Mode = 2) -> Generator:
    """A generator of 8 × 8 whose coordinates have different effects."""
    torch.manual_seed(3)
    network = NetworkConfig(resolution=8, z_dim=6, w_dim=8, channel_max=4, mapping_layers=2)
    subspace = SubspaceConfig(mode=mode, dims=3)
    generator = Generator(network, subspace).eval().requires_grad_(False)
    for module in generator.subspaces:
        assert isinstance(module, StyleSubspace)
        module.importance.copy_(torch.rand(len(module.importance)) + 1)
    return generator


def test_exchanged_sliders_do_what_the_other_did(ship_model: ModuleType) -> None:
    before, after = built(), built()
    ship_model.exchange_dims(after, Slider(1, 0, 0), Slider(1, 0, 2))
    z = torch.randn(4, before.network.z_dim)
    a = torch.rand(4, *before.coords_shape) * 2 - 1
    swapped = a.clone()
    swapped[:, 1, [0, 2]] = a[:, 1, [2, 0]]
    torch.testing.assert_close(after(z, coords=swapped), before(z, coords=a), rtol=1e-5, atol=1e-5)
    assert (after(z, coords=a) - before(z, coords=a)).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("mode", "second"),
    [(2, Slider(0, 0, 1)), (2, Slider(1, 0, 3)), (2, Slider(1, 1, 0)), (1, Slider(1, 0, 1))],
)
def test_others_cannot_be_exchanged(
    mode: Mode, second: Slider, ship_model: ModuleType, raises_error: Callable[..., Any]
) -> None:
    with raises_error(ConfigError, field="first", value="L1N0D0", problem=str(second)):
        ship_model.exchange_dims(built(mode), Slider(1, 0, 0), second)
