"""Mean and covariance of features that come in batches: memory is flat in their number."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from segan.runtime.errors import ConfigError
from segan.train.metrics.frechet import Gaussian

Array = npt.NDArray[np.float64]


class MomentSums:
    """Sums Σ(x - s) and Σ(x - s)(x - s)ᵀ in float64, s being the first batch's mean.

    The shift keeps the two terms of the covariance from cancelling where features lie far from 0.
    """

    def __init__(self) -> None:
        self.count = 0
        self._shift: Array | None = None
        self._sum: Array = np.zeros(0)
        self._products: Array = np.zeros((0, 0))

    def add(self, rows: npt.ArrayLike) -> None:
        """Adds features [N, D]."""
        values = np.asarray(rows, np.float64)
        if self._shift is None:
            width = values.shape[1]
            self._shift = values.mean(0)
            self._sum, self._products = np.zeros(width), np.zeros((width, width))
        apart = values - self._shift
        self.count += len(values)
        self._sum += apart.sum(0)
        # By torch, whose threads the caller rules: numpy's would spin beside the backend's.
        given = torch.from_numpy(apart)
        self._products += (given.T @ given).numpy()

    def gaussian(self) -> Gaussian:
        """Mean [D] and covariance [D, D], divided by N as StyleGAN2-ADA's metrics do.

        Raises:
            ConfigError: fewer than 2 features.
        """
        if self._shift is None or self.count < 2:
            raise ConfigError(f"{self.count} features are given; expected 2 or more.")
        mean = self._sum / self.count
        return Gaussian(self._shift + mean, self._products / self.count - np.outer(mean, mean))


def moments_of(rows: npt.ArrayLike, size: int = 1000) -> Gaussian:
    """The same of rows [N, D] in memory, ``size`` at a time."""
    values = np.asarray(rows)
    sums = MomentSums()
    for start in range(0, len(values), size):
        sums.add(values[start : start + size])
    return sums.gaussian()
