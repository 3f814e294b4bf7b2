"""Any picture to a square 8-bit image in sRGB: depth, colour, transparency, crop and size."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Final, Literal, NamedTuple, get_args

from PIL import Image, ImageOps

from segan.runtime.errors import DataError
from segan.runtime.pictures.bit_depth import scale_samples, stated_range
from segan.runtime.pictures.colour import ProfileError, is_grey_mode, srgb_conversion
from segan.runtime.pictures.decode import DECODING_ERRORS, MAX_PIXELS, load_picture, open_picture
from segan.train.data.training_zip import MODES

Crop = Literal["center", "fit", "none"]
CROPS: tuple[str, ...] = get_args(Crop)

#: What ``Prepared.notes`` may hold.
Note = Literal["first frame", "profile ignored"]

#: Pixels that are converted at once, so that steps between need little memory.
_BAND_PIXELS: Final = 1 << 20


class Prepared(NamedTuple):
    """A picture as a training image.

    Attributes:
        image: [resolution, resolution], mode L, RGB or RGBA.
        notes: ``first frame``: the picture has more, which are not used. ``profile ignored``: its
            colour profile cannot be used, so its colours are taken for sRGB.
    """

    image: Image.Image
    notes: tuple[Note, ...]


def prepare_image(
    data: bytes,
    where: str,
    *,
    resolution: int,
    crop: Crop = "center",
    channels: int = 3,
    background: tuple[int, int, int] = (255, 255, 255),
) -> Image.Image:
    """Return the image of ``prepare_picture``, without its notes. Raises: DataError."""
    return prepare_picture(
        data, where, resolution=resolution, crop=crop, channels=channels, background=background
    ).image


def prepare_picture(
    data: bytes,
    where: str,
    *,
    resolution: int,
    crop: Crop = "center",
    channels: int = 3,
    background: tuple[int, int, int] = (255, 255, 255),
) -> Prepared:
    """Decode the first frame of a picture and convert it to a training image.

    Args:
        data: the encoded picture.
        where: its name, for messages.
        resolution: height and width of the result.
        crop: ``center``, ``fit`` or ``none``; see ``convert_images``.
        channels: 1 (L), 3 (RGB) or 4 (RGBA, which keeps transparency).
        background: RGB that shows through transparent pixels, and around the picture with ``fit``.

    Raises:
        DataError: it cannot be decoded, is too large, holds values of unknown range, or is not
            square with crop ``none``.

    Transparent pixels are blended over the background, or multiplied by their opacity, before
    resampling, so that hidden colours leave no fringe.
    """
    notes: list[Note] = []
    image = open_picture(data, where)
    if _has_more_frames(image):
        notes.append("first frame")
    if image.format == "GIF":
        image = open_picture(data, where)  # looking for a second frame has moved it
    load_picture(image, where)
    try:
        stated = stated_range(image, where)
        try:
            to_srgb = srgb_conversion(image)
        except ProfileError:
            to_srgb = None
            notes.append("profile ignored")
        # An orientation that cannot be read is ignored, as viewers do.
        with contextlib.suppress(*DECODING_ERRORS):
            ImageOps.exif_transpose(image, in_place=True)
        if crop != "fit":
            image = _crop_square(image, crop, where)

        def convert(part: Image.Image) -> Image.Image:
            part = to_eight_bit(part) if stated is None else scale_samples(part, stated)
            if to_srgb is not None:
                part = to_srgb(part)
            elif part.mode == "CMYK":
                part = part.convert("RGB")
            if channels != 4:
                part = _flatten(part, background)
            return part if part.mode == MODES[channels] else part.convert(MODES[channels])

        image = _in_bands(image, MODES[channels], convert)
        if crop == "fit":
            image = _pad_square(image, background)
        if image.size != (resolution, resolution):
            # Pillow multiplies RGBA by its opacity itself, and averages over all pixels.
            image = image.resize((resolution, resolution), Image.Resampling.LANCZOS)
        return Prepared(image, tuple(notes))
    except DECODING_ERRORS as error:
        raise DataError(f"{where} cannot be converted ({error})") from error


def is_grey(data: bytes, where: str) -> bool:
    """Whether the picture's mode is grey; reads the header alone. Raises: DataError."""
    return is_grey_mode(open_picture(data, where).mode)


def _has_more_frames(image: Image.Image) -> bool:
    """Whether it is an animation, or has several pages; other views of one JPEG do not count."""
    if image.format in ("MPO", "HEIF"):
        return False
    try:
        return bool(getattr(image, "is_animated", False))
    except DECODING_ERRORS:
        return False


def to_eight_bit(image: Image.Image) -> Image.Image:
    """Convert 8-bit samples of any mode to L, LA, RGB or RGBA; CMYK stays."""
    if image.mode in ("P", "PA") or "transparency" in image.info:
        return image.convert("RGBA")
    if image.mode in ("La", "RGBa"):
        return image.convert("LA" if image.mode == "La" else "RGBA")
    if image.mode == "1":
        return image.convert("L")
    return image if image.mode in (*MODES.values(), "CMYK") else image.convert("RGB")


def _in_bands(
    image: Image.Image, mode: str, convert: Callable[[Image.Image], Image.Image]
) -> Image.Image:
    """Convert a picture pixel by pixel, a few rows at once."""
    rows = max(1, _BAND_PIXELS // image.width)
    if image.height <= rows:
        return convert(image)
    result = Image.new(mode, image.size)
    for top in range(0, image.height, rows):
        box = (0, top, image.width, min(top + rows, image.height))
        result.paste(convert(image.crop(box)), box)
    return result


def _flatten(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    """Blend a transparent picture over the background."""
    if image.mode not in ("LA", "RGBA"):
        return image
    if image.mode == "LA" and len(set(background)) == 1:
        below = Image.new("LA", image.size, (background[0], 255))
        return Image.alpha_composite(below.convert("RGBA"), image.convert("RGBA")).convert("L")
    below = Image.new("RGBA", image.size, (*background, 255))
    return Image.alpha_composite(below, image.convert("RGBA")).convert("RGB")


def _crop_square(image: Image.Image, crop: Crop, where: str) -> Image.Image:
    """The largest centred square. Raises: DataError with ``none`` unless it is square."""
    width, height = image.size
    if width == height:
        return image
    if crop == "none":
        raise DataError(
            f"{where} is {width} x {height}",
            expected="a square",
            remedy="Pass `crop center` or `crop fit`.",
        )
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return image.crop((left, top, left + side, top + side))


def _pad_square(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    """The picture in the middle of a square of the background."""
    if image.width == image.height:
        return image
    # A long strip is reduced first, so that its square is no larger than any other picture.
    most = int(MAX_PIXELS**0.5)
    if max(image.size) > most:
        share = most / max(image.size)
        width, height = (max(1, round(length * share)) for length in image.size)
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    width, height = image.size
    side = max(width, height)
    color = Image.new("RGBA", (1, 1), (*background, 0)).convert(image.mode).getpixel((0, 0))
    square = Image.new(image.mode, (side, side), color)
    square.paste(image, ((side - width) // 2, (side - height) // 2))
    return square
