"""What a metric compares: a detector, its output, and for how many images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: The networks whose outputs are compared: NVIDIA's Inception and VGG16, and segan's own, which
#: reads the built-in faces' attributes.
DetectorKind = Literal["inception", "vgg16", "faces"]


@dataclass(frozen=True, kw_only=True)
class FeatureRequest:
    """Outputs of a detector that a metric compares.

    Attributes:
        detector: which network.
        output: ``features`` [N, D], or ``probabilities`` [N, classes] that sum to 1.
        form: ``rows``, all of them as float32 (memory: N · D · 4 bytes), or ``moments``, their
            mean and covariance in float64 (memory: D² · 8 bytes, whatever N is).
        n: generated images; of the seeds first, first + 1, …
        real: whether the data's images are compared, too.
        max_real: the data's first images that are taken; None for all.
    """

    detector: DetectorKind
    output: Literal["features", "probabilities"] = "features"
    form: Literal["rows", "moments"]
    n: int
    real: bool = True
    max_real: int | None = None
