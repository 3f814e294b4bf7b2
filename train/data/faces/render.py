"""Sets of the built-in faces, drawn into a training zip or into memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from segan.runtime.bundle.layout import check_resolution
from segan.runtime.commands import command
from segan.runtime.errors import ConfigError, DataError
from segan.train.data.dataset import ImageDataset, build_dataset
from segan.train.data.decoded_cache import free_memory
from segan.train.data.faces.attributes import FACE_ATTRIBUTES, label_names, sample_attributes
from segan.train.data.faces.draw import draw_faces
from segan.train.data.training_zip import encode_png, write_training_zip

#: Pixels of the images that are held at once while a zip is written.
_BATCH_PIXELS = 1 << 20
#: Most faces in one set: the layout's image names have eight digits.
MAX_COUNT = 10**8 - 1


def render_faces(
    path: str | os.PathLike[str],
    *,
    count: int = 20_000,
    resolution: int = 64,
    seed: int = 0,
    labels: str | None = None,
    on_progress: Callable[[int], object] = lambda n: None,
) -> None:
    """Draw faces 0 to count - 1 of a seed into a training zip.

    dataset.json holds every value that was drawn: ``attributes`` = {"seed", "schema": [{name,
    kind, low, high or values, description}], "values": {name: [one for each image]}}. The same
    arguments give the same bytes.

    Args:
        path: of the zip; an existing file is replaced.
        count: how many, 1 or more.
        resolution: height and width in pixels, a power of two from 8 to 1024.
        seed: of the set, 0 to 2**32 - 1.
        labels: a categorical attribute whose values label the faces, such as ``glasses``; None
            for a set without labels.
        on_progress: called with the number of faces added since the last call.

    Raises:
        ConfigError: an argument is out of its range.
        OutputError: the zip cannot be written.
    """
    _check(count, resolution)
    class_names = None if labels is None else label_names(labels)
    values: dict[str, list[Any]] = {attribute.name: [] for attribute in FACE_ATTRIBUTES}
    sample_attributes(seed, 0, 0)  # refuses a bad seed before a folder is made
    step = max(1, _BATCH_PIXELS // resolution**2)
    # Pillow compresses outside the interpreter's lock, so threads share the work.
    with ThreadPoolExecutor(max_workers=4) as pool, write_training_zip(path) as writer:
        for start in range(0, count, step):
            part = sample_attributes(seed, start, min(step, count - start))
            for name, column in part.items():
                values[name] += column.tolist()
            images = draw_faces(part, resolution)
            classes = [None] * len(images) if labels is None else part[labels].tolist()
            for png, label in zip(pool.map(encode_png, images), classes, strict=True):
                writer.add(png, label)
            on_progress(len(images))
        schema = [attribute.to_json() for attribute in FACE_ATTRIBUTES]
        writer.describe(
            class_names=class_names,
            attributes={"seed": seed, "schema": schema, "values": values},
        )


def faces_dataset(
    count: int = 20_000,
    resolution: int = 64,
    seed: int = 0,
    *,
    labels: str | None = None,
    on_progress: Callable[[int], object] = lambda n: None,
) -> ImageDataset:
    """Draw the same faces as ``render_faces`` into memory, with the same fingerprint.

    Raises:
        ConfigError: an argument is out of its range.
        DataError: they do not fit into memory.
    """
    _check(count, resolution)
    class_names = () if labels is None else label_names(labels)
    size, free = count * 3 * resolution**2, free_memory()
    if free is not None and size > free:
        raise DataError(
            f"{count} faces of {resolution}² need {size / 2**30:.1f} GiB of memory",
            field="count",
            value=count,
            expected=f"at most the {free / 2**30:.1f} GiB that are free",
            remedy="Train with `data faces.zip` after: "
            + command("data", "render", "faces.zip", "--count", count, "--resolution", resolution),
        )
    sample_attributes(seed, 0, 0)
    classes = None if labels is None else np.empty(count, np.int64)
    images = np.empty((count, 3, resolution, resolution), np.uint8)
    step = max(1, _BATCH_PIXELS // resolution**2)
    for start in range(0, count, step):
        part = sample_attributes(seed, start, min(step, count - start))
        drawn = draw_faces(part, resolution)
        images[start : start + step] = drawn.transpose(0, 3, 1, 2)
        if classes is not None and labels is not None:
            classes[start : start + step] = part[labels]
        on_progress(len(drawn))
    return build_dataset("faces", images, classes, class_names)


def _check(count: int, resolution: int) -> None:
    check_resolution(resolution)
    if not 1 <= count <= MAX_COUNT:
        raise ConfigError(field="count", value=count, expected=f"1 to {MAX_COUNT}")
