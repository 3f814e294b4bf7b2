"""Images to train on: a training zip, or a folder or zip of images of one size and mode."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from segan.runtime.bundle.layout import check_resolution
from segan.runtime.commands import command
from segan.runtime.errors import ConfigError, DataError
from segan.runtime.pictures.colour import ProfileError, srgb_conversion
from segan.runtime.pictures.decode import load_picture, open_picture, quiet_decoding
from segan.train.data.decoded_cache import (
    DataCache,
    belongs_on_disk,
    cached_images,
    check_data_cache,
    encoded_key,
    pixels_digest,
)
from segan.train.data.labels import attribute_names, class_counts, read_labels, read_metadata
from segan.train.data.open_source import open_source
from segan.train.data.sources import ImageSource, PassedOver, linked_out
from segan.train.data.training_zip import MODES

_CHANNELS = {mode: channels for channels, mode in MODES.items()}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageDataset:
    """Images in memory or in a memory map.

    Attributes:
        name: of the file or folder, without its ending.
        resolution: height and width, in pixels: a power of two from 8 to 1024.
        img_channels: 1 (L), 2 (LA), 3 (RGB) or 4 (RGBA).
        images: [n, C, H, W] uint8, in the order of their names.
        labels: [n] int64 classes from 0, or None.
        class_names: one for each class; empty without labels.
        fingerprint: SHA-256 of images and labels as 64 hexadecimal digits.
        passed_over: files of the source that are not images to read, by kind.
    """

    name: str
    resolution: int
    img_channels: int
    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64] | None
    class_names: tuple[str, ...]
    fingerprint: str
    passed_over: tuple[PassedOver, ...] = ()

    def __len__(self) -> int:
        return len(self.images)


def build_dataset(
    name: str,
    images: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.int64] | None = None,
    class_names: tuple[str, ...] = (),
) -> ImageDataset:
    """Make a data set of decoded images [n, C, H, W] uint8 and compute its fingerprint."""
    digest = pixels_digest(images)
    if labels is not None:
        digest.update(np.ascontiguousarray(labels, "<i8").data)
    return ImageDataset(
        name=name,
        resolution=images.shape[2],
        img_channels=images.shape[1],
        images=images,
        labels=labels,
        class_names=class_names,
        fingerprint=digest.hexdigest(),
    )


def open_dataset(path: str | os.PathLike[str], *, cache: str = "auto") -> ImageDataset:
    """Read and decode all images and labels.

    Args:
        path: a training zip or a folder in its layout (see ``training_zip``), or any zip, folder
            or LMDB whose images all have one square power-of-two size and one mode.
        cache: where the decoded images are kept: in ``memory``; on the ``disk``, in the user's
            cache (see ``decoded_cache``); with ``auto`` on the disk when they are larger than half
            of the free memory.

    Raises:
        DataError: an image is missing, empty, damaged, or of another size or mode, or the labels
            do not fit. The message names the image.
        ConfigError: an unknown ``cache``.
        OutputError: the cache cannot be written, or has no room.
    """
    where = check_data_cache(cache)
    with quiet_decoding(), open_source(path) as source:
        if source.refused:
            raise linked_out(source)
        names = sorted(source.names)  # the order of StyleGAN2-ADA's reader
        resolution, mode = _read_first(source, names[0])
        channels = _CHANNELS[mode]
        labels, class_names = read_labels(source, names)
        shape = (len(names), channels, resolution, resolution)

        def decoded() -> Iterator[npt.NDArray[np.uint8]]:
            for name in names:
                image = _decode(source, name, resolution, mode)
                pixels = np.asarray(image).reshape(resolution, resolution, channels)
                yield pixels.transpose(2, 0, 1)

        images = _keep(source, names, shape, decoded, where)
        dataset = build_dataset(Path(path).stem, images, labels, class_names)
        return dataclasses.replace(dataset, passed_over=tuple(source.passed_over))


def _keep(
    source: ImageSource,
    names: list[str],
    shape: tuple[int, int, int, int],
    decoded: Callable[[], Iterator[npt.NDArray[np.uint8]]],
    where: DataCache,
) -> npt.NDArray[np.uint8]:
    """All images [n, C, R, R], in memory or as a memory map."""
    size = int(np.prod(shape, dtype=np.int64))
    if belongs_on_disk(size, where):
        key = encoded_key((name, source.read(name)) for name in names)
        return cached_images(key, shape, decoded)
    try:
        images = np.empty(shape, np.uint8)
    except MemoryError as error:
        raise DataError(
            f"{source.path} needs {size / 2**30:.1f} GiB of memory",
            field="path",
            value=source.path,
            remedy="Keep it on the disk (`cache disk`), or convert it to a smaller resolution "
            "with 'segan data convert'.",
        ) from error
    for position, pixels in enumerate(decoded()):
        images[position] = pixels
    return images


def describe_dataset(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Describe a data set by its names, labels and first image.

    Returns:
        ``name``, ``count``, ``resolution``, ``img_channels``, ``num_classes`` (0 without labels),
        ``class_names``, ``class_counts`` (images of each class, by name), ``attributes`` (names of
        known attributes) and ``passed_over`` (number of other files, by kind).

    Raises:
        DataError: as ``open_dataset``.
    """
    with quiet_decoding(), open_source(path) as source:
        names = sorted(source.names)
        resolution, mode = _read_first(source, names[0])
        labels, class_names = read_labels(source, names)
        return {
            "name": Path(path).stem,
            "count": len(names),
            "resolution": resolution,
            "img_channels": _CHANNELS[mode],
            "num_classes": len(class_names),
            "class_names": list(class_names),
            "class_counts": class_counts(labels, class_names),
            "attributes": attribute_names(read_metadata(source)),
            "passed_over": {kind.kind: kind.count for kind in source.passed_over},
        }


def _decode(source: ImageSource, name: str, resolution: int, mode: str) -> Image.Image:
    """An image of the set, in sRGB."""
    where = f"{name} in {source.path}"
    image = open_picture(source.read(name), where)
    if image.size != (resolution, resolution) or image.mode != mode:
        raise DataError(
            f"{where} is {image.width} x {image.height} {image.mode}",
            field="path",
            value=source.path,
            expected=f"{resolution} x {resolution} {mode}, as the first image",
            remedy=convert_hint(source.path, min(resolution, *image.size)),
        )
    load_picture(image, where)
    try:
        to_srgb = srgb_conversion(image)
    except ProfileError:
        return image
    return image if to_srgb is None else to_srgb(image)


def convert_hint(path: Path, side: int) -> str:
    """Return the command that makes a training zip of ``path``, in the current folder.

    Args:
        path: of the images.
        side: in pixels, of the smallest image that is known; the resolution is the power of two
            below it.
    """
    resolution = max(8, min(1024, 1 << (side.bit_length() - 1)))
    name = path.resolve().name.removesuffix(path.suffix) or "images"
    out = Path(f"{name}-{resolution}.zip")
    return f"Run: {command('data', 'convert', path, out, '--resolution', resolution)}"


def _read_first(source: ImageSource, name: str) -> tuple[int, str]:
    """Resolution and mode that all images must have."""
    path = source.path
    image = open_picture(source.read(name), f"{name} in {path}")

    def refuse(problem: str, expected: str) -> DataError:
        return DataError(
            f"{name} in {path} {problem}",
            field="path",
            value=path,
            expected=expected,
            remedy=convert_hint(path, min(image.size)),
        )

    size = f"is {image.width} x {image.height}"
    if image.width != image.height:
        raise refuse(size, "square images")
    try:
        check_resolution(image.width)
    except ConfigError as error:
        raise refuse(size, error.expected) from error
    if image.mode not in _CHANNELS:
        raise refuse(f"has mode {image.mode}", "L, LA, RGB or RGBA")
    return image.width, image.mode
