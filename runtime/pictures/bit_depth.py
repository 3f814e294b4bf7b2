"""Samples of more than 8 bits, by the range that the file states.

TIFF 6.0: BitsPerSample (258), PhotometricInterpretation (262; 0: white is zero), SampleFormat
(339; 1: unsigned), SMinSampleValue and SMaxSampleValue (340, 341).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from segan.runtime.errors import DataError

_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT, _LOW, _HIGH = 258, 262, 339, 340, 341
_UNSIGNED, _FLOAT = 1, 3


class SampleRange(NamedTuple):
    """The values that are black and white.

    Attributes:
        low: this and less is 0; with ``inverted`` it is 255.
        high: this and more is 255; with ``inverted`` it is 0.
        inverted: the file counts from white.
    """

    low: float
    high: float
    inverted: bool


def stated_range(image: Image.Image, where: str) -> SampleRange | None:
    """Return the range of a picture's samples as its file states it; None for plain 8 bits.

    Args:
        image: as it was opened.
        where: its name, for messages.

    Raises:
        DataError: signed, 32-bit or floating-point values whose range the file does not state.
    """
    deep = image.mode == "F" or image.mode.startswith("I")
    tags = getattr(image, "tag_v2", None)
    if tags is None:
        return SampleRange(0, 65535, False) if deep else None
    bits, form = _first(tags, _BITS, 1), _first(tags, _SAMPLE_FORMAT, _UNSIGNED)
    if not deep and form == _UNSIGNED:
        return None
    low, high = _first(tags, _LOW, math.nan), _first(tags, _HIGH, math.nan)
    if deep and math.isfinite(low) and math.isfinite(high) and low < high:
        pass
    elif deep and form == _UNSIGNED and bits <= 16:
        low, high = 0, 2**bits - 1
    else:
        kind = "floating-point" if form == _FLOAT else f"{bits}-bit"
        kind = kind if form in (_UNSIGNED, _FLOAT) else f"signed {kind}"
        raise DataError(
            f"{where} holds {kind} values and does not state their range",
            expected="8 or 16 bits, or SMinSampleValue and SMaxSampleValue",
            remedy="Save it as an 8-bit image.",
        )
    return SampleRange(low, high, _first(tags, _PHOTOMETRIC, 1) == 0)


def _first(tags: Any, tag: int, default: float) -> Any:
    """The value of a tag, the first of several."""
    value = tags.get(tag, default)
    if isinstance(value, tuple):
        value = value[0] if value else default
    return value if isinstance(value, int | float) else float(value)


def scale_samples(image: Image.Image, stated: SampleRange) -> Image.Image:
    """Return a picture of mode I, I;16 or F in 8 bits, L, or LA where a value is transparent."""
    values = np.asarray(image)
    if stated[:2] == (0, 65535) and image.mode != "F":
        whole = values.clip(0, 65535).astype(np.uint32)
        scaled = ((whole * 255 + 32767) // 65535).astype(np.uint8)
    else:
        share = (values.astype(np.float64) - stated.low) / (stated.high - stated.low)
        share = np.nan_to_num(share, nan=0.0, posinf=1.0, neginf=0.0)
        scaled = np.floor(share.clip(0, 1) * 255 + 0.5).astype(np.uint8)
    grey = Image.fromarray(255 - scaled if stated.inverted else scaled)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return grey
