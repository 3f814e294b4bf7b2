"""Gaussians of features: moments summed batch by batch, and the Fréchet distance of FID."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from segan.runtime.errors import ConfigError

Array = npt.NDArray[np.float64]


class Gaussian(NamedTuple):
    """Mean [D] and covariance [D, D] of features, float64."""

    mean: Array
    covariance: Array


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """Return ‖m_a - m_b‖² + tr(C_a + C_b - 2 (C_a C_b)^½), at least 0.

    Source: Dowson & Landau 1982; Heusel et al. 2017, Eq. 6. The trace of (C_a C_b)^½ equals that of
    (C_a^½ C_b C_a^½)^½, which is symmetric: its eigenvalues suffice, without a general matrix root.
    """
    values, vectors = np.linalg.eigh(a.covariance)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    product = root @ b.covariance @ root
    overlap = np.sqrt(np.maximum(np.linalg.eigvalsh((product + product.T) / 2), 0)).sum()
    apart = np.square(a.mean - b.mean).sum()
    spread = np.trace(a.covariance) + np.trace(b.covariance) - 2 * overlap
    return float(max(apart + spread, 0.0))


class MomentSums:
    """Sums Σ(x - s) and Σ(x - s)(x - s)ᵀ in float64, where s is the mean of the first batch.

    The shift prevents cancellation in the covariance of features far from 0.
    """

    def __init__(self) -> None:
        self.count = 0
        self._shift: Array | None = None
        self._sum: Array = np.zeros(0)
        self._products: Array = np.zeros((0, 0))

    def add(self, rows: npt.ArrayLike) -> None:
        """Add features [N, D]."""
        values = np.asarray(rows, np.float64)
        if self._shift is None:
            width = values.shape[1]
            self._shift = values.mean(0)
            self._sum, self._products = np.zeros(width), np.zeros((width, width))
        apart = values - self._shift
        self.count += len(values)
        self._sum += apart.sum(0)
        # In torch, whose threads the caller limits: numpy's would compete with the backend's.
        given = torch.from_numpy(apart)
        self._products += (given.T @ given).numpy()

    def gaussian(self) -> Gaussian:
        """Return mean [D] and covariance [D, D], divided by N as in StyleGAN2-ADA's metrics.

        Raises:
            ConfigError: fewer than 2 features.
        """
        if self._shift is None or self.count < 2:
            raise ConfigError(
                f"{self.count} features are given",
                field="count",
                value=self.count,
                expected="2 or more",
            )
        mean = self._sum / self.count
        return Gaussian(self._shift + mean, self._products / self.count - np.outer(mean, mean))


def moments_of(rows: npt.ArrayLike, size: int = 1000) -> Gaussian:
    """Return the moments of rows [N, D], summed ``size`` rows at a time."""
    values = np.asarray(rows)
    sums = MomentSums()
    for start in range(0, len(values), size):
        sums.add(values[start : start + size])
    return sums.gaussian()


def resampled_distances(
    rows: npt.NDArray[np.floating[Any]],
    weights: Array,
    real: Gaussian,
    device: torch.device | None = None,
    *,
    on_done: Callable[[int], None] | None = None,
) -> Array:
    """Return the distance of weighted rows' Gaussian from ``real`` for each set of weights.

    Terms without weights are computed once: with R = C_real^½ and Y = X R, the overlap is
    tr (R C_w R)^½, and R C_w R is the covariance of the weighted rows of Y. Where fewer rows than
    columns have a weight, the eigenvalues are those of their Gram matrix.

    Args:
        rows: features [n, D].
        weights: [B, n] weight of each row; each line has the same sum.
        real: moments of the real features.
        device: where to compute, in float64; None for the CPU.
        on_done: called with the number of finished sets after each one.

    Returns:
        [B] distances.
    """
    where = device or torch.device("cpu")
    values, vectors = np.linalg.eigh(real.covariance)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    apart = torch.from_numpy(np.asarray(rows, np.float64) - real.mean).to(where)
    turned = apart @ torch.from_numpy(root).to(where)
    squares = apart.square().sum(1)
    found = []
    for line in weights:
        weight = torch.from_numpy(np.asarray(line, np.float64) / line.sum()).to(where)
        counted = weight > 0
        w, y = weight[counted], turned[counted]
        mean = w @ apart[counted]
        trace = w @ squares[counted] - mean.square().sum()
        scaled = (y - w @ y) * w.sqrt()[:, None]
        product = scaled @ scaled.T if len(scaled) < scaled.shape[1] else scaled.T @ scaled
        overlap = torch.linalg.eigvalsh(product).clamp_min(0).sqrt().sum()
        distance = mean.square().sum() + trace + np.trace(real.covariance) - 2 * overlap
        found.append(max(float(distance), 0.0))
        if on_done is not None:
            on_done(len(found))
    return np.array(found)
