"""Any picture to a square 8-bit image: orientation, bit depth, transparency, crop, size."""

from __future__ import annotations

import contextlib
import io
from typing import Literal, get_args

import numpy as np
from PIL import Image, ImageOps

from segan.runtime.errors import DataError
from segan.train.data.dataset import DECODING_ERRORS, decode_image
from segan.train.data.training_zip import MODES

Crop = Literal["center", "fit", "none"]
CROPS: tuple[str, ...] = get_args(Crop)

_GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N")


def prepare_image(
    data: bytes,
    where: str,
    *,
    resolution: int,
    crop: Crop = "center",
    channels: int = 3,
    background: tuple[int, int, int] = (255, 255, 255),
) -> Image.Image:
    """Decode the first frame of a picture and convert it to a training image.

    Args:
        data: the encoded picture.
        where: its name, for messages.
        resolution: height and width of the result.
        crop: ``center``, ``fit`` or ``none``; see ``convert_images``.
        channels: 1 (L), 3 (RGB) or 4 (RGBA, which keeps transparency).
        background: RGB that shows through transparent pixels, and around the picture with ``fit``.

    Returns:
        [resolution, resolution] image of mode L, RGB or RGBA.

    Raises:
        DataError: it cannot be decoded, is too large, holds floating-point values, or is not square
            with crop ``none``.

    Transparent pixels are blended over the background, or multiplied by their opacity, before
    resampling, so that hidden colours leave no fringe.
    """
    image = decode_image(data, where)
    try:
        # An orientation that cannot be read is ignored, as viewers do.
        with contextlib.suppress(*DECODING_ERRORS):
            image = ImageOps.exif_transpose(image)
        image = to_eight_bit(image, where)
        if channels != 4:
            image = _flatten(image, background)
        image = image.convert(MODES[channels])
        image = _make_square(image, crop, where, background)
        if image.size == (resolution, resolution):
            return image
        # Pillow's resize multiplies RGBA by its opacity itself, and averages over all pixels.
        return image.resize((resolution, resolution), Image.Resampling.LANCZOS)
    except DECODING_ERRORS as error:
        raise DataError(f"{where} cannot be converted ({error})") from error


def is_grey(data: bytes, where: str) -> bool:
    """Whether the picture's mode is grey; reads the header alone. Raises: DataError."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return image.mode in _GREY_MODES
    except DECODING_ERRORS as error:
        raise DataError(f"{where} is not an image ({error})") from error


def to_eight_bit(image: Image.Image, where: str) -> Image.Image:
    """Convert any mode to L, LA, RGB or RGBA; 16-bit values are scaled.

    Raises:
        DataError: values of unknown range: floating-point, or integers beyond 16 bits.
    """
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _scale_sixteen_bit(image, where)
    if image.mode in ("P", "PA") or "transparency" in image.info:
        return image.convert("RGBA")
    if image.mode in ("La", "RGBa"):
        return image.convert("LA" if image.mode == "La" else "RGBA")
    if image.mode == "1":
        return image.convert("L")
    return image if image.mode in MODES.values() else image.convert("RGB")


def _scale_sixteen_bit(image: Image.Image, where: str) -> Image.Image:
    values = np.asarray(image)
    if image.mode == "F" or values.min() < 0 or values.max() > 65535:
        raise DataError(
            f"{where} holds {'floating-point' if image.mode == 'F' else '32-bit'} values of "
            "unknown range",
            expected="8 or 16 bits",
            remedy="Save it as an 8-bit image.",
        )
    scaled = ((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    grey = Image.fromarray(scaled)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return grey


def _flatten(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    """Blend a transparent picture over the background."""
    if image.mode not in ("LA", "RGBA"):
        return image
    if image.mode == "LA" and len(set(background)) == 1:
        below = Image.new("LA", image.size, (background[0], 255))
        return Image.alpha_composite(below.convert("RGBA"), image.convert("RGBA")).convert("L")
    below = Image.new("RGBA", image.size, (*background, 255))
    return Image.alpha_composite(below, image.convert("RGBA")).convert("RGB")


def _make_square(
    image: Image.Image, crop: Crop, where: str, background: tuple[int, int, int]
) -> Image.Image:
    width, height = image.size
    if width == height:
        return image
    if crop == "center":
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        return image.crop((left, top, left + side, top + side))
    if crop == "fit":
        side = max(width, height)
        color = Image.new("RGBA", (1, 1), (*background, 0)).convert(image.mode).getpixel((0, 0))
        square = Image.new(image.mode, (side, side), color)
        square.paste(image, ((side - width) // 2, (side - height) // 2))
        return square
    raise DataError(
        f"{where} is {width} x {height}",
        expected="a square",
        remedy="Pass `crop center` or `crop fit`.",
    )
