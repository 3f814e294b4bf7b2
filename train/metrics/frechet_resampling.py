"""The Fréchet distance of resampled features, many times, from work that is done once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from segan.train.metrics.frechet import Gaussian

Array = npt.NDArray[np.float64]


def resampled_distances(
    rows: npt.NDArray[np.floating[Any]],
    weights: Array,
    real: Gaussian,
    device: torch.device | None = None,
    *,
    on_done: Callable[[int], None] | None = None,
) -> Array:
    """The distance from ``real`` of the Gaussians of weighted rows, once for each set of weights.

    What does not change is computed once: with R = C_real^½ and Y = X R, the overlap is
    tr (R C_w R)^½, and R C_w R is the covariance of the weighted rows of Y. Where fewer rows than
    columns count, the eigenvalues come from their Gram matrix.

    Args:
        rows: features [n, D].
        weights: [B, n] how often each row counts, each line with the same sum.
        real: what they are compared with.
        device: where to compute, in float64; None for the CPU.
        on_done: told after each how many are done.

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
