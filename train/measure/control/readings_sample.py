"""Latents and attribute readings of many seeds, for DCI, MIG and separability."""

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

#: Images [N, 3, R, R] in [-1, 1] → what an estimator says of them, [N, width].
Estimator = Callable[[torch.Tensor], Array]

#: Images that are held at once.
_BATCH = 250


class ReadingsSample(NamedTuple):
    """Latents of seeds, and an estimator's readings of their images.

    Attributes:
        codes: z, w and coords.
        readings: [N, width].
    """

    codes: Codes
    readings: Array

    def __len__(self) -> int:
        return len(self.readings)

    def first(self, n: int) -> ReadingsSample:
        """Those of the first n seeds."""
        return ReadingsSample(Codes(*(part[:n] for part in self.codes)), self.readings[:n])


def sample_readings(
    images: SliderModel, estimator: Estimator | AttributeNetwork, n: int, first_seed: int = 0
) -> ReadingsSample:
    """Renders the seeds first_seed to first_seed + n - 1 and reads them.

    Args:
        images: of the model.
        estimator: an attribute network, or what else reads images.
        n: images.
        first_seed: of them.

    Raises:
        ConfigError: fewer than 2 images, or images that do not fit the estimator.
    """
    if n < 2:
        raise ConfigError(f"n is {n}; expected 2 images or more.")
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
    """The codes that a model is scored in, by name.

    ``z`` and ``w``; with coordinates that are drawn from the seeds also ``coords`` and
    ``coords+z``, all that an image depends on.
    """
    spaces = {"z": codes.z, "w": codes.w}
    if codes.coords.shape[1]:
        spaces["coords"] = codes.coords
        spaces["coords+z"] = np.concatenate([codes.coords, codes.z], axis=1)
    return spaces


def require_scikit() -> None:
    """Raises ConfigError when scikit-learn is not installed."""
    if find_spec("sklearn") is None:
        raise ConfigError(
            "DCI and separability need scikit-learn, which is not installed. "
            "Run: pip install 'segan[metrics]'"
        )
