"""Conversion of a folder, zip or LMDB of images to a training zip, in constant memory."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import os
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import PurePosixPath
from typing import Any, Literal

import numpy as np
from PIL import ImageColor

from segan.runtime.bundle.layout import check_resolution
from segan.runtime.errors import ConfigError, DataError
from segan.train.data.dataset import class_counts, quiet_decoding, read_labels, read_metadata
from segan.train.data.prepare import CROPS, Crop, is_grey, prepare_image
from segan.train.data.sources import ImageSource, open_source
from segan.train.data.training_zip import encode_png, write_training_zip

OnBad = Literal["fail", "skip"]
Labels = Literal["auto", "folders", "none"]
Channels = Literal["auto", "1", "3", "4"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConvertResult:
    """A training zip that was written.

    Attributes:
        count: images in the zip.
        resolution: their height and width.
        img_channels: 1, 3 or 4.
        class_names: one for each class; empty without labels.
        class_counts: images of each class in the zip, by its name; empty without labels.
        unused_folders: sub-folders that hold all images but are not classes, since their names are
            plain numbers, which usually only split a large set.
        skipped: (name, reason) of every image that was left out.
    """

    count: int
    resolution: int
    img_channels: int
    class_names: tuple[str, ...]
    class_counts: dict[str, int]
    unused_folders: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]


def convert_images(
    source_path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    resolution: int = 64,
    crop: Crop = "center",
    on_bad: OnBad = "fail",
    labels: Labels = "auto",
    channels: Channels = "auto",
    background: str = "white",
    on_start: Callable[[int], object] = lambda total: None,
    on_progress: Callable[[int], object] = lambda n: None,
) -> ConvertResult:
    """Convert images to a training zip, in the natural order of their names.

    Args:
        source_path: a folder (with sub-folders), zip or LMDB environment.
        out: the zip; an existing file is replaced.
        resolution: height and width, a power of two from 8 to 1024.
        crop: ``center`` takes the largest centred square, ``fit`` pads to a square with the
            background, ``none`` expects square images.
        on_bad: ``fail`` stops at a damaged or unfit image, ``skip`` leaves it out.
        labels: ``folders`` takes the first sub-folder's name as the class, ``none`` drops labels,
            ``auto`` takes those of dataset.json, or else sub-folders when all images lie in two or
            more and these are not plain numbers.
        channels: ``1`` grey, ``3`` RGB, ``4`` RGBA; ``auto`` is grey if all images are, else RGB.
        background: a colour name or #rrggbb that shows through transparent pixels.
        on_start: called once, with the number of images.
        on_progress: called with the number of images converted since the last call.

    Raises:
        ConfigError: an argument is out of its range.
        DataError: the source, its labels, or with ``fail`` an image cannot be used.
        OutputError: the zip cannot be written.
    """
    check_resolution(resolution)
    _check_choice("crop", crop, CROPS)
    _check_choice("on_bad", on_bad, ("fail", "skip"))
    _check_choice("labels", labels, ("auto", "folders", "none"))
    _check_choice("channels", channels, ("auto", "1", "3", "4"))
    color = _parse_color(background)
    with quiet_decoding(), open_source(source_path) as source:
        classes, class_names = _choose_labels(source, labels)
        unused = _number_folders(source) if labels == "auto" and classes is None else ()
        count = _count_channels(source) if channels == "auto" else int(channels)
        prepare = functools.partial(
            _encode, resolution=resolution, crop=crop, channels=count, background=color
        )
        on_start(len(source.names))
        skipped: list[tuple[str, str]] = []
        kept: list[int] = []
        with (
            contextlib.closing(_prepare_all(source, prepare)) as results,
            write_training_zip(out) as writer,
        ):
            for position, result in enumerate(results):
                on_progress(1)
                if isinstance(result, DataError):
                    if on_bad == "fail":
                        skip = "Pass `on_bad skip` to leave such images out."
                        result.remedy = f"{result.remedy} {skip}".strip()
                        raise result
                    skipped.append((source.names[position], str(result)))
                    continue
                writer.add(result, None if classes is None else classes[position])
                kept.append(position)
            if not kept:
                raise DataError(
                    f"none of the {len(skipped)} images of {source_path} can be used; the first: "
                    f"{skipped[0][1]}",
                    field="source_path",
                    value=source_path,
                )
            writer.describe(
                class_names=class_names or None, attributes=_carry_attributes(source, kept)
            )
    return ConvertResult(
        count=len(kept),
        resolution=resolution,
        img_channels=count,
        class_names=class_names,
        class_counts={}
        if classes is None
        else class_counts([classes[position] for position in kept], class_names),
        unused_folders=unused,
        skipped=tuple(skipped),
    )


def _check_choice(name: str, given: str, allowed: Sequence[str]) -> None:
    if given not in allowed:
        raise ConfigError(field=name, value=given, expected=f"one of {', '.join(allowed)}")


def _parse_color(background: str) -> tuple[int, int, int]:
    try:
        return ImageColor.getrgb(background)[:3]
    except ValueError as error:
        expected = "a colour such as white or #ff8800"
        raise ConfigError(field="background", value=background, expected=expected) from error


def _encode(data: bytes, where: str, **how: Any) -> bytes:
    image = prepare_image(data, where, **how)
    pixels = np.asarray(image)
    return encode_png(pixels[:, :, None] if pixels.ndim == 2 else pixels)


def _prepare_all(
    source: ImageSource, prepare: Callable[[bytes, str], bytes]
) -> Generator[bytes | DataError, None, None]:
    """Yield the encoded images in the order of the names; threads compute a few in advance.

    Pillow releases the interpreter's lock. Reading stays in this thread, since threads must not
    share an LMDB transaction.
    """
    workers = min(os.cpu_count() or 1, 8)
    with ThreadPoolExecutor(workers) as pool:
        ahead: collections.deque[Future[bytes] | DataError] = collections.deque()
        try:
            for name in source.names:
                try:
                    data = source.read(name)
                except DataError as error:
                    ahead.append(error)
                else:
                    ahead.append(pool.submit(prepare, data, f"{name} in {source.path}"))
                if len(ahead) > 2 * workers:
                    yield _outcome(ahead.popleft())
            while ahead:
                yield _outcome(ahead.popleft())
        finally:
            pool.shutdown(cancel_futures=True)


def _outcome(result: Future[bytes] | DataError) -> bytes | DataError:
    if isinstance(result, DataError):
        return result
    try:
        return result.result()
    except DataError as error:
        return error


def _count_channels(source: ImageSource) -> int:
    """Return 1 when every readable image is grey, else 3; stop at the first image in colour."""
    found = False
    for name in source.names:
        try:
            grey = is_grey(source.read(name), name)
        except DataError:
            continue  # reported when it is converted
        found = True
        if not grey:
            return 3
    return 1 if found else 3


def _choose_labels(source: ImageSource, labels: Labels) -> tuple[list[int] | None, tuple[str, ...]]:
    """A class for each image of ``source.names``, or None; and the names of the classes."""
    if labels == "none":
        return None, ()
    if labels == "auto":
        if source.metadata() is not None:
            given, class_names = read_labels(source, source.names)
            return (None, ()) if given is None else (given.tolist(), class_names)
        folders = _folders(source.names)
        plain = all(folder is not None and not folder.isdecimal() for folder in folders)
        if not plain or len(set(folders)) < 2:
            return None, ()
    folders = _folders(source.names)
    for folder, name in zip(folders, source.names, strict=True):
        if folder is None:
            raise DataError(
                f"{name} in {source.path} is not in a sub-folder",
                field="source_path",
                value=source.path,
                expected="every image in the folder of its class",
                remedy="Pass `labels none` to convert without labels.",
            )
    class_names = tuple(sorted({folder for folder in folders if folder is not None}))
    numbers = {name: number for number, name in enumerate(class_names)}
    return [numbers[folder] for folder in folders if folder is not None], class_names


def _number_folders(source: ImageSource) -> tuple[str, ...]:
    """The sub-folders of all images, when there are two or more and all are plain numbers."""
    if source.metadata() is not None:
        return ()
    folders = _folders(source.names)
    found = {folder for folder in folders if folder is not None and folder.isdecimal()}
    return tuple(sorted(found)) if len(found) > 1 and set(folders) == found else ()


def _folders(names: Sequence[str]) -> list[str | None]:
    """The top folder of each image, below the folders that all images share."""
    parents = [PurePosixPath(name).parts[:-1] for name in names]
    shared = 0
    for level in zip(*parents, strict=False):
        if len(set(level)) > 1:
            break
        shared += 1
    if shared and all(len(parts) == shared for parts in parents):
        shared -= 1  # all lie in the same folder
    return [parts[shared] if len(parts) > shared else None for parts in parents]


def _carry_attributes(source: ImageSource, kept: Sequence[int]) -> dict[str, Any] | None:
    """The known attributes of the images that were kept, where the source has them."""
    attributes = read_metadata(source).get("attributes") if source.metadata() else None
    values = attributes.get("values") if isinstance(attributes, dict) else None
    if not isinstance(attributes, dict) or not isinstance(values, dict):
        return None
    lists = [value for value in values.values() if isinstance(value, list)]
    if len(lists) != len(values) or any(len(value) != len(source.names) for value in lists):
        return None
    columns = {name: [value[position] for position in kept] for name, value in values.items()}
    return {**attributes, "values": columns}
