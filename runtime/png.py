"""PNG files, written fast: one filter for all rows and zlib's run-length strategy.

A general encoder tries several filters on every row and searches for repeats. In images of a
generator there is little to find for the search, and most of the time goes there: what is written
here takes about half of Pillow's time at the same level, or less, for files that are larger by up
to a quarter (docs/performance.md has the table).
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

#: Says in a batch's record what made its bytes; another zlib may pack the same pixels differently.
ENCODER = f"up+rle, zlib {zlib.ZLIB_RUNTIME_VERSION}"

_SIGNATURE = b"\x89PNG\r\n\x1a\n"

#: Colour types of PNG by channels: grey, grey and alpha, RGB, RGBA.
_COLOR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}

#: Filter type 2: each row holds its difference from the one above.
_UP = 2

_WINDOW_BITS, _MEMORY_LEVEL = 15, 9


def encode_png(image: NDArray[np.uint8]) -> bytes:
    """The bytes of a PNG file; the same image gives the same bytes with the same zlib.

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
    """Length, type, data and checksum."""
    checksum = zlib.crc32(data, zlib.crc32(kind))
    return struct.pack(">I", len(data)), kind, data, struct.pack(">I", checksum)
