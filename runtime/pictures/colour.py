"""Colours to sRGB, by the ICC profile that a picture carries (littleCMS, through Pillow)."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from typing import Final

import numpy as np
from PIL import Image, ImageCms

#: Larger profiles are not read. Those of printers have 3 MB, those of cameras and screens 3 kB.
MAX_PROFILE_BYTES: Final = 8 << 20
#: A profile that moves no colour by more than this, of 255, is sRGB itself: nothing is changed.
_SAME: Final = 2
#: Values of a channel that are tried, to see whether a profile is sRGB.
_PROBES: Final = 17

_GREY_MODES: Final = ("1", "L", "LA", "La", "F")

#: Converts a picture of mode L, LA, RGB, RGBA or CMYK; CMYK becomes RGB.
Conversion = Callable[[Image.Image], Image.Image]


class ProfileError(Exception):
    """A profile that cannot be used: broken, too large, or of another colour model."""


def is_grey_mode(mode: str) -> bool:
    """Whether a mode of Pillow is grey, of any depth, with or without opacity."""
    return mode in _GREY_MODES or mode.startswith("I")


def srgb_conversion(image: Image.Image) -> Conversion | None:
    """Return what converts the colours of a picture to sRGB, or of a grey one to sRGB's grey.

    Perceptual intent, as browsers use for photos; profiles of cameras and screens know no other.

    Args:
        image: as it was opened; its profile is in ``info``.

    Returns:
        A function of a part of the picture, with 8 bits; None where nothing changes, since there
        is no profile or it is that of sRGB.

    Raises:
        ProfileError: the profile cannot be used.
    """
    profile = image.info.get("icc_profile")
    if not isinstance(profile, bytes) or not profile:
        return None
    if len(profile) > MAX_PROFILE_BYTES:
        raise ProfileError
    model = "CMYK" if image.mode == "CMYK" else "GREY" if is_grey_mode(image.mode) else "RGB"
    return _conversion(profile, model)


@functools.lru_cache(maxsize=8)
def _conversion(profile: bytes, model: str) -> Conversion | None:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = source.profile.xcolor_space.strip()
        # Pictures in grey may carry the profile of their screen.
        fits = {"RGB": ("RGB",), "GREY": ("GRAY", "RGB"), "CMYK": ("CMYK",)}[model]
        if space not in fits:
            raise ProfileError
        mode = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}[space]
        # Grey values are looked up in a table, so they need none of littleCMS's own, coarser ones.
        flags = ImageCms.Flags.NOOPTIMIZE if model == "GREY" else ImageCms.Flags.NONE
        target = ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(source, target, mode, "RGB", flags=flags)
        if model == "GREY":
            greys = Image.fromarray(np.arange(256, dtype=np.uint8)[None]).convert(mode)
            table = np.asarray(_apply(transform, greys))[0, :, 1]
            same = np.abs(table - np.arange(256)).max() <= _SAME
            return None if same else functools.partial(_look_up, table.tolist())
        if model == "RGB" and _moves_little(transform):
            return None
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, AttributeError) as error:
        raise ProfileError from error
    return functools.partial(_convert, transform)


def _moves_little(transform: ImageCms.ImageCmsTransform) -> bool:
    """Whether no colour of an even grid changes visibly."""
    levels = np.linspace(0, 255, _PROBES).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(_PROBES, -1, 3)
    moved = np.asarray(_apply(transform, Image.fromarray(grid))).astype(int) - grid
    return bool(np.abs(moved).max() <= _SAME)


def _look_up(table: list[int], image: Image.Image) -> Image.Image:
    return image.point(table + list(range(256)) if image.mode == "LA" else table)


def _convert(transform: ImageCms.ImageCmsTransform, image: Image.Image) -> Image.Image:
    if image.mode != "RGBA":
        return _apply(transform, image)
    result = _apply(transform, image.convert("RGB"))
    result.putalpha(image.getchannel("A"))
    return result


def _apply(transform: ImageCms.ImageCmsTransform, image: Image.Image) -> Image.Image:
    result = ImageCms.applyTransform(image, transform)
    assert result is not None
    return result
