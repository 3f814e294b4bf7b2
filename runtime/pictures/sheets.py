"""Sheets: many images on one picture, as a grid, or as a table with labels."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from segan.runtime.errors import ConfigError
from segan.runtime.files.atomic import write_atomic
from segan.runtime.latents.options import check_count
from segan.runtime.pictures.encode import to_pil
from segan.runtime.printable import printable

#: Smaller images are enlarged by a whole factor until their side is at least this.
MIN_CELL = 96
#: Largest width and height of a sheet in pixels; images are reduced to fit.
MAX_SIDE = 16_384

_PAPER = (255, 255, 255)
_INK = (32, 33, 36)
_SOFT_INK = (110, 114, 120)
_GAP = 4
_MARGIN = 16


def enlarge(
    picture: Image.Image, scale: int | None = None, *, min_side: int = MIN_CELL
) -> Image.Image:
    """Convert a picture to RGB, transparency on white, and enlarge it by a whole factor.

    Args:
        picture: L, LA, RGB or RGBA.
        scale: the factor; None is the smallest that makes the shorter side ``min_side``.
        min_side: pixels.

    Raises:
        ConfigError: ``scale`` is below 1.
    """
    check_scale(scale)
    if picture.mode in ("LA", "RGBA"):
        rgba = picture.convert("RGBA")
        picture = Image.new("RGB", picture.size, _PAPER)
        picture.paste(rgba, mask=rgba.getchannel("A"))
    picture = picture.convert("RGB")
    factor = scale or max(1, math.ceil(min_side / min(picture.size)))
    if factor == 1:
        return picture
    size = (picture.width * factor, picture.height * factor)
    return picture.resize(size, Image.Resampling.LANCZOS)


def check_scale(scale: int | None) -> None:
    """Raise ConfigError for a factor of enlargement below 1; None is allowed."""
    if scale is not None:
        check_count("scale", scale)


def grid(
    images: NDArray[np.uint8], cols: int | None = None, *, scale: int | None = None
) -> Image.Image:
    """Draw a contact sheet, row by row.

    Args:
        images: uint8 [N, H, W, C], N at least 1.
        cols: images in a row; None makes the sheet about square.
        scale: whole factor of enlargement; None enlarges small images to MIN_CELL pixels.

    Raises:
        ConfigError: no images, or ``cols`` or ``scale`` below 1.
    """
    if images.ndim != 4 or not len(images):
        raise ConfigError(
            f"`images` has the shape {list(images.shape)}",
            field="images",
            value=images.shape,
            expected="[N, H, W, C], N >= 1",
        )
    if cols is not None:
        check_count("cols", cols)
    cols = min(cols or math.ceil(math.sqrt(len(images))), len(images))
    rows = math.ceil(len(images) / cols)
    cells = _cells(images, cols, rows, scale)
    width, height = cells[0].size
    picture = Image.new(
        "RGB", (cols * (width + _GAP) + _GAP, rows * (height + _GAP) + _GAP), _PAPER
    )
    for i, cell in enumerate(cells):
        row, col = divmod(i, cols)
        picture.paste(cell, (_GAP + col * (width + _GAP), _GAP + row * (height + _GAP)))
    return picture


def labelled_sheet(
    images: NDArray[np.uint8],
    *,
    rows: Sequence[str],
    cols: Sequence[str],
    title: str = "",
    subtitle: str = "",
    scale: int | None = None,
) -> Image.Image:
    """Draw a table of images with a label for each row and column.

    Args:
        images: uint8 [R, C, H, W, channels].
        rows: R labels; an empty one is not drawn.
        cols: C labels.
        title: the top line, large.
        subtitle: the line below it, small.
        scale: whole factor of enlargement; None enlarges small images to MIN_CELL pixels.

    Raises:
        ConfigError: the labels do not fit the images, there are no images, or ``scale`` is below 1.
    """
    if images.ndim != 5 or not images.size:
        raise ConfigError(
            f"`images` has the shape {list(images.shape)}",
            field="images",
            value=images.shape,
            expected="[R, C, H, W, channels], none of them 0",
        )
    if images.shape[:2] != (len(rows), len(cols)):
        raise ConfigError(
            f"there are {len(rows)} row labels and {len(cols)} column labels for "
            f"{images.shape[0]} rows and {images.shape[1]} columns of images",
            field="rows" if len(rows) != images.shape[0] else "cols",
            expected="one label for each row and column",
        )
    # Names of classes and sliders come from the bundle.
    rows, cols = [*map(printable, rows)], [*map(printable, cols)]
    title, subtitle = printable(title), printable(subtitle)
    cells = _cells(images.reshape(-1, *images.shape[2:]), len(cols), len(rows), scale)
    width, height = cells[0].size
    size = max(13, min(28, width // 8))
    font, small = _font(size), _font(max(12, round(size * 0.85)))
    title_font = _font(round(size * 1.35))

    label_width = max((math.ceil(small.getlength(text)) for text in rows), default=0)
    left = _MARGIN + (label_width + 10 if label_width else 0)
    titles = [
        (text, f, ink)
        for text, f, ink in ((title, title_font, _INK), (subtitle, small, _SOFT_INK))
        if text
    ]
    top = _MARGIN
    for _, line_font, _ in titles:
        top += round(line_font.size * 1.5)
    top += 4 if titles else 0
    head = round(font.size * 1.5) if any(cols) else 0
    sheet_width = left + len(cols) * (width + _GAP) - _GAP + _MARGIN
    for text, line_font, _ in titles:
        sheet_width = max(sheet_width, math.ceil(line_font.getlength(text)) + 2 * _MARGIN)
    sheet_height = top + head + len(rows) * (height + _GAP) - _GAP + _MARGIN

    sheet = Image.new("RGB", (sheet_width, sheet_height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    y = _MARGIN
    for text, line_font, ink in titles:
        draw.text((_MARGIN, y), text, ink, line_font)
        y += round(line_font.size * 1.5)
    for col, text in enumerate(cols):
        centre = left + col * (width + _GAP) + width / 2
        draw.text((centre, top + head - 5), _fit(text, font, width), _INK, font, anchor="ms")
    for row, text in enumerate(rows):
        y = top + head + row * (height + _GAP)
        draw.text((left - 10, y + height / 2), text, _INK, small, anchor="rm")
        for col in range(len(cols)):
            sheet.paste(cells[row * len(cols) + col], (left + col * (width + _GAP), y))
    return sheet


def value_label(value: float) -> str:
    """Format a slider's value: ``+1.70``, ``0``, ``-0.87``."""
    rounded = round(value, 2)
    if rounded == 0:
        return "0"
    return f"{rounded:+.2f}"


def _cells(images: NDArray[np.uint8], cols: int, rows: int, scale: int | None) -> list[Image.Image]:
    """The images in RGB, enlarged, or reduced where the sheet would exceed MAX_SIDE."""
    cells = [enlarge(to_pil(image), scale) for image in images]
    width, height = cells[0].size
    factor = min(1.0, MAX_SIDE / (cols * (width + _GAP)), MAX_SIDE / (rows * (height + _GAP)))
    if factor < 1.0:
        size = (max(1, int(width * factor)), max(1, int(height * factor)))
        cells = [cell.resize(size, Image.Resampling.LANCZOS) for cell in cells]
    return cells


def _fit(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """The text, cut with three dots when it is wider than ``width`` pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..." if text else ""


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own scalable font, so that sheets look the same everywhere."""
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font


#: File endings that a sheet can have, and Pillow's name of the format.
_SHEET_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}


def check_sheet_path(path: str | os.PathLike[str]) -> str:
    """Return Pillow's format for a file's ending. Raises: ConfigError for another ending."""
    suffix = Path(path).suffix.lower()
    if suffix not in _SHEET_FORMATS:
        raise ConfigError(
            f"{os.fspath(path)} ends in {suffix!r}",
            field="out",
            value=path,
            expected=", ".join(_SHEET_FORMATS),
        )
    return _SHEET_FORMATS[suffix]


def write_sheet(path: str | os.PathLike[str], sheet: Image.Image) -> None:
    """Write a sheet as png, jpeg or webp, by the file's ending; no partial file is left.

    Raises:
        ConfigError: another ending.
        OutputError: the file cannot be written.
    """
    file_format = check_sheet_path(path)
    data = io.BytesIO()
    sheet.save(data, file_format, **({} if file_format == "PNG" else {"quality": 92}))
    write_atomic(path, data.getvalue(), follow=True)
