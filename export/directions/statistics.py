"""Mean and covariance of a bundle's w, estimated from many mapped latents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segan.runtime.bundle.classes import one_hot
from segan.runtime.errors import ConfigError, ExportError
from segan.runtime.generate.generator import Generator
from segan.runtime.latents.draws import sample_z

F64 = NDArray[np.float64]

_BATCH = 1024


@dataclass(frozen=True, eq=False)
class WStatistics:
    """Mean and covariance of a bundle's w.

    Attributes:
        mean: [w_dim] float64.
        covariance: [w_dim, w_dim] float64, with the number of samples as the divisor.
        samples: number of w; their seeds are 0 to samples - 1.
    """

    mean: F64
    covariance: F64
    samples: int

    @property
    def total_variance(self) -> float:
        """The sum of the variances of all dimensions."""
        return float(np.trace(self.covariance))

    def deviation(self, vectors: F64) -> F64:
        """Return the standard deviation of w·d for each vector d: [..., w_dim] → [...] float64."""
        variance = np.einsum("...i,ij,...j->...", vectors, self.covariance, vectors)
        return np.asarray(np.sqrt(np.maximum(variance, 0.0)), np.float64)


def sample_w_statistics(
    generator: Generator,
    samples: int,
    *,
    class_index: int | None = None,
    on_samples: Callable[[int], None] | None = None,
) -> WStatistics:
    """Map the latents of the seeds 0 to ``samples`` - 1, and sum up in float64.

    Args:
        generator: the open bundle; only its mapping network runs.
        samples: more than w_dim, so that the covariance can have full rank.
        class_index: class of the latents; None takes all classes in turn.
        on_samples: called after each batch with its number of samples.

    Raises:
        ConfigError: too few samples, or a class that does not exist.
        ExportError: w is not finite.
    """
    manifest = generator.manifest
    if samples <= manifest.w_dim:
        raise ConfigError(
            field="samples",
            value=samples,
            expected=f"more than w_dim, {manifest.w_dim}, such as 20000",
        )
    if class_index is not None and not 0 <= class_index < manifest.c_dim:
        known = f"0 to {manifest.c_dim - 1}" if manifest.c_dim else "none: there are no classes"
        raise ConfigError(field="class_index", value=class_index, expected=known)
    shift: F64 | None = None
    total = np.zeros(manifest.w_dim)
    squares = np.zeros((manifest.w_dim, manifest.w_dim))
    for first in range(0, samples, _BATCH):
        seeds = range(first, min(first + _BATCH, samples))
        labels = None
        if manifest.c_dim:
            classes = [
                seed % manifest.c_dim if class_index is None else class_index for seed in seeds
            ]
            labels = one_hot(classes, manifest.c_dim)
        w = generator.map(sample_z(seeds, manifest.z_dim), labels).astype(np.float64)
        if not np.isfinite(w).all():
            raise ExportError(
                "the mapping network returns values that are not finite",
                field="bundle",
                remedy="Export the bundle again.",
            )
        if shift is None:
            # Sums around the mean of the first batch do not lose digits where the mean is large.
            shift = w.mean(0)
        w -= shift
        total += w.sum(0)
        squares += w.T @ w
        if on_samples is not None:
            on_samples(len(seeds))
    assert shift is not None
    mean = total / samples
    covariance = squares / samples - np.outer(mean, mean)
    return WStatistics(mean=shift + mean, covariance=covariance, samples=samples)
