"""A network that reads the attributes of the built-in faces from an image.

Every drawn face has known attributes, so the training data is unlimited and the network's error is
known. The network measures what a generator's sliders do, and its features give the Fréchet
distance ``fd_faces``. It reads continuous attributes in standard deviations of the data, hues as
cosine and sine, and categorical attributes as probabilities.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, cast, get_args

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

from segan.runtime.errors import ConfigError
from segan.runtime.readings.reading import Reading, ReadingKind
from segan.train.data.faces.attributes import FACE_ATTRIBUTES

#: Hues: 0 and 1 are the same colour.
CIRCULAR = frozenset({"background_hue", "shirt_hue"})
#: Standard deviation of a uniform distribution on an interval of length 1.
UNIFORM_SD = 1 / math.sqrt(12.0)
#: Width of the layer before the last, the features that images are compared by.
FEATURES = 128

#: Resolutions at which a network can see images.
Resolution = Literal[16, 32, 64]
RESOLUTIONS: tuple[Resolution, ...] = get_args(Resolution)


def _layout() -> tuple[Reading, ...]:
    readings: list[Reading] = []
    start = 0
    for attribute in FACE_ATTRIBUTES:
        kind: ReadingKind = "circular" if attribute.name in CIRCULAR else attribute.kind
        width = {"continuous": 1, "circular": 2, "categorical": len(attribute.values)}[kind]
        weights = attribute.weights
        readings.append(Reading(attribute.name, kind, start, width, weights=weights))
        start += width
    return tuple(readings)


#: All attributes in the order of ``FACE_ATTRIBUTES``.
READINGS = _layout()
#: Their names.
NAMES = tuple(reading.name for reading in READINGS)
#: Width of the network's output.
OUTPUTS = READINGS[-1].start + READINGS[-1].width


def encode_attributes(attributes: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
    """Encode true attributes as the network's targets, [N, OUTPUTS].

    A continuous attribute becomes (value - middle) / standard deviation of its uniform
    distribution, a hue its cosine and sine, a categorical attribute a one-hot vector.
    """
    count = len(attributes[READINGS[0].name])
    encoded = np.zeros((count, OUTPUTS), np.float32)
    for reading, attribute in zip(READINGS, FACE_ATTRIBUTES, strict=True):
        values, part = attributes[reading.name], encoded[:, reading.columns]
        if reading.kind == "categorical":
            part[np.arange(count), values] = 1
        elif reading.kind == "circular":
            angle = 2 * np.pi * values
            part[:, 0], part[:, 1] = np.cos(angle), np.sin(angle)
        else:
            spread = (attribute.high - attribute.low) * UNIFORM_SD
            part[:, 0] = (values - attribute.default) / spread
    return encoded


class _Block(nn.Sequential):
    """3 × 3 convolution, batch norm, ReLU."""

    def __init__(self, into: int, out: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(into, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU()
        )


class _Residual(nn.Module):
    """Two 3 × 3 convolutions with an identity shortcut (He et al. 2016, Fig. 2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _Block(channels, channels)
        self.second = nn.Sequential(
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(x + self.second(self.first(x)))


def _stem(resolution: int) -> list[nn.Module]:
    """Images → 48 channels at 16².

    Pixel unshuffling loses no information and saves the most expensive convolution.
    """
    if resolution == 16:
        return [_Block(3, 48)]
    if resolution == 32:
        return [nn.PixelUnshuffle(2), _Block(12, 48)]
    return [nn.PixelUnshuffle(2), _Block(12, 32), _Block(32, 48, 2)]


def image_trunk(resolution: int) -> nn.Sequential:
    """Build the layers images [N, 3, R, R] → [N, 768]; R is 16, 32 or 64."""
    return nn.Sequential(
        *_stem(resolution),
        _Block(48, 48),
        _Block(48, 80, 2),
        _Residual(80),
        _Block(80, 128, 2),
        nn.Conv2d(128, 48, 1),
        nn.Flatten(),
    )


def feature_layer() -> nn.Sequential:
    """Build the layers from the output of ``image_trunk`` to features [N, FEATURES]."""
    return nn.Sequential(
        nn.BatchNorm1d(48 * 16), nn.ReLU(), nn.Linear(48 * 16, FEATURES), nn.ReLU()
    )


def average_down(images: torch.Tensor, resolution: int) -> torch.Tensor:
    """Average larger images down to a resolution.

    Raises:
        ConfigError: the shape is not [N, 3, R, R], or R is not a multiple of the resolution.
    """
    size = images.shape[-1]
    if images.ndim != 4 or images.shape[1:] != (3, size, size) or size % resolution:
        raise ConfigError(
            f"images have the shape {list(images.shape)}",
            field="images",
            value=list(images.shape),
            expected=f"[N, 3, R, R] with R a multiple of {resolution}",
        )
    factor = size // resolution
    return images if factor == 1 else F.avg_pool2d(images, factor)


class AttributeNetwork(nn.Module):
    """Images [N, 3, R, R] in [-1, 1] → attributes.

    Args:
        resolution: of its input, 16, 32 or 64; larger images are averaged down, as the faces are
            when they are drawn.

    Attributes:
        resolution: of its input.
        reference_mean: mean of the features over built-in faces, [FEATURES].
        reference_covariance: their covariance, [FEATURES, FEATURES].
    """

    resolution: Resolution
    reference_mean: torch.Tensor
    reference_covariance: torch.Tensor

    def __init__(self, resolution: int) -> None:
        super().__init__()
        if resolution not in RESOLUTIONS:
            raise ConfigError(field="resolution", value=resolution, expected="16, 32 or 64")
        self.resolution = resolution
        self.trunk = image_trunk(resolution)
        self.hidden = feature_layer()
        self.head = nn.Linear(FEATURES, OUTPUTS)
        self.register_buffer("reference_mean", torch.zeros(FEATURES))
        self.register_buffer("reference_covariance", torch.zeros(FEATURES, FEATURES))

    def start_from(self, other: AttributeNetwork) -> None:
        """Copy the weights of a network of another resolution, except for its first layers.

        From 16² on, both have the same layers. The layers before them remain to be trained.
        """
        ours, theirs = (_past_stem(network) for network in (self, other))
        ours.load_state_dict(theirs.state_dict())
        self.hidden.load_state_dict(other.hidden.state_dict())
        self.head.load_state_dict(other.head.state_dict())

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Return the layer before the last, [N, FEATURES]. Raises: ConfigError."""
        found: torch.Tensor = self.hidden(self.trunk(average_down(images, self.resolution)))
        return found

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return raw outputs [N, OUTPUTS]: as ``encode_attributes``, but logits for categories."""
        outputs: torch.Tensor = self.head(self.features(images))
        return outputs


def _past_stem(network: AttributeNetwork) -> nn.Sequential:
    return nn.Sequential(*list(network.trunk)[len(_stem(network.resolution)) :])


def attribute_loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the mean over attributes of the squared error or the cross-entropy."""
    losses = []
    for reading in READINGS:
        found, wanted = outputs[:, reading.columns], targets[:, reading.columns]
        if reading.kind == "categorical":
            losses.append(F.cross_entropy(found, wanted))
        else:
            losses.append((found - wanted).square().sum(1).mean())
    return torch.stack(losses).mean()


class ImageReadings(NamedTuple):
    """Attributes and features of images.

    Attributes:
        attributes: [N, OUTPUTS] float64, as ``encode_attributes``; categories as probabilities.
        features: [N, FEATURES] float64.
    """

    attributes: npt.NDArray[np.float64]
    features: npt.NDArray[np.float64]


@torch.no_grad()
def read_images(network: AttributeNetwork, images: torch.Tensor, batch: int = 250) -> ImageReadings:
    """Read attributes and features from images [N, 3, R, R] in [-1, 1].

    Raises:
        ConfigError: images that do not fit the network.
    """
    network.eval()
    device = next(network.buffers(), images).device
    features = torch.cat([network.features(part.to(device)) for part in images.split(batch)])
    outputs = cast(torch.Tensor, network.head(features)).double()
    for reading in READINGS:
        if reading.kind == "categorical":
            outputs[:, reading.columns] = outputs[:, reading.columns].softmax(1)
    return ImageReadings(outputs.cpu().numpy(), features.double().cpu().numpy())


def read_attributes(
    network: AttributeNetwork, images: torch.Tensor, batch: int = 250
) -> npt.NDArray[np.float64]:
    """Read attributes [N, OUTPUTS] from images [N, 3, R, R]; see ``ImageReadings``."""
    return read_images(network, images, batch).attributes


def attribute_scores(
    found: npt.NDArray[np.float64], truth: npt.NDArray[np.float32]
) -> dict[str, float]:
    """Return R² (of the vector for hues) or accuracy by attribute.

    Args:
        found: [N, OUTPUTS] from ``read_attributes``.
        truth: [N, OUTPUTS] from ``encode_attributes``.
    """
    scores = {}
    for reading in READINGS:
        a, b = found[:, reading.columns], truth[:, reading.columns].astype(np.float64)
        if reading.kind == "categorical":
            scores[reading.name] = float((a.argmax(1) == b.argmax(1)).mean())
        else:
            rest = np.square(a - b).sum() / np.square(b - b.mean(0)).sum()
            scores[reading.name] = float(1 - rest)
    return scores
