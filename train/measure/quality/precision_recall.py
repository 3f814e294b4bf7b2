"""Improved precision and recall (Kynkäänniemi et al. 2019, Eq. 1 and 2).

The manifold of a set is the union of balls around its features; the radius of a ball is the
distance to the k-th nearest other feature. Precision is the share of generated images in the real
manifold, recall the share of real images in the generated manifold. Distances are computed in
single precision; StyleGAN2-ADA computes them from half-precision features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch

from segan.runtime.errors import ConfigError
from segan.train.measure.quality.context import MetricContext
from segan.train.measure.quality.feature_metric import FeatureMetric, too_few_images
from segan.train.measure.quality.features import DetectorKind
from segan.train.measure.quality.metric import Metric, Score

Rows = npt.NDArray[np.floating[Any]]
Array = npt.NDArray[np.float64]
Hits = npt.NDArray[np.bool_]

#: Distances in memory at once.
_DISTANCES = 1 << 24


class PrecisionRecallMetric(FeatureMetric):
    """Precision (the value) and recall of VGG16 features. Higher is better, up to 1.

    Args:
        name: as the user wrote it.
        n: generated images.
        k: number of the neighbour that sets the radius of a ball; 3 in published values.
        full: compare with all real images, up to 200,000; else with the first n.
    """

    detector: ClassVar[DetectorKind | None] = "vgg16"
    most_real = 200_000
    less_is_better = False

    def __init__(self, name: str, n: int, k: int, *, full: bool = True) -> None:
        super().__init__(name, n, full=full)
        self.k = k
        if k >= n:
            raise ConfigError(
                f"{name} has neighbour k = {k} and n = {n} images",
                field="metrics",
                value=name,
                expected="k below n",
            )

    @classmethod
    def from_name(cls, name: str, groups: Mapping[str, str | None]) -> Metric:
        """See ``Metric``."""
        k = int(groups["k"] or 0)
        return cls(name, cls.n_of(groups), k, full=groups["full"] is not None)

    def check(self, context: MetricContext) -> None:
        """See ``Metric``."""
        super().check(context)
        data = context.dataset(self.name)
        if len(data) <= self.k:
            raise too_few_images(self.name, data, f"more than {self.k} images")

    def compute(self, context: MetricContext) -> Score:
        """See ``Metric``."""
        generated, real = self.rows(context)
        device = context.detectors.device
        hits = inside_manifold(generated, real, self.k, device)
        context.cache[self.name] = hits
        precision = float(hits.mean())
        recall = float(inside_manifold(real, generated, self.k, device).mean())
        return Score(precision, {"precision": precision, "recall": recall})

    def resampled(self, context: MetricContext, weights: Array) -> Array:
        """See ``Metric``; precision alone, since the real manifold does not depend on seeds."""
        hits: Hits = context.cache[self.name]
        found: Array = weights @ hits / weights.sum(1)
        return found


class FacesPrecisionRecallMetric(PrecisionRecallMetric):
    """Precision and recall of the attribute network's features."""

    detector = "faces"


def inside_manifold(
    probes: Rows, manifold: Rows, k: int, device: torch.device | None = None
) -> Hits:
    """Return whether each probe lies in a manifold.

    Args:
        probes: features [p, D].
        manifold: features [m, D], m above k.
        k: number of the neighbour, not counting the feature itself, that sets a ball's radius.
        device: where to compute; None for the CPU.

    Returns:
        [p].
    """
    where = device or torch.device("cpu")
    # Centred features have smaller squares, which lose less by cancellation.
    middle = manifold.mean(0)
    points, centred = (
        torch.from_numpy(np.ascontiguousarray(part - middle)).to(where)
        for part in (manifold, probes)
    )
    size = max(1, _DISTANCES // len(points))
    radii = torch.cat(
        [torch.cdist(part, points).kthvalue(k + 1, dim=1).values for part in points.split(size)]
    )
    hits = [(torch.cdist(part, points) <= radii).any(1) for part in centred.split(size)]
    found: Hits = torch.cat(hits).cpu().numpy()
    return found
