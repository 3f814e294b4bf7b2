"""KID: the squared maximum mean discrepancy of features under a cubic kernel.

k(x, y) = (x · y / D + 1)³, by the unbiased estimator (Bińkowski et al. 2018, Section 4 and Eq. 5).
As StyleGAN2-ADA computes it: the mean over 100 pairs of subsets of at most 1000 features; ours
computes in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch

from segan.train.measure.quality.context import MetricContext
from segan.train.measure.quality.feature_metric import FeatureMetric
from segan.train.measure.quality.features import DetectorKind
from segan.train.measure.quality.metric import Score

Rows = npt.NDArray[np.floating[Any]]
Array = npt.NDArray[np.float64]

SUBSETS, SUBSET_SIZE = 100, 1000
#: Rows of a kernel matrix that are computed at once.
_BLOCK = 512


class KernelMetric(FeatureMetric):
    """Kernel distance of Inception features. Lower is better; about 0 for equal sets."""

    detector: ClassVar[DetectorKind | None] = "inception"
    most_real = 1_000_000

    def compute(self, context: MetricContext) -> Score:
        """See ``Metric``."""
        generated, real = self.rows(context)
        value, spread = kernel_distance(generated, real, context.detectors.device)
        return Score(value, {"kid": value, "std_of_subsets": spread})

    def resampled(self, context: MetricContext, weights: Array) -> Array:
        """See ``Metric``; estimated from all features at once, without subsets."""
        generated, real = self.rows(context)
        on_done = context.resampling(self.name, len(generated), "images' kernels for all resamples")
        return weighted_kernel_distances(
            generated, weights, real, context.detectors.device, on_done=on_done
        )


class FacesKernelMetric(KernelMetric):
    """Kernel distance of the attribute network's features."""

    detector = "faces"


def kernel_distance(
    generated: Rows,
    real: Rows,
    device: torch.device | None = None,
    *,
    subsets: int = SUBSETS,
    subset_size: int = SUBSET_SIZE,
    seed: int = 0,
) -> tuple[float, float]:
    """Return mean and standard deviation of the unbiased estimate over pairs of subsets.

    Args:
        generated: features [n, D].
        real: features [m, D].
        device: where to compute; None for the CPU.
        subsets: number of pairs.
        subset_size: features of a subset; at most n and m.
        seed: of the subsets, which are drawn without replacement.
    """
    size = min(len(generated), len(real), subset_size)
    random = np.random.RandomState(seed)
    values = []
    for _ in range(subsets):
        x = generated[random.choice(len(generated), size, replace=False)]
        y = real[random.choice(len(real), size, replace=False)]
        one, two = (torch.from_numpy(part).to(device or "cpu", torch.float64) for part in (y, x))
        values.append(float(_unbiased_estimate(one, two)))
    return float(np.mean(values)), float(np.std(values))


def _unbiased_estimate(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Bińkowski et al. 2018, Eq. 4, for two sets of equal size [n, D]."""
    n = len(x)
    within_x, within_y = ((k.sum(1) - k.diag()).sum() for k in (_kernel(x, x), _kernel(y, y)))
    between = _kernel(x, y).sum(0).sum()
    return (within_x + within_y) / (n * (n - 1)) - 2 * between / n**2


def weighted_kernel_distances(
    generated: Rows,
    weights: Array,
    real: Rows,
    device: torch.device | None = None,
    *,
    on_done: Callable[[int], None] | None = None,
) -> Array:
    """Return the unbiased estimate from all features, with weights for the generated ones.

    Pairs of a feature with itself are excluded, also when it was drawn twice:
    Σ_{i≠j} w_i w_j k(x_i, x_j) / Σ_{i≠j} w_i w_j - 2 Σ w_i mean_j k(x_i, y_j) / Σ w_i + (a term of
    the real features alone). Kernel matrices are computed block by block for all weights at once,
    so memory does not grow with n².

    Args:
        generated: features [n, D].
        weights: [B, n].
        real: features [m, D].
        device: where to compute, in float64; None for the CPU.
        on_done: called after each block with the number of finished generated features.

    Returns:
        [B].
    """
    where = device or torch.device("cpu")
    x, y, w = (
        torch.from_numpy(np.ascontiguousarray(part)).to(where, torch.float64)
        for part in (generated, real, weights)
    )
    own = torch.zeros(len(w), dtype=torch.float64, device=where)
    cross = torch.zeros(len(w), dtype=torch.float64, device=where)
    alone = 0.0
    for start in range(0, len(x), _BLOCK):
        part, ours = x[start : start + _BLOCK], w[:, start : start + _BLOCK]
        kernel = _kernel(part, x)
        rows = torch.arange(len(part), device=where)
        kernel[rows, start + rows] = 0
        own += (ours * (w @ kernel.T)).sum(1)
        cross += ours @ _mean_kernel(part, y)
        if on_done is not None:
            on_done(start + len(part))
    for start in range(0, len(y), _BLOCK):
        part = y[start : start + _BLOCK]
        kernel = _kernel(part, y)
        rows = torch.arange(len(part), device=where)
        kernel[rows, start + rows] = 0
        alone += float(kernel.sum())
    sums = w.sum(1)
    pairs = sums.square() - w.square().sum(1)
    found: Array = (own / pairs - 2 * cross / sums + alone / (len(y) * (len(y) - 1))).cpu().numpy()
    return found


def _kernel(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a @ b.T / a.shape[1] + 1) ** 3


def _mean_kernel(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Mean over b of k(a_i, b_j): [len(a)]."""
    total = torch.zeros(len(a), dtype=a.dtype, device=a.device)
    for part in b.split(8 * _BLOCK):
        total += _kernel(a, part).sum(1)
    return total / len(b)
