"""The requests of metrics to a context, which serves all of them in one pass over the images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: Networks whose outputs are compared: NVIDIA's Inception and VGG16, and segan's network that
#: reads the attributes of the built-in faces.
DetectorKind = Literal["inception", "vgg16", "faces"]


@dataclass(frozen=True, kw_only=True)
class FeatureRequest:
    """Outputs of a detector that a metric compares.

    Attributes:
        detector: the network.
        output: ``features`` [N, D], or ``probabilities`` [N, classes] that sum to 1.
        form: ``rows``, all outputs in float32 (N · D · 4 bytes), or ``moments``, their mean and
            covariance in float64 (D² · 8 bytes for any N).
        n: generated images, of the seeds first, first + 1, …
        real: whether real images are compared as well.
        max_real: number of real images, from the first; None for all.
    """

    detector: DetectorKind
    output: Literal["features", "probabilities"] = "features"
    form: Literal["rows", "moments"]
    n: int
    real: bool = True
    max_real: int | None = None


@dataclass(frozen=True, kw_only=True)
class CodesRequest:
    """Latent codes of seeds, and the attributes of the built-in faces read from their images.

    Attributes:
        n: number of seeds, from the first.
    """

    n: int


Request = FeatureRequest | CodesRequest
