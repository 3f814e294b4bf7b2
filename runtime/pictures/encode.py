"""Encodes an image as PNG, WebP or JPEG.

PNG has an encoder of its own, ``encode_png``, which is several times faster than Pillow's.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image

from segan.runtime.errors import ConfigError

ImageFormat = Literal["png", "webp", "jpeg"]

IMAGE_FORMATS: tuple[ImageFormat, ...] = get_args(ImageFormat)

#: The compress_level that ``encode_png`` writes; Pillow writes the others.
FAST_LEVEL = 1

#: Name of our PNG encoder in a batch's record; another zlib may give other bytes.
ENCODER = f"up+rle, zlib {zlib.ZLIB_RUNTIME_VERSION}"

_SIGNATURE = b"\x89PNG\r\n\x1a\n"

#: Colour types of PNG by channels: grey, grey and alpha, RGB, RGBA.
_COLOR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}

#: Filter type 2: each row holds its difference from the row above.
_UP = 2

_WINDOW_BITS, _MEMORY_LEVEL = 15, 9

_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}

_EXTENSIONS = {"png": ".png", "webp": ".webp", "jpeg": ".jpg"}


@dataclass(frozen=True, kw_only=True)
class ImageEncoding:
    """How an image becomes a file.

    Attributes:
        format: ``png`` (lossless), ``webp`` or ``jpeg``.
        quality: of webp and jpeg, 1 to 100; 100 makes webp lossless.
        compress_level: of png, 0 (none) to 9 (smallest). 1, the default, is written by
            ``encode_png``, the others by Pillow: 1 takes a fifth of the time of 6 at 64² for a
            quarter more bytes, and a seventh at 256² for two thirds more.

    Raises:
        ConfigError: an unknown format, or a number out of its range.
    """

    format: ImageFormat = "png"
    quality: int = 95
    compress_level: int = 1

    def __post_init__(self) -> None:
        if self.format not in IMAGE_FORMATS:
            expected = f"one of {', '.join(IMAGE_FORMATS)}"
            raise ConfigError(field="format", value=self.format, expected=expected)
        if not 1 <= self.quality <= 100:
            raise ConfigError(field="quality", value=self.quality, expected="1 to 100")
        if not 0 <= self.compress_level <= 9:
            raise ConfigError(field="compress_level", value=self.compress_level, expected="0 to 9")

    @property
    def lossless(self) -> bool:
        """Whether every pixel is kept."""
        return self.format == "png" or (self.format == "webp" and self.quality == 100)

    @property
    def encoder(self) -> str:
        """The encoder and its version: others may give other bytes for the same pixels."""
        if self.format == "png" and self.compress_level == FAST_LEVEL:
            return ENCODER
        return f"Pillow {PIL.__version__}"

    @property
    def extension(self) -> str:
        """The ending of a file name, with its dot."""
        return _EXTENSIONS[self.format]

    def check_channels(self, channels: int) -> None:
        """Raise ConfigError if this format cannot hold images of so many channels."""
        if channels not in _MODES:
            raise ConfigError(
                f"an image has {channels} channels",
                field="channels",
                value=channels,
                expected="1 to 4",
            )
        if self.format == "jpeg" and channels in (2, 4):
            raise ConfigError(
                f"jpeg cannot hold the transparency of {_MODES[channels]} images "
                f"({channels} channels)",
                field="format",
                value=self.format,
                remedy="Pass png or webp.",
            )


def check_image(image: NDArray[np.uint8]) -> None:
    """Raise ConfigError unless an array is an image: uint8 [H, W, C], C from 1 to 4."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in _MODES or not image.size:
        raise ConfigError(
            field="image",
            value=f"{image.dtype} {list(image.shape)}",
            expected="uint8 [H, W, C], C from 1 to 4",
        )


def to_pil(image: NDArray[np.uint8]) -> Image.Image:
    """Return ``image``, uint8 [H, W, C] with C from 1 to 4, as a Pillow image."""
    check_image(image)
    height, width, channels = image.shape
    data = np.ascontiguousarray(image)
    return Image.frombytes(_MODES[channels], (width, height), data.tobytes())


def encode_image(image: NDArray[np.uint8], encoding: ImageEncoding) -> bytes:
    """Return the bytes of an image file; the same image and encoding give the same bytes.

    Args:
        image: uint8 [H, W, C]; C is 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA.
        encoding: the format and its settings.

    Raises:
        ConfigError: the array is not such an image, or the format cannot hold its channels.
    """
    encoding.check_channels(image.shape[-1])
    if encoding.format == "png" and encoding.compress_level == FAST_LEVEL:
        check_image(image)
        return encode_png(image)
    picture = to_pil(image)
    file = io.BytesIO()
    if encoding.format == "png":
        picture.save(file, "PNG", compress_level=encoding.compress_level)
    elif encoding.format == "webp":
        if encoding.lossless:
            # Here quality means effort. Quality 100 takes 2 to 3.5 times as long as 0, for files
            # that are smaller by 1 % at 64² and a fifth at 256².
            picture.save(file, "WEBP", lossless=True, quality=0, method=1, exact=True)
        else:
            # Method 2 is faster than the default 4 and, at these sizes, as small.
            picture.save(file, "WEBP", quality=encoding.quality, method=2, exact=True)
    else:
        # Colour at full resolution: halving it is visible in small images.
        picture.save(file, "JPEG", quality=encoding.quality, subsampling=0)
    return file.getvalue()


def encode_png(image: NDArray[np.uint8]) -> bytes:
    """Return the bytes of a PNG file; the same image and zlib give the same bytes.

    Args:
        image: uint8 [H, W, C]; C is 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA.
    """
    height, width, channels = image.shape
    pixels = image.reshape(height, width * channels)
    rows = np.empty((height, 1 + width * channels), np.uint8)
    rows[:, 0] = _UP
    rows[0, 1:] = pixels[0]
    np.subtract(pixels[1:], pixels[:-1], out=rows[1:, 1:])
    packer = zlib.compressobj(1, zlib.DEFLATED, _WINDOW_BITS, _MEMORY_LEVEL, zlib.Z_RLE)
    # Eight bits a channel, deflate, the five standard filters, not interlaced.
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOR_TYPES[channels], 0, 0, 0)
    return b"".join(
        (
            _SIGNATURE,
            *_chunk(b"IHDR", header),
            *_chunk(b"IDAT", packer.compress(rows.data) + packer.flush()),
            *_chunk(b"IEND", b""),
        )
    )


def _chunk(kind: bytes, data: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    """Return length, type, data and checksum."""
    checksum = zlib.crc32(data, zlib.crc32(kind))
    return struct.pack(">I", len(data)), kind, data, struct.pack(">I", checksum)
