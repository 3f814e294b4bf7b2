"""The classifier of a data set's own labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from segan.runtime.errors import ConfigError, DataError
from segan.train.data.dataset import ImageDataset, build_dataset
from segan.train.measure.control.attribute_training import as_tensor
from segan.train.measure.control.label_classifier import check_labels, train_label_classifier


def shades(count: int = 200, resolution: int = 16) -> ImageDataset:
    """Dark, green and bright images with some noise."""
    random = np.random.RandomState(0)
    labels = np.arange(count) % 3
    middle = np.array([[40, 40, 40], [60, 200, 60], [220, 220, 220]])[labels]
    images = middle[:, :, None, None] + random.randint(-30, 31, (count, 3, resolution, resolution))
    names = ("dark", "green", "bright")
    return build_dataset("shades", images.astype(np.uint8), labels, names)


def test_classes_are_learned_and_seen_in_other_images() -> None:
    seen = []

    def report(step: int, loss: float) -> None:
        seen.append(loss)

    found = train_label_classifier(shades(), steps=25, batch_size=16, report=report)
    assert found.accuracy >= 0.9
    assert found.chance < 0.6
    assert len(seen) == 25
    green = np.zeros((2, 32, 32, 3), np.uint8)  # larger images are averaged down
    green[..., 1] = 200
    chances = found.probabilities(as_tensor(green))
    np.testing.assert_allclose(chances.sum(1), 1, rtol=1e-6)
    assert found.class_names[chances[0].argmax()] == "green"


def test_data_without_labels_is_refused_with_the_way_out(raises_error: Callable[..., Any]) -> None:
    bare = dataclasses.replace(shades(30), labels=None, class_names=())
    with raises_error(ConfigError, field="data", value="shades", remedy="dataset.json"):
        train_label_classifier(bare)


def test_data_that_cannot_be_used_is_refused(raises_error: Callable[..., Any]) -> None:
    with raises_error(DataError, field="data", problem="6 images of 'dark'"):
        check_labels(shades(18))
    with raises_error(
        ConfigError, field="data", problem="8 x 8", expected="RGB of 16 x 16 or more"
    ):
        check_labels(shades(60, 8))
    grey = dataclasses.replace(shades(60), img_channels=1)
    with raises_error(ConfigError, field="data", problem="1 channels"):
        check_labels(grey)
