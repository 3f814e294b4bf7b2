"""FID, and the Fréchet distance of the attribute network's features."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from segan.train.measure.control.attributes import AttributeNetwork
from segan.train.measure.quality.context import MetricContext
from segan.train.measure.quality.feature_metric import FeatureMetric
from segan.train.measure.quality.features import DetectorKind, FeatureRequest
from segan.train.measure.quality.gaussian import (
    Gaussian,
    frechet_distance,
    resampled_distances,
)
from segan.train.measure.quality.metric import Score
from segan.train.measure.quality.record import DataRecord


class FrechetMetric(FeatureMetric):
    """Fréchet distance of Inception features, in float64.

    Source: Heusel et al. 2017, Eq. 6. As StyleGAN2-ADA computes it: mean and covariance (divided by
    N) of the pool features of uint8 images. Lower is better; its expectation falls as n grows, so
    only values of the same n can be compared.
    """

    detector: ClassVar[DetectorKind | None] = "inception"

    def requests(self, *, resample: bool) -> tuple[FeatureRequest, ...]:
        """Moments; for resampling also the rows of the generated images."""
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

    Generated images are compared with as many images of the data set, or with ``_full`` with all of
    them; without a data set, with the moments of drawn faces that are stored with the network.
    """

    detector = "faces"
    data = "optional"

    def _moments(self) -> FeatureRequest:
        # ``real_moments`` requests the data's features, since there may be no data.
        return FeatureRequest(
            detector="faces",
            form="moments",
            n=self.n,
            real=False,
            max_real=None if self.full else self.n,
        )

    def real_moments(self, context: MetricContext) -> Gaussian:
        """Moments of the data, or of the faces that the network was tested on."""
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


def reference(network: AttributeNetwork) -> Gaussian:
    """Return the moments of the built-in faces' features that are kept with the network."""
    return Gaussian(
        network.reference_mean.double().cpu().numpy(),
        network.reference_covariance.double().cpu().numpy(),
    )
