"""FID, and the same distance of the built-in faces' features."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch

from segan.runtime.errors import ConfigError
from segan.train.measure.quality.context import MetricContext
from segan.train.measure.quality.feature_metric import FeatureMetric
from segan.train.measure.quality.features import DetectorKind, FeatureRequest
from segan.train.measure.quality.gaussian import Gaussian, frechet_distance, reference
from segan.train.measure.quality.metric import Score
from segan.train.measure.quality.record import DataRecord
from segan.train.measure.quality.registry import count_of


class FrechetMetric(FeatureMetric):
    """Fréchet distance of Inception features, in float64.

    Source: Heusel et al. 2017, Eq. 6. As StyleGAN2-ADA computes it: mean and covariance (divided by
    N) of the pool features of uint8 images. Lower is better; its expectation falls as n grows, so
    only values of the same n can be compared.
    """

    detector: ClassVar[DetectorKind | None] = "inception"

    def requests(self, *, resample: bool) -> tuple[FeatureRequest, ...]:
        """Moments; rows of the generated images, too, when they are to be resampled."""
        moments = self._moments()
        return (moments, self._generated_rows()) if resample else (moments,)

    def _moments(self) -> FeatureRequest:
        assert self.detector is not None, "every Fréchet distance has one"
        return FeatureRequest(
            detector=self.detector,
            form="moments",
            n=self.n,
            max_real=None if self.full else self.n,
        )

    def _generated_rows(self) -> FeatureRequest:
        assert self.detector is not None, "every Fréchet distance has one"
        return FeatureRequest(detector=self.detector, form="rows", n=self.n, real=False)

    def real_moments(self, context: MetricContext) -> Gaussian:
        """Mean and covariance of the real images' features."""
        found = context.real(self._moments()).moments
        assert found is not None
        return found

    def compute(self, context: MetricContext) -> Score:
        """See ``Metric``."""
        generated = context.generated(self._moments()).moments
        assert generated is not None
        real = self.real_moments(context)
        data = context.data
        if data is not None and len(data) <= len(real.mean):
            context.on_note(
                f"{self.name}: {data.name!r} has {len(data)} images for {len(real.mean)} features, "
                "so the covariance is singular and the value depends on those few images"
            )
        return Score(frechet_distance(generated, real), {})

    def resampled(
        self, context: MetricContext, weights: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        """See ``Metric``."""
        rows = context.generated(self._generated_rows()).rows
        assert rows is not None
        return resampled_distances(
            rows,
            weights,
            self.real_moments(context),
            context.detectors.device,
            on_done=context.resampling(self.name, len(weights)),
        )


class FacesFrechetMetric(FrechetMetric):
    """Fréchet distance of the attribute network's features.

    Without a data set the faces' moments that are kept with the network are compared with; of one
    as many images as are generated, or with ``_full`` all.
    """

    detector = "faces"
    data = "optional"

    def check(self, context: MetricContext) -> None:
        """See ``Metric``."""
        if context.data is not None or self.full:
            super().check(context)
        faces_fit(self.name, context)

    def _moments(self) -> FeatureRequest:
        # The data's features are taken when they are asked for: there may be no data.
        return FeatureRequest(
            detector="faces",
            form="moments",
            n=self.n,
            real=False,
            max_real=None if self.full else self.n,
        )

    def real_moments(self, context: MetricContext) -> Gaussian:
        """Those of the data, or of the faces that the network was tested on."""
        if context.data is None:
            return reference(context.detectors.faces().network)
        found = context.real(self._moments()).moments
        assert found is not None
        return found

    def real_images(self, context: MetricContext) -> DataRecord | None:
        """See ``Metric``."""
        found = super().real_images(context)
        if found is not None:
            return found
        record = context.detectors.faces().record
        name = f"built-in faces, as kept with {record.name}"
        return DataRecord(name=name, fingerprint=record.sha256, images=None)


def faces_fit(name: str, context: MetricContext) -> None:
    """Raises ConfigError for grey images, or a resolution that no attribute network takes."""
    facts = context.images.facts
    if facts.img_channels != 3:
        raise ConfigError(
            f"{name} reads colours, and the generator makes grey images; expected RGB."
        )
    network = context.detectors.faces().network
    if facts.resolution % network.resolution:
        raise ConfigError(
            f"{name}: the attribute network sees {network.resolution} x {network.resolution} "
            f"images, and the generator makes {facts.resolution} x {facts.resolution}; expected a "
            "multiple."
        )


def build_fid(name: str, numbers: dict[str, Any]) -> FrechetMetric:
    """``fid50k_full``."""
    return FrechetMetric(name, count_of(numbers["n"]), full=numbers["full"] is not None)


def build_fd_faces(name: str, numbers: dict[str, Any]) -> FacesFrechetMetric:
    """``fd_faces5k``, ``fd_faces5k_full``."""
    return FacesFrechetMetric(name, count_of(numbers["n"]), full=numbers["full"] is not None)


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
