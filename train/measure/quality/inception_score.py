"""The Inception score: exp E KL(p(y|x) ‖ p(y)) (Salimans et al. 2016).

As StyleGAN2-ADA computes it: class probabilities without the last layer's bias, 10 parts of the
images in order, mean and standard deviation over the parts. It needs no real images.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from segan.train.measure.quality.context import MetricContext
from segan.train.measure.quality.features import FeatureRequest
from segan.train.measure.quality.metric import Metric, Score, check_n

Array = npt.NDArray[np.float64]

SPLITS = 10


class InceptionScoreMetric(Metric):
    """Inception score. Higher is better, from 1 to the number of classes."""

    data = "unused"
    detector = "inception"
    less_is_better = False

    def __init__(self, name: str, n: int) -> None:
        super().__init__(name, n)
        check_n(name, n, SPLITS)

    def request(self) -> FeatureRequest:
        """The probabilities of the generated images."""
        return FeatureRequest(
            detector="inception", output="probabilities", form="rows", n=self.n, real=False
        )

    def requests(self, *, resample: bool) -> tuple[FeatureRequest, ...]:
        """See ``Metric``."""
        return (self.request(),)

    def compute(self, context: MetricContext) -> Score:
        """See ``Metric``."""
        scores = split_scores(self._rows(context), np.ones((1, self.n)))[0]
        mean, std = float(scores.mean()), float(scores.std())
        return Score(mean, {"mean": mean, "std": std})

    def resampled(self, context: MetricContext, weights: Array) -> Array:
        """See ``Metric``."""
        found: Array = split_scores(self._rows(context), weights).mean(1)
        return found

    def _rows(self, context: MetricContext) -> npt.NDArray[np.float32]:
        rows = context.generated(self.request()).rows
        assert rows is not None
        return rows


def split_scores(probabilities: npt.ArrayLike, weights: Array, splits: int = SPLITS) -> Array:
    """The score of each part, with each image counted by its weight.

    With h_i = Σ_y p_iy log p_iy and the weighted mean q, the mean divergence is mean h - Σ q log q.

    Args:
        probabilities: [n, classes], each row with the sum 1; 0 log 0 counts as 0.
        weights: [B, n].
        splits: parts.

    Returns:
        [B, splits].
    """
    p = np.asarray(probabilities, np.float64)
    n = len(p)
    entropy = _p_log_p(p).sum(1)
    found = []
    for part in range(splits):
        rows = slice(part * n // splits, (part + 1) * n // splits)
        # A part of which nothing was drawn cannot be scored: it counts evenly.
        w = weights[:, rows]
        w = np.where(w.sum(1, keepdims=True) > 0, w, 1.0)
        w = w / w.sum(1, keepdims=True)
        found.append(np.exp(w @ entropy[rows] - _p_log_p(w @ p[rows]).sum(1)))
    return np.stack(found, 1)


def _p_log_p(p: Array) -> Array:
    return p * np.log(np.where(p > 0, p, 1.0))
