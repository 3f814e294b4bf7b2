"""``benchmarks/ship_model.py``: sliders that change places."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

from segan.runtime.bundle.layout import Slider
from segan.runtime.errors import ConfigError
from segan.train.networks.stylegan2.generator import Generator
from segan.train.networks.stylegan2.subspace import StyleSubspace
from segan.train.runs.config import TrainConfig

Config = Callable[..., TrainConfig]


@pytest.fixture(scope="module")
def ship_model() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "ship_model.py"
    spec = importlib.util.spec_from_file_location("ship_model", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def built(config: TrainConfig) -> Generator:
    """A generator whose coordinates all do something else."""
    torch.manual_seed(3)
    generator = Generator(config.network, config.subspace).eval().requires_grad_(False)
    for module in generator.subspaces:
        assert isinstance(module, StyleSubspace)
        module.importance.copy_(torch.rand(len(module.importance)) + 1)
    return generator


def test_exchanged_sliders_do_what_the_other_did(
    ship_model: ModuleType, small_config: Config
) -> None:
    config = small_config()
    before, after = built(config), built(config)
    ship_model.exchange_dims(after, Slider(1, 0, 0), Slider(1, 0, 2))
    z = torch.randn(4, config.network.z_dim)
    a = torch.rand(4, *before.coords_shape) * 2 - 1
    swapped = a.clone()
    swapped[:, 1, [0, 2]] = a[:, 1, [2, 0]]
    torch.testing.assert_close(after(z, coords=swapped), before(z, coords=a), rtol=1e-5, atol=1e-5)
    assert (after(z, coords=a) - before(z, coords=a)).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("mode", "second"),
    [(2, Slider(0, 0, 1)), (2, Slider(1, 0, 3)), (2, Slider(1, 1, 0)), (1, Slider(1, 0, 1))],
)
def test_others_cannot_change_places(
    mode: int, second: Slider, ship_model: ModuleType, small_config: Config
) -> None:
    with pytest.raises(ConfigError, match=f"L1N0D0 and {second} cannot change places"):
        ship_model.exchange_dims(built(small_config(mode=mode)), Slider(1, 0, 0), second)
