"""What metrics request from the images of a generator, so that one pass serves all of them."""

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


@dataclass(frozen=True, kw_only=True)
class CodesRequest:
    """Latent codes of images, with the attributes of the built-in faces that are read in them.

    Attributes:
        n: images, of the first n seeds.
    """

    n: int


Request = FeatureRequest | CodesRequest
