"""Latent codes and attribute readings of many seeds: the input of DCI, MIG and separability."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from segan.runtime.errors import ConfigError
from segan.train.measure.control.attributes import AttributeNetwork, read_attributes
from segan.train.measure.models.model import Codes, SliderModel

Array = npt.NDArray[np.float64]

#: Images [N, 3, R, R] in [-1, 1] → readings [N, width].
Estimator = Callable[[torch.Tensor], Array]

#: Images in memory at once.
_BATCH = 250


class ReadingsSample(NamedTuple):
    """Latent codes of seeds, and an estimator's readings of their images.

    Attributes:
        codes: z, w and coords.
        readings: [N, width].
    """

    codes: Codes
    readings: Array

    def __len__(self) -> int:
        return len(self.readings)

    def first(self, n: int) -> ReadingsSample:
        """Return the sample of the first n seeds."""
        return ReadingsSample(Codes(*(part[:n] for part in self.codes)), self.readings[:n])


def sample_readings(
    images: SliderModel, estimator: Estimator | AttributeNetwork, n: int, first_seed: int = 0
) -> ReadingsSample:
    """Render the seeds first_seed to first_seed + n - 1 and read their images.

    Args:
        images: the model.
        estimator: an attribute network, or another function of images.
        n: number of seeds.
        first_seed: the first one.

    Raises:
        ConfigError: fewer than 2 images, or images that do not fit the estimator.
    """
    if n < 2:
        raise ConfigError(field="n", value=n, expected="2 or more images")
    read: Estimator
    if isinstance(estimator, AttributeNetwork):
        network = estimator

        def read(part: torch.Tensor) -> Array:
            return read_attributes(network, part)
    else:
        read = estimator
    codes, readings = [], []
    for start in range(first_seed, first_seed + n, _BATCH):
        seeds = range(start, min(start + _BATCH, first_seed + n))
        readings.append(read(images.render(seeds)))
        codes.append(images.codes(seeds))
    joined = Codes(*(np.concatenate(parts) for parts in zip(*codes, strict=True)))
    return ReadingsSample(joined, np.concatenate(readings))


def code_spaces(codes: Codes) -> dict[str, Array]:
    """Return the codes that a model is scored by, by name.

    ``z`` and ``w``; where coordinates are drawn from the seeds also ``coords`` and ``coords+z``,
    which together determine an image.
    """
    spaces = {"z": codes.z, "w": codes.w}
    if codes.coords.shape[1]:
        spaces["coords"] = codes.coords
        spaces["coords+z"] = np.concatenate([codes.coords, codes.z], axis=1)
    return spaces


def require_scikit() -> None:
    """Raise ConfigError unless scikit-learn is installed."""
    if find_spec("sklearn") is None:
        raise ConfigError(
            "DCI and separability need scikit-learn, which is not installed",
            field="metrics",
            remedy="Run: pip install 'segan[metrics]'",
        )
