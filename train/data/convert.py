"""Conversion of a folder, zip or LMDB of images to a training zip, in constant memory."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import os
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from PIL import ImageColor

from segan.runtime.bundle.layout import check_resolution
from segan.runtime.errors import ConfigError, DataError, OutputError
from segan.runtime.files.target import check_not_source
from segan.runtime.pictures.decode import MAX_PIXELS, open_picture, quiet_decoding
from segan.train.data.class_labels import Labels, choose_labels
from segan.train.data.labels import carried_attributes, class_counts, read_metadata
from segan.train.data.open_source import open_source
from segan.train.data.prepare import CROPS, Crop, Note, is_grey, prepare_picture
from segan.train.data.sources import ImageSource, PassedOver, linked_out
from segan.train.data.training_zip import encode_png, write_training_zip

OnBad = Literal["auto", "skip", "fail"]
Channels = Literal["auto", "1", "3", "4"]

#: Bytes of all pictures that are in work: two copies of the largest, of four bytes a pixel.
_BYTES_IN_WORK: Final = 8 * MAX_PIXELS


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConvertResult:
    """A training zip that was written.

    Attributes:
        count: images in the zip.
        resolution: their height and width.
        img_channels: 1, 3 or 4.
        class_names: one for each class; empty without labels.
        class_counts: images of each class in the zip, by its name; empty without labels.
        label_note: why there are no labels, or where they do not come from, a sentence; may be
            empty.
        skipped: (name, reason) of every image that was left out.
        passed_over: files that are not images to read, by kind.
        notes: images of which only the first frame is used, or whose colour profile was ignored.
    """

    count: int
    resolution: int
    img_channels: int
    class_names: tuple[str, ...]
    class_counts: dict[str, int]
    label_note: str
    skipped: tuple[tuple[str, str], ...]
    passed_over: tuple[PassedOver, ...]
    notes: dict[Note, int]


def convert_images(
    source_path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    resolution: int = 64,
    crop: Crop = "center",
    on_bad: OnBad = "auto",
    labels: Labels = "auto",
    channels: Channels = "auto",
    background: str = "white",
    on_start: Callable[[int], object] = lambda total: None,
    on_progress: Callable[[int], object] = lambda n: None,
) -> ConvertResult:
    """Convert images to a training zip, in the natural order of their names.

    Args:
        source_path: a folder (with sub-folders), zip or LMDB environment.
        out: the zip; an existing file is replaced. It is not the source, and not inside it.
        resolution: height and width, a power of two from 8 to 1024.
        crop: ``center`` takes the largest centred square, ``fit`` pads to a square with the
            background, ``none`` expects square images.
        on_bad: ``auto`` leaves damaged and unfit images out, and fails if they are more than half;
            ``skip`` leaves out any number; ``fail`` stops at the first.
        labels: ``folders`` takes the first sub-folder's name as the class, ``none`` drops labels,
            ``auto`` takes those of dataset.json, or else sub-folders when all images lie in two or
            more and these are not plain numbers.
        channels: ``1`` grey, ``3`` RGB, ``4`` RGBA; ``auto`` is grey if all images are, else RGB.
        background: a colour name or #rrggbb that shows through transparent pixels.
        on_start: called once, with the number of images.
        on_progress: called with the number of images converted since the last call.

    Raises:
        ConfigError: an argument is out of its range.
        DataError: the source, its labels, or as ``on_bad`` says an image cannot be used.
        OutputError: the zip cannot be written, or would replace the source.
    """
    check_resolution(resolution)
    _check_choice("crop", crop, CROPS)
    _check_choice("on_bad", on_bad, ("auto", "skip", "fail"))
    _check_choice("labels", labels, ("auto", "folders", "none"))
    _check_choice("channels", channels, ("auto", "1", "3", "4"))
    color = _parse_color(background)
    check_outside(Path(out), Path(source_path))
    with quiet_decoding(), open_source(source_path) as source:
        skipped: list[tuple[str, str]] = []
        if source.refused:
            if on_bad != "skip":
                raise linked_out(source)
            skipped += [(name, f"{name} is a link to a folder outside") for name in source.refused]
        chosen = choose_labels(source, labels)
        count = _count_channels(source) if channels == "auto" else int(channels)
        prepare = functools.partial(
            _encode, resolution=resolution, crop=crop, channels=count, background=color
        )
        on_start(len(source.names))
        kept: list[int] = []
        notes: collections.Counter[Note] = collections.Counter()
        first_bad: DataError | None = None
        with (
            contextlib.closing(_prepare_all(source, prepare)) as results,
            write_training_zip(out) as writer,
        ):
            for position, result in enumerate(results):
                on_progress(1)
                if isinstance(result, DataError):
                    first_bad = first_bad or result
                    skipped.append((source.names[position], str(result)))
                    _check_bad(source, first_bad, position + 1 - len(kept), on_bad)
                    continue
                writer.add(result.png, None if chosen.classes is None else chosen.classes[position])
                notes.update(result.notes)
                kept.append(position)
            attributes = carried_attributes(read_metadata(source), kept, len(source.names))
            writer.describe(class_names=chosen.names or None, attributes=attributes)
    return ConvertResult(
        count=len(kept),
        resolution=resolution,
        img_channels=count,
        class_names=chosen.names,
        class_counts={}
        if chosen.classes is None
        else class_counts([chosen.classes[position] for position in kept], chosen.names),
        label_note=chosen.note,
        skipped=tuple(skipped),
        passed_over=tuple(source.passed_over),
        notes=dict(notes),
    )


def check_outside(out: Path, source: Path) -> None:
    """Raise OutputError if a target is the source of the images, or lies inside it.

    Links are followed, and names count as the file system has them.
    """
    check_not_source(out, [source])
    if not source.is_dir():
        return
    for folder in Path(os.path.realpath(out)).parents:
        with contextlib.suppress(OSError):
            if os.path.samefile(folder, source):
                raise OutputError(
                    f"{out} is inside {source}, whose images are read",
                    field="out",
                    value=out,
                    expected="a file outside of it",
                    remedy="Pass another `out`.",
                )


def _check_bad(source: ImageSource, first: DataError, bad: int, on_bad: OnBad) -> None:
    """Raise DataError if there are more bad images than ``on_bad`` allows."""
    total = len(source.names)
    if on_bad == "fail":
        first.remedy = f"Pass `on_bad skip` to leave such images out. {first.remedy}".strip()
        raise first
    if on_bad == "auto" and total / 2 < bad < total:
        skip = f"Pass `on_bad skip` to use the others. {first.remedy}".strip()
        raise _too_many(source, first, "more than half", "cannot", skip)
    if bad == total:
        raise _too_many(source, first, "none", "can", first.remedy)


def _too_many(
    source: ImageSource, first: DataError, share: str, verb: str, remedy: str
) -> DataError:
    return DataError(
        f"{share} of the {len(source.names)} images of {source.path} {verb} be used; the first: "
        f"{first.clause}",
        field="source_path",
        value=source.path,
        expected=first.expected,
        remedy=remedy,
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


class _Encoded(NamedTuple):
    png: bytes
    notes: tuple[Note, ...]


def _encode(data: bytes, where: str, **how: Any) -> _Encoded:
    image, notes = prepare_picture(data, where, **how)
    pixels = np.asarray(image)
    return _Encoded(encode_png(pixels[:, :, None] if pixels.ndim == 2 else pixels), notes)


def _prepare_all(
    source: ImageSource, prepare: Callable[[bytes, str], _Encoded]
) -> Generator[_Encoded | DataError, None, None]:
    """Yield the encoded images in the order of the names; threads compute a few in advance.

    Pillow releases the interpreter's lock. Reading stays in this thread, since threads must not
    share an LMDB transaction. Large pictures wait for those before them, so that all in work need
    no more memory than one of the largest.
    """
    workers = min(os.cpu_count() or 1, 8)
    with ThreadPoolExecutor(workers) as pool:
        ahead: collections.deque[tuple[Future[_Encoded] | DataError, int]] = collections.deque()
        in_work = 0
        try:
            for name in source.names:
                job: Future[_Encoded] | DataError
                where, cost = f"{name} in {source.path}", 0
                try:
                    data = source.read(name)
                    width, height = open_picture(data, where).size
                    cost = len(data) + 8 * width * height
                except DataError as error:
                    job = error
                while ahead and (len(ahead) > 2 * workers or in_work + cost > _BYTES_IN_WORK):
                    done, freed = ahead.popleft()
                    yield _outcome(done)
                    in_work -= freed
                if cost:
                    job = pool.submit(prepare, data, where)
                    del data
                ahead.append((job, cost))
                in_work += cost
            while ahead:
                yield _outcome(ahead.popleft()[0])
        finally:
            pool.shutdown(cancel_futures=True)


def _outcome(result: Future[_Encoded] | DataError) -> _Encoded | DataError:
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
