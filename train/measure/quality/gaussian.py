"""The Fréchet distance between Gaussians, as FID uses it on features of images."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from segan.runtime.errors import ConfigError
from segan.train.measure.control.attributes import AttributeNetwork
from segan.train.measure.models.probe import ModelImages, generator_images
from segan.train.networks.stylegan2.generator import Generator

Array = npt.NDArray[np.float64]


class Gaussian(NamedTuple):
    """Mean [D] and covariance [D, D] of features, float64."""

    mean: Array
    covariance: Array


def fit_gaussian(features: npt.ArrayLike) -> Gaussian:
    """Mean and covariance (divided by N - 1) of features [N, D].

    Raises:
        ConfigError: not [N, D] with N of 2 or more.
    """
    values = np.asarray(features, np.float64)
    if values.ndim != 2 or len(values) < 2:
        raise ConfigError(f"features have the shape {values.shape}; expected [2 or more, D].")
    return Gaussian(values.mean(0), np.cov(values, rowvar=False).reshape(2 * values.shape[1:]))


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """‖m_a - m_b‖² + tr(C_a + C_b - 2 (C_a C_b)^½), at least 0.

    Source: Dowson & Landau 1982; Heusel et al. 2017, Eq. 6. The trace of (C_a C_b)^½ is that of
    (C_a^½ C_b C_a^½)^½, which is symmetric: the roots of its eigenvalues, without a general
    matrix root.
    """
    values, vectors = np.linalg.eigh(a.covariance)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    product = root @ b.covariance @ root
    overlap = np.sqrt(np.maximum(np.linalg.eigvalsh((product + product.T) / 2), 0)).sum()
    apart = np.square(a.mean - b.mean).sum()
    spread = np.trace(a.covariance) + np.trace(b.covariance) - 2 * overlap
    return float(max(apart + spread, 0.0))


def reference(network: AttributeNetwork) -> Gaussian:
    """The features of built-in faces, as kept with the network."""
    return Gaussian(
        network.reference_mean.double().numpy(), network.reference_covariance.double().numpy()
    )


@torch.no_grad()
def fd_faces_const_noise(
    model: Generator | ModelImages,
    network: AttributeNetwork,
    n: int = 5000,
    first_seed: int = 0,
) -> float:
    """Fréchet distance of a generator's images from built-in faces the network has not seen.

    Not quite the metric ``fd_faces`` of ``segan metrics``: noise is constant, images are not
    rounded to bytes, and the covariance is divided by N - 1. The benchmarks of control use it,
    whose other figures are of the same images.

    Args:
        model: a generator in evaluation mode, RGB, or a model's images.
        network: its features are compared; it holds those of the faces.
        n: images.
        first_seed: of the images; they have seeds first_seed to first_seed + n - 1.

    Raises:
        ConfigError: images that do not fit the network, or fewer than 2.
    """
    images = generator_images(model) if isinstance(model, Generator) else model
    parts = [
        network.features(images.render(range(start, min(start + 250, first_seed + n))))
        for start in range(first_seed, first_seed + n, 250)
    ]
    return frechet_distance(fit_gaussian(torch.cat(parts).double().numpy()), reference(network))


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
