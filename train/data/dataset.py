"""Images to train on: a training zip, or a folder or zip of images of one size and mode."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import re
import struct
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from segan.runtime.bundle.layout import check_resolution
from segan.runtime.commands import command
from segan.runtime.errors import ConfigError, DataError
from segan.train.data.decoded_cache import (
    DataCache,
    belongs_on_disk,
    cached_images,
    check_data_cache,
    encoded_key,
    pixels_digest,
)
from segan.train.data.sources import ImageSource, open_source
from segan.train.data.training_zip import MODES

#: Pixels of the largest image that is decoded: Pillow's own limit for a decompression bomb.
MAX_PIXELS = 178_956_970
#: More classes than this are taken for an error in the labels.
MAX_CLASSES = 1 << 16

_CHANNELS = {mode: channels for channels, mode in MODES.items()}
#: What Pillow's readers raise on broken input.
DECODING_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    EOFError,
    AttributeError,
    RuntimeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


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
    """

    name: str
    resolution: int
    img_channels: int
    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64] | None
    class_names: tuple[str, ...]
    fingerprint: str

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
        names = sorted(source.names)  # the order of StyleGAN2-ADA's reader
        first = _decode(source, names[0])
        resolution, mode = _check_first(source.path, names[0], first)
        channels = _CHANNELS[mode]
        labels, class_names = read_labels(source, names)
        shape = (len(names), channels, resolution, resolution)

        def decoded() -> Iterator[npt.NDArray[np.uint8]]:
            for position, name in enumerate(names):
                image = first if position == 0 else _decode(source, name, (resolution, mode))
                pixels = np.asarray(image).reshape(resolution, resolution, channels)
                yield pixels.transpose(2, 0, 1)

        images = _keep(source, names, shape, decoded, where)
        return build_dataset(Path(path).stem, images, labels, class_names)


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
        ``class_names``, ``class_counts`` (images of each class, by name) and ``attributes``
        (names of known attributes).

    Raises:
        DataError: as ``open_dataset``.
    """
    with quiet_decoding(), open_source(path) as source:
        names = sorted(source.names)
        resolution, mode = _check_first(source.path, names[0], _decode(source, names[0]))
        labels, class_names = read_labels(source, names)
        return {
            "name": Path(path).stem,
            "count": len(names),
            "resolution": resolution,
            "img_channels": _CHANNELS[mode],
            "num_classes": len(class_names),
            "class_names": list(class_names),
            "class_counts": class_counts(labels, class_names),
            "attributes": _attribute_names(read_metadata(source)),
        }


def decode_image(data: bytes, where: str) -> Image.Image:
    """Decode the first frame of an encoded image.

    Args:
        data: the file's bytes.
        where: its name, for messages.

    Raises:
        DataError: it is not an image, is damaged, or has more than MAX_PIXELS pixels.
    """
    if not data:
        raise DataError(f"{where} is empty", expected="an image")
    try:
        image = Image.open(io.BytesIO(data))
        if image.width * image.height > MAX_PIXELS:
            raise Image.DecompressionBombError
        image.load()
    except Image.DecompressionBombError as error:
        raise DataError(
            f"{where} has too many pixels",
            expected=f"at most {MAX_PIXELS:,}",
            remedy="Reduce or remove it.",
        ) from error
    except DECODING_ERRORS as error:
        raise DataError(f"{where} is not a whole image ({_first_line(error)})") from error
    return image


def _first_line(error: Exception) -> str:
    # Pillow names the in-memory file, which means nothing to a user.
    text = str(error).partition("\n")[0]
    return re.sub(r" ?<_io.BytesIO object at \w+>", "", text) or type(error).__name__


@contextlib.contextmanager
def quiet_decoding() -> Iterator[None]:
    """Silence Pillow's warnings: the pixels are good even where the metadata is damaged."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _decode(source: ImageSource, name: str, expected: tuple[int, str] | None = None) -> Image.Image:
    image = decode_image(source.read(name), f"{name} in {source.path}")
    if expected is not None:
        resolution, mode = expected
        if image.size != (resolution, resolution) or image.mode != mode:
            raise DataError(
                f"{name} in {source.path} is {image.width} x {image.height} {image.mode}",
                field="path",
                value=source.path,
                expected=f"{resolution} x {resolution} {mode}, as the first image",
                remedy=convert_hint(source.path, min(resolution, *image.size)),
            )
    return image


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


def _check_first(path: Path, name: str, image: Image.Image) -> tuple[int, str]:
    """Resolution and mode that all images must have."""

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


def read_metadata(source: ImageSource) -> Mapping[str, Any]:
    """Return the object in the source's dataset.json; empty without one. Raises: DataError."""
    data = source.metadata()
    if data is None:
        return {}
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _broken(
            source, f"is not JSON: {error}", remedy="Create the data set again."
        ) from error
    if not isinstance(content, dict):
        raise _broken(source, "contains no object", "{'labels': ...}")
    return content


def _broken(source: ImageSource, problem: str, expected: str = "", remedy: str = "") -> DataError:
    """What is wrong with the source's dataset.json."""
    return DataError(
        f"dataset.json in {source.path} {problem}",
        field="path",
        value=source.path,
        expected=expected,
        remedy=remedy,
    )


def _attribute_names(metadata: Mapping[str, Any]) -> list[str]:
    attributes = metadata.get("attributes")
    schema = attributes.get("schema") if isinstance(attributes, dict) else None
    entries = schema if isinstance(schema, list) else []
    return [str(entry["name"]) for entry in entries if isinstance(entry, dict) and "name" in entry]


def class_counts(
    labels: Sequence[int] | npt.NDArray[np.int64] | None, class_names: Sequence[str]
) -> dict[str, int]:
    """Return the number of images of each class by its name; empty without labels."""
    if labels is None:
        return {}
    counts = np.bincount(np.asarray(labels, np.int64), minlength=len(class_names))
    return {name: int(count) for name, count in zip(class_names, counts, strict=True)}


def read_labels(
    source: ImageSource, names: list[str]
) -> tuple[npt.NDArray[np.int64] | None, tuple[str, ...]]:
    """Return the labels of the named images, and the class names, from dataset.json.

    Returns:
        [n] int64 in the order of ``names``, or None without labels; and one name for each class.

    Raises:
        DataError: dataset.json is broken, labels missing images, leaves images without a label,
            holds a label out of range, or gives two classes one name.
    """
    metadata = read_metadata(source)
    pairs, given_names = metadata.get("labels"), metadata.get("class_names")
    if pairs is None:
        return None, ()
    by_name = _labels_by_name(source, pairs)
    absent = sorted(set(by_name) - set(names))
    if absent:
        problem = f"labels {len(absent)} images that do not exist, such as {absent[0]}"
        raise _broken(source, problem, remedy="Create the data set again.")
    missing = [name for name in names if name not in by_name]
    if missing:
        raise _broken(
            source,
            f"has no label for {len(missing)} of {len(names)} images, such as {missing[0]}",
            "a label for each, or labels null",
        )
    labels = np.array([by_name[name] for name in names], np.int64)
    if given_names is None:
        class_names = tuple(str(number) for number in range(int(labels.max()) + 1))
    elif isinstance(given_names, list) and all(isinstance(name, str) for name in given_names):
        class_names = tuple(given_names)
    else:
        raise _broken(source, "has broken class_names", "a list of names")
    twice = [name for name, count in Counter(class_names).items() if count > 1]
    if twice:
        raise _broken(
            source,
            f"names {class_names.count(twice[0])} classes {twice[0]!r}",
            "a different name for each",
            "Rename them there.",
        )
    if labels.max() >= len(class_names):
        expected = f"0 to {len(class_names) - 1}, for {len(class_names)} class names"
        raise _broken(source, f"holds label {labels.max()}", expected)
    return labels, class_names


def _labels_by_name(source: ImageSource, pairs: Any) -> dict[str, int]:
    if not isinstance(pairs, list):
        raise _broken(source, "has broken labels", "a list of [name, class] or null")
    by_name: dict[str, int] = {}
    for pair in pairs:
        match pair:
            case [str(name), int(label)] if not isinstance(label, bool):
                if not 0 <= label < MAX_CLASSES:
                    expected = f"0 to {MAX_CLASSES - 1}"
                    raise _broken(source, f"gives {name} the label {label}", expected)
                name = name.replace("\\", "/")
                if by_name.setdefault(name, label) != label:
                    raise _broken(source, f"gives {name} two labels", "one")
            case _:
                raise _broken(
                    source,
                    f"holds the label {str(pair)[:80]}",
                    "[name, class] with a whole number from 0",
                )
    return by_name
