"""Small data and settings with which a whole run takes a second."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from segan.train.data.dataset import ImageDataset, build_dataset
from segan.train.loop.augment.geometry import GatedDraws
from segan.train.networks.config import NetworkConfig, SubspaceConfig
from segan.train.runs.config import TrainConfig


@pytest.fixture
def small_data() -> ImageDataset:
    """40 images of 8²: a bright square at a random place on a coloured ground, two classes."""
    random = np.random.RandomState(5)
    images = np.empty((40, 3, 8, 8), np.uint8)
    for image in images:
        image[:] = random.randint(40, 160, (3, 1, 1))
        y, x = random.randint(0, 5, 2)
        image[:, y : y + 3, x : x + 3] = 240
    labels = np.arange(40) % 2
    return build_dataset("squares", images, labels, ("even", "odd"))


@pytest.fixture
def small_config() -> Callable[..., TrainConfig]:
    """Builds a configuration for ``small_data``; keywords replace top-level fields."""

    def build(*, mode: int = 2, kind: str = "eigen", c_dim: int = 0, **changes: Any) -> TrainConfig:
        network = NetworkConfig(
            resolution=8, z_dim=8, w_dim=8, c_dim=c_dim, mapping_layers=2, channel_max=8
        )
        subspace = msgspec.convert({"mode": mode, "kind": kind, "dims": 3}, SubspaceConfig)
        settings: dict[str, Any] = {
            "network": network,
            "subspace": subspace,
            "batch_size": 4,
            "total_kimg": 0.08,
            "kimg_per_tick": 0.02,
            "snapshot_kimg": 0.04,
            "keep_checkpoints": 0,
            "metric_images": 16,
        }
        return TrainConfig(**settings | changes)

    return build


class ScriptedDraws(GatedDraws):
    """Gives each call its values, the same for every image; they come in the order of the draws."""

    def __init__(self, n: int, values: Sequence[float | tuple[float, float]]) -> None:
        super().__init__(n, torch.Generator())
        self.values = list(values)

    def _next(self, size: int) -> torch.Tensor:
        value = torch.tensor(self.values.pop(0), dtype=torch.float32).reshape(1, -1)
        assert value.shape[1] == size
        return value.repeat(self.n, 1)

    def uniform(self, p: torch.Tensor, end: float, size: int = 1) -> torch.Tensor:
        return self._next(size)

    def normal(self, p: torch.Tensor, std: float, size: int = 1) -> torch.Tensor:
        return self._next(size)

    def choice(self, p: torch.Tensor, count: int) -> torch.Tensor:
        return self._next(1)[:, 0].long()


@pytest.fixture
def scripted_draws() -> type[ScriptedDraws]:
    """Augmentation parameters that the test chooses."""
    return ScriptedDraws
