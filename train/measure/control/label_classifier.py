"""A classifier of a data set's labels: the estimator of separability for the user's images."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

from segan.runtime.errors import ConfigError, DataError
from segan.train.data.dataset import ImageDataset
from segan.train.measure.control.attribute_training import degrade
from segan.train.measure.control.attributes import (
    FEATURES,
    RESOLUTIONS,
    average_down,
    feature_layer,
    image_trunk,
)

#: Share of the images that are held out to score the classifier.
HELD_OUT_SHARE = 0.1
#: Fewest images of a class.
LEAST = 10


class LabelNetwork(nn.Module):
    """Images [N, 3, R, R] in [-1, 1] → logits [N, classes]. Larger images are averaged down."""

    def __init__(self, resolution: int, classes: int) -> None:
        super().__init__()
        self.resolution = resolution
        self.trunk, self.hidden = image_trunk(resolution), feature_layer()
        self.head = nn.Linear(FEATURES, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits. Raises: ConfigError, see ``average_down``."""
        fitting = average_down(images, self.resolution)
        logits: torch.Tensor = self.head(self.hidden(self.trunk(fitting)))
        return logits


class LabelClassifier(NamedTuple):
    """A trained classifier.

    Attributes:
        network: in evaluation mode.
        class_names: of its outputs.
        accuracy: on held-out images.
        chance: share of the most frequent class among the held-out images.
    """

    network: LabelNetwork
    class_names: tuple[str, ...]
    accuracy: float
    chance: float

    @torch.no_grad()
    def probabilities(self, images: torch.Tensor) -> npt.NDArray[np.float64]:
        """Return the class probabilities [N, classes] of images [N, 3, R, R] in [-1, 1]."""
        found: npt.NDArray[np.float64] = self.network(images).double().softmax(1).numpy()
        return found


def check_labels(dataset: ImageDataset) -> npt.NDArray[np.int64]:
    """Return the labels [n] of a data set that a classifier can be trained on.

    Raises:
        ConfigError: there are no labels, or the images are not RGB of 16² or more.
        DataError: there are fewer than two classes, or a class has too few images.
    """
    if dataset.labels is None:
        raise ConfigError(
            f"{dataset.name} has no labels, which separability needs",
            field="data",
            value=dataset.name,
            remedy='Give each image a class in dataset.json ({"labels": [["a.png", 0], ...]}), or '
            "measure with the built-in faces' attributes (separability10k).",
        )
    if dataset.img_channels != 3 or dataset.resolution < RESOLUTIONS[0]:
        size = dataset.resolution
        raise ConfigError(
            f"{dataset.name} has images of {size} x {size} with {dataset.img_channels} channels",
            field="data",
            value=dataset.name,
            expected=f"RGB of {RESOLUTIONS[0]} x {RESOLUTIONS[0]} or more",
        )
    counts = np.bincount(dataset.labels, minlength=len(dataset.class_names))
    if len(counts) < 2 or counts.min() < LEAST:
        rare = int(counts.argmin())
        raise DataError(
            f"{dataset.name} has {len(counts)} classes, and {int(counts[rare])} images of "
            f"{dataset.class_names[rare]!r}",
            field="data",
            value=dataset.name,
            expected=f"2 or more classes of {LEAST} or more images",
        )
    return dataset.labels


def train_label_classifier(
    dataset: ImageDataset,
    *,
    steps: int = 600,
    batch_size: int = 64,
    seed: int = 0,
    report: Callable[[int, float], None] | None = None,
) -> LabelClassifier:
    """Train a classifier on a labelled data set, whose images are degraded; see ``degrade``.

    Args:
        dataset: RGB, with labels.
        steps: of AdamW, with a one-cycle schedule.
        batch_size: images in a step.
        seed: of the weights, the order, and the choice of held-out images.
        report: called after each step with its number and loss.

    Raises:
        ConfigError: no labels, or images that cannot be used.
        DataError: too few classes or images.
    """
    labels = torch.from_numpy(check_labels(dataset))
    resolution = max(known for known in RESOLUTIONS if known <= dataset.resolution)
    order = np.random.RandomState(seed).permutation(len(labels))
    held = max(1, round(HELD_OUT_SHARE * len(order)))
    held_out, rows = torch.from_numpy(order[:held]), torch.from_numpy(order[held:])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = LabelNetwork(resolution, len(dataset.class_names))
    random = torch.Generator().manual_seed(seed)
    rate = 0.002
    optimizer = torch.optim.AdamW(network.parameters(), rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps + 1)
    network.train()
    for step in range(steps):
        chosen = rows[torch.randint(len(rows), (batch_size,), generator=random)]
        images = degrade(_images(dataset, chosen), random)
        loss = F.cross_entropy(network(images), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if report is not None:
            report(step, float(loss.detach()))
    network.eval().requires_grad_(False)
    guesses = torch.cat([network(_images(dataset, part)).argmax(1) for part in held_out.split(250)])
    accuracy = float((guesses == labels[held_out]).double().mean())
    chance = float(torch.bincount(labels[held_out]).max()) / held
    return LabelClassifier(network, dataset.class_names, accuracy, chance)


def _images(dataset: ImageDataset, rows: torch.Tensor) -> torch.Tensor:
    """float32 [N, 3, R, R] in [-1, 1]."""
    return torch.from_numpy(dataset.images[rows.numpy()]).float().div_(127.5).sub_(1)
