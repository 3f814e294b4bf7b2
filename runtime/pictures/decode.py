"""Opening a picture that may come from a stranger: the only place that calls ``Image.open``.

Pillow knows formats that start programs (EPS: Ghostscript) and formats that few people need. Only
those of ``FORMATS`` are opened, by their content, whatever the file's name. The size that the
header states is checked before a pixel is decoded, so that no file of a few kB takes the machine's
memory. Damaged and truncated files are errors.
"""

from __future__ import annotations

import contextlib
import io
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from typing import Any, Final

from PIL import Image, ImageFile, JpegImagePlugin, features

from segan.runtime.errors import DataError
from segan.runtime.files.kinds import HEAD_BYTES, kind_of
from segan.runtime.pictures.jpeg_scans import count_scans

#: What a file may be → Pillow's name of the format.
FORMATS: Final = {
    "a PNG image": "PNG",
    "a JPEG image": "JPEG",
    "a WebP image": "WEBP",
    "a GIF image": "GIF",
    "a BMP image": "BMP",
    "a TIFF image": "TIFF",
    "a PPM image": "PPM",
    "an AVIF image": "AVIF",
    "a HEIC image": "HEIF",
}
#: The formats in a sentence.
FORMATS_TEXT: Final = "PNG, JPEG, WebP, GIF, BMP, TIFF, PPM, AVIF or HEIC"

#: Pixels of the largest picture, those of a phone's 50 megapixel camera. Two copies of it, of four
#: bytes a pixel, fit into 512 MiB beside Python.
MAX_PIXELS: Final = 8192 * 6144
#: Pixels of the largest sheet that segan draws itself and shows again: 48 sliders of 512², in nine
#: steps. One copy of it fits into 512 MiB.
MAX_SHEET_PIXELS: Final = 120_000_000
#: Longest side, in pixels: that of JPEG and GIF. Resizing needs memory in proportion to it.
MAX_SIDE: Final = 65_535
#: Pixels of the largest JPEG. What exceeds MAX_PIXELS is reduced to 1/2, 1/4 or 1/8 by the decoder
#: itself, which never holds the whole picture. Phones write up to 200 megapixels.
MAX_JPEG_PIXELS: Final = 1 << 28
#: Pixels of the largest JPEG of several scans that is decoded at its size: the decoder keeps all
#: coefficients, up to 8 bytes a pixel.
MAX_SCANNED_PIXELS: Final = MAX_PIXELS // 2
#: Pixels of a tile of a TIFF. Each is unpacked as a whole, whatever the picture's own size.
MAX_TILE_PIXELS: Final = 1 << 22
#: Scans of a JPEG; programs write 10 or so. Each costs a pass over the picture and a few bytes.
MAX_JPEG_SCANS: Final = 100

#: What Pillow's readers raise on broken input.
DECODING_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    EOFError,
    AttributeError,
    RuntimeError,
    MemoryError,
    AssertionError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


@contextlib.contextmanager
def quiet_decoding() -> Iterator[None]:
    """Silence Pillow's warnings: the pixels are good even where the metadata is damaged.

    The bounds of this file are lower than the size that Pillow warns of.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def open_picture(data: bytes, where: str, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Read a picture's header; its pixels are decoded when they are needed.

    Args:
        data: the encoded picture.
        where: its name, for messages.
        max_pixels: width times height may be this at most. A larger JPEG, up to MAX_JPEG_PIXELS,
            is opened at a half, a quarter or an eighth of its size.

    Raises:
        DataError: it is empty, damaged, of a format that is not in ``FORMATS``, or too large.
    """
    if not data:
        raise DataError(f"{where} is empty", expected="an image")
    kind = kind_of(data[:HEAD_BYTES])
    form = None if kind is None else FORMATS.get(kind.name)
    if form is None:
        what = "is not a whole image" if kind is None else f"is {kind.name}"
        other = kind is None or kind.group != "picture"
        remedy = "Remove it." if other else "Save it as PNG or JPEG, or remove it."
        raise DataError(f"{where} {what}", expected=FORMATS_TEXT, remedy=remedy)
    if form == "WEBP":  # Its decoder allocates the whole canvas when it is opened.
        _check_size(_webp_size(data), where, max_pixels)
    try:
        image = _open(data, form, where)
        if form == "TIFF":
            _check_tiff(image, where)
    except Image.DecompressionBombError as error:
        raise _too_large(
            "more pixels than Pillow reads", where, f"{max_pixels:,} pixels"
        ) from error
    except DECODING_ERRORS as error:
        raise DataError(f"{where} is not a whole image ({_first_line(error)})") from error
    if form == "JPEG":
        _reduce_jpeg(image, data, where, max_pixels)
    _check_size(image.size, where, max_pixels)
    return image


def load_picture(image: Image.Image, where: str, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode the first frame of an opened picture, and return it.

    Raises:
        DataError: it is damaged or truncated, or larger than its header states.
    """
    try:
        image.load()
    except DECODING_ERRORS as error:
        raise DataError(f"{where} is not a whole image ({_first_line(error)})") from error
    _check_size(image.size, where, max_pixels)
    return image


def decode_picture(data: bytes, where: str, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Open and decode the first frame of a picture. Raises: DataError."""
    image = open_picture(data, where, max_pixels=max_pixels)
    return load_picture(image, where, max_pixels=max_pixels)


def _open(data: bytes, form: str, where: str) -> Image.Image:
    if form == "HEIF":
        return _open_heic(data, where)
    if form == "AVIF" and not features.check("avif"):
        raise DataError(
            f"{where} is an AVIF image, which the installed Pillow does not read",
            expected="Pillow 11.3 or newer",
            remedy="Run: pip install -U pillow",
        )
    if form == "JPEG":
        # As Image.open does, whose limit is lower than MAX_JPEG_PIXELS.
        return JpegImagePlugin.jpeg_factory(io.BytesIO(data))
    return Image.open(io.BytesIO(data), formats=(form,))


def _open_heic(data: bytes, where: str) -> ImageFile.ImageFile:
    try:
        import pillow_heif
    except ImportError as error:
        raise DataError(
            f"{where} is a HEIC image, and pillow-heif, which reads it, is not installed",
            remedy="Run: pip install 'segan[heic]'",
        ) from error
    opener: Any = pillow_heif.HeifImageFile  # its types are not annotated
    image: ImageFile.ImageFile = opener(io.BytesIO(data))
    return image


def _check_size(size: tuple[int, int], where: str, max_pixels: int) -> None:
    """Raise DataError for a picture that is too large."""
    width, height = size
    if width * height <= max_pixels and max(size) <= MAX_SIDE:
        return
    swells = width * height > max_pixels
    limit = f"{max_pixels:,} pixels" if swells else f"{MAX_SIDE:,} pixels a side"
    raise _too_large(f"{width} x {height} pixels", where, limit)


def _too_large(size: str, where: str, limit: str) -> DataError:
    return DataError(
        f"{where} has {size}, which is too large",
        expected=f"at most {limit}",
        remedy="Reduce or remove it.",
    )


def _check_tiff(image: Image.Image, where: str) -> None:
    """Raise DataError for a TIFF whose strips or tiles need much more memory than its pixels.

    The tags of TIFF 6.0: BitsPerSample (258), SamplesPerPixel (277), TileWidth and TileLength.
    """
    tags = getattr(image, "tag_v2", {})
    compression = image.info.get("compression", "raw")
    if compression == "lzma":  # states how much memory its reader shall take
        raise DataError(
            f"{where} is a TIFF that is compressed with LZMA",
            expected="another compression",
            remedy="Save it as PNG, or remove it.",
        )
    tile = tags.get(322, 0), tags.get(323, 0)
    if all(isinstance(side, int) for side in tile) and tile[0] * tile[1] > MAX_TILE_PIXELS:
        limit = f"{MAX_TILE_PIXELS:,} pixels a tile"
        raise _too_large(f"tiles of {tile[0]} x {tile[1]} pixels", where, limit)
    bits = tags.get(258, (1,))
    total = sum(bits) if isinstance(bits, tuple) else bits
    # A strip may hold the whole picture.
    pixels = image.width * image.height
    if compression != "raw" and pixels * (4 + total / 8) > 8 * MAX_PIXELS:
        limit = f"{int(8 * MAX_PIXELS / (4 + total / 8)):,} pixels of {total} bits"
        raise _too_large(f"{image.width} x {image.height} pixels of {total} bits", where, limit)


def _reduce_jpeg(image: Image.Image, data: bytes, where: str, max_pixels: int) -> None:
    """Let the decoder reduce a JPEG that is too large, where it can; else raise DataError."""
    width, height = image.size
    scans = count_scans(data)
    if scans > MAX_JPEG_SCANS:
        raise DataError(
            f"{where} is a JPEG of {scans} scans",
            expected=f"at most {MAX_JPEG_SCANS}",
            remedy="Save it again, or remove it.",
        )
    whole, most = (
        (max_pixels, MAX_JPEG_PIXELS)
        if scans == 1
        else (min(max_pixels, MAX_SCANNED_PIXELS), max_pixels)
    )
    if width * height > most:
        _check_size(image.size, where, most)
    scale = 1
    while -(-width // scale) * -(-height // scale) > whole:
        scale *= 2
    if scale > 1:
        image.draft(None, (width // scale, height // scale))


def _webp_size(data: bytes) -> tuple[int, int]:
    """Width and height from the header; (0, 0) for one that the decoder will refuse."""
    chunk, head = data[12:16], data[20:30]
    if chunk == b"VP8X":
        return int.from_bytes(head[4:7], "little") + 1, int.from_bytes(head[7:10], "little") + 1
    if chunk == b"VP8L":
        bits = int.from_bytes(head[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if chunk == b"VP8 ":
        return (
            int.from_bytes(head[6:8], "little") & 0x3FFF,
            int.from_bytes(head[8:10], "little") & 0x3FFF,
        )
    return 0, 0


def _first_line(error: BaseException) -> str:
    # Pillow names the in-memory file, which means nothing to a user.
    text = str(error).partition("\n")[0]
    return re.sub(r" ?<_io.BytesIO object at \w+>", "", text) or type(error).__name__
