"""Animated gifs, written frame by frame, in memory that does not grow with their length."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops
from PIL.GifImagePlugin import getdata, getheader

from segan.runtime.files.atomic import atomic_file
from segan.runtime.pictures.encode import to_pil
from segan.runtime.pictures.sheets import enlarge

#: Hundredths of a second that a frame lasts at least: browsers show a shorter one for 100 ms.
MIN_DELAY = 2
#: Frames a second that a gif can show.
MAX_GIF_FPS = 100 / MIN_DELAY
#: The most that a frame's field for its delay holds, in hundredths of a second.
_MAX_DELAY = 0xFFFF
#: Frames that the palette is taken from are at least 1 in so many of all.
_SAMPLED = 32


def gif_delays(frames: int, fps: float) -> list[tuple[int, int]]:
    """Return which frames a gif shows, and for how long.

    The ends of frames are rounded to hundredths of a second, so that errors do not add up. Above
    MAX_GIF_FPS it shows a frame every MIN_DELAY hundredths, and drops the frames between.

    Args:
        frames: how many there are, at least one.
        fps: how many of them pass in a second.

    Returns:
        (number of the frame from 0, hundredths of a second, at least MIN_DELAY) of each.
    """
    if fps <= MAX_GIF_FPS:
        ends = [round(100 * number / fps) for number in range(frames + 1)]
        return [(number, ends[number + 1] - ends[number]) for number in range(frames)]
    ticks = max(1, round(100 * frames / fps) // MIN_DELAY)
    # An exact product may come out just below a whole number.
    shown = [min(frames - 1, math.floor(MIN_DELAY * k * fps / 100 + 1e-9)) for k in range(ticks)]
    delays = [MIN_DELAY] * ticks
    delays[-1] = max(MIN_DELAY, round(100 * frames / fps) - MIN_DELAY * (ticks - 1))
    return list(zip(shown, delays, strict=True))


def write_gif(
    path: Path,
    frames: Iterable[NDArray[np.uint8]],
    fps: float,
    *,
    scale: int | None,
    min_side: int,
) -> int:
    """Write an endless gif of 256 colours, which all frames share, so that it does not flicker.

    The frames wait in a temporary file until the palette is known.

    Args:
        path: the file; no partial one is left.
        frames: uint8 [H, W, C] each, all of one shape, at least one.
        fps: frames a second; see ``gif_delays``.
        scale: whole factor of enlargement; None enlarges small frames to ``min_side``.
        min_side: pixels.

    Returns:
        How many of the frames it shows.

    Raises:
        OutputError: the file cannot be written.
    """
    with tempfile.TemporaryFile() as file:
        spool = _Spool(file)
        for frame in frames:
            spool.add(frame)
        palette = _shared_palette(spool)
        delays = gif_delays(len(spool), fps)

        def shown() -> Iterator[tuple[Image.Image, int]]:
            for number, delay in delays:
                picture = enlarge(to_pil(spool[number]), scale, min_side=min_side)
                yield (
                    picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG),
                    delay,
                )

        with atomic_file(path, follow=True) as out:
            _write_blocks(out, shown())
    return len(delays)


class _Spool:
    """Frames in a file, one after another."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._count = file, 0
        self._shape: tuple[int, ...] = ()

    def __len__(self) -> int:
        return self._count

    def add(self, frame: NDArray[np.uint8]) -> None:
        self._shape = frame.shape
        self._file.write(np.ascontiguousarray(frame).data)
        self._count += 1

    def __getitem__(self, number: int) -> NDArray[np.uint8]:
        size = math.prod(self._shape)
        self._file.seek(number * size)
        return np.frombuffer(self._file.read(size), np.uint8).reshape(self._shape)


def _shared_palette(frames: _Spool) -> Image.Image:
    """256 colours for all frames, from up to 63 of them."""
    sample = range(0, len(frames), max(1, len(frames) // _SAMPLED))
    pixels = np.concatenate([np.asarray(enlarge(to_pil(frames[i]), 1)) for i in sample])
    return Image.fromarray(pixels).quantize(256, Image.Quantize.MEDIANCUT)


def _write_blocks(out: BinaryIO, pictures: Iterator[tuple[Image.Image, int]]) -> None:
    """Write the header, a block for each picture with what differs from the last, and the end."""
    picture, delay = next(pictures)
    for part in getheader(picture, info={"loop": 0, "duration": 10 * delay})[0]:
        out.write(part)
    waiting, corner = picture, (0, 0)
    for following, its_delay in pictures:
        changed = ImageChops.subtract_modulo(following, picture).getbbox()
        if changed is None and delay + its_delay <= _MAX_DELAY:
            delay += its_delay
            continue
        _write_block(out, waiting, corner, delay)
        box = changed or (0, 0, 1, 1)
        picture, delay = following, its_delay
        waiting, corner = following.crop(box), box[:2]
    _write_block(out, waiting, corner, delay)
    out.write(b";")


def _write_block(out: BinaryIO, picture: Image.Image, corner: tuple[int, int], delay: int) -> None:
    for part in getdata(picture, corner, duration=10 * delay):
        out.write(part)
