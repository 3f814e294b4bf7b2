"""Training an ``AttributeNetwork`` on freshly drawn faces."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from segan.runtime.errors import ConfigError
from segan.train.data.faces.attributes import sample_attributes
from segan.train.data.faces.draw import draw_faces
from segan.train.measure.control.attributes import (
    AttributeNetwork,
    attribute_loss,
    attribute_scores,
    encode_attributes,
    read_attributes,
)
from segan.train.networks.stylegan2.precision import fastest_precision

#: Added to the seed of the training faces to draw the held-out faces.
HELD_OUT = 1


class DrawnFaces(NamedTuple):
    """Faces with their attributes.

    Attributes:
        images: [N, R, R, 3] uint8.
        targets: [N, OUTPUTS], see ``encode_attributes``.
    """

    images: npt.NDArray[np.uint8]
    targets: npt.NDArray[np.float32]


def draw_set(resolution: int, seed: int, count: int) -> DrawnFaces:
    """Draw the first ``count`` faces of a set."""
    attributes = sample_attributes(seed, 0, count)
    return DrawnFaces(draw_faces(attributes, resolution), encode_attributes(attributes))


def as_tensor(images: npt.NDArray[np.uint8]) -> torch.Tensor:
    """uint8 [N, R, R, 3] → float32 [N, 3, R, R] in [-1, 1]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def shrink(faces: DrawnFaces, resolution: int) -> DrawnFaces:
    """Average faces down to a resolution, so that one set trains the networks of all resolutions.

    ``draw_faces`` averages before rounding to 8 bits, this function after it: values differ by at
    most 1.
    """
    n, size = faces.images.shape[:2]
    factor = size // resolution
    if factor == 1:
        return faces
    small = np.empty((n, resolution, resolution, 3), np.uint8)
    for start in range(0, n, 500):
        part = faces.images[start : start + 500]
        shape = (len(part), resolution, factor, resolution, factor, 3)
        mean = part.reshape(shape).mean((2, 4), dtype=np.float32)
        small[start : start + 500] = (mean + 0.5).astype(np.uint8)
    return DrawnFaces(small, faces.targets)


def degrade(images: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """Blur each image by a random amount and add noise, as generated images have both.

    Half of the images are mixed with their binomial 3 × 3 blur by a factor in [-0.2, 1] (negative
    sharpens), and half get noise with a standard deviation in [0, 0.08].
    """
    n = len(images)
    row = torch.tensor([0.25, 0.5, 0.25])
    kernel = (row[:, None] * row).expand(3, 1, 3, 3)
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    soft = F.conv2d(padded, kernel, groups=3)
    mix = torch.rand(n, 1, 1, 1, generator=random) * 1.2 - 0.2
    mix *= torch.rand(n, 1, 1, 1, generator=random) < 0.5
    sigma = torch.rand(n, 1, 1, 1, generator=random) * 0.08
    sigma *= torch.rand(n, 1, 1, 1, generator=random) < 0.5
    noise = torch.randn(images.shape, generator=random)
    return images + mix * (soft - images) + sigma * noise


def train_attribute_network(
    resolution: int,
    count: int,
    seed: int = 90001,
    *,
    epochs: float = 12.0,
    batch_size: int = 128,
    learning_rate: float = 0.004,
    faces: DrawnFaces | None = None,
    start: AttributeNetwork | None = None,
    report: Callable[[int, float], None] | None = None,
) -> AttributeNetwork:
    """Train a network with AdamW and a one-cycle schedule (Smith & Topin 2018).

    Activations are bfloat16 in channels-last order, which doubles the speed on processors that
    compute in bfloat16. Weights, their updates and the loss are float32.

    Args:
        resolution: of the network, 16, 32 or 64.
        count: training faces.
        seed: of the faces, the weights and the order.
        epochs: passes over the faces.
        batch_size: faces in a step.
        learning_rate: largest learning rate.
        faces: the training faces; None draws them from ``seed``.
        start: a trained network of another resolution to start from, which saves most of the
            training.
        report: called after each step with its number and loss.

    Returns:
        The network in evaluation mode.

    Raises:
        ConfigError: an unknown resolution, or fewer faces than a batch.
    """
    if count < batch_size:
        raise ConfigError(
            field="count", value=count, expected=f"{batch_size} or more, for at least one batch"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = AttributeNetwork(resolution)
    if start is not None:
        network.start_from(start)
    if faces is None:
        faces = draw_set(resolution, seed, count)
    targets = torch.from_numpy(faces.targets)
    random = torch.Generator().manual_seed(seed)
    steps = max(1, round(epochs * count / batch_size))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(
        network.parameters(), learning_rate, weight_decay=0.01, fused=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, learning_rate, total_steps=steps + 1, pct_start=0.2
    )
    reduced = fastest_precision(torch.device("cpu")) == "bf16"
    network.train()
    order = torch.empty(0, dtype=torch.long)
    for step in range(steps):
        if len(order) < batch_size:
            order = torch.randperm(count, generator=random)
        rows, order = order[:batch_size], order[batch_size:]
        images = degrade(as_tensor(faces.images[rows.numpy()]), random)
        with torch.autocast("cpu", torch.bfloat16, enabled=reduced):
            outputs = network(images.contiguous(memory_format=torch.channels_last))
        loss = attribute_loss(outputs.float(), targets[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if report is not None:
            report(step, float(loss.detach()))
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return network.eval().requires_grad_(False)


class HeldOutScores(NamedTuple):
    """R² or accuracy of each attribute on held-out faces.

    Attributes:
        clean: on the drawn faces.
        degraded: on the same faces after ``degrade``.
    """

    clean: dict[str, float]
    degraded: dict[str, float]


@torch.no_grad()
def finish(network: AttributeNetwork, held_out: DrawnFaces) -> HeldOutScores:
    """Score a network on held-out faces, and store the mean and covariance of their features in it.

    The weights are first rounded to half precision, so that the scores are those of the saved file.
    """
    for parameter in network.parameters():
        parameter.copy_(parameter.half().float())
    images = as_tensor(held_out.images)
    features = torch.cat([network.features(part) for part in images.split(250)]).double()
    network.reference_mean.copy_(features.mean(0))
    network.reference_covariance.copy_(torch.cov(features.T))
    random = torch.Generator().manual_seed(0)
    worse = torch.cat([degrade(part, random) for part in images.split(250)])
    return HeldOutScores(
        attribute_scores(read_attributes(network, images), held_out.targets),
        attribute_scores(read_attributes(network, worse), held_out.targets),
    )
