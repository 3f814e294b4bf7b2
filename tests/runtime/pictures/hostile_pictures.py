"""Pictures made by hand: bombs, odd TIFFs, ICC profiles."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image


def encode(image: PIL.Image.Image, form: str = "PNG", **options: Any) -> bytes:
    data = io.BytesIO()
    image.save(data, form, **options)
    return data.getvalue()


def flat_png(width: int, height: int, depth: int = 8, color: int = 0) -> bytes:
    """A whole PNG of zeros, a few kB for any size."""
    bits = depth * {0: 1, 2: 3, 6: 4}[color]
    row = bytes(1 + (width * bits + 7) // 8)
    packer, rows = zlib.compressobj(9), []
    for _ in range(height):
        rows.append(packer.compress(row))
    rows.append(packer.flush())
    data = b"\x89PNG\r\n\x1a\n"
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    for kind, content in [(b"IHDR", header), (b"IDAT", b"".join(rows)), (b"IEND", b"")]:
        data += struct.pack(">I", len(content)) + kind + content
        data += struct.pack(">I", zlib.crc32(kind + content))
    return data


def tiff(
    values: npt.NDArray[Any],
    *,
    photometric: int = 1,
    sample_format: int = 1,
    bits: int | None = None,
    low: float | None = None,
    high: float | None = None,
    big_endian: bool = False,
) -> bytes:
    """An uncompressed grey TIFF of one strip."""
    order = ">" if big_endian else "<"
    height, width = values.shape
    pixels = (values.byteswap() if big_endian else values).tobytes()
    bits = values.dtype.itemsize * 8 if bits is None else bits
    tags: list[tuple[int, int, Any]] = [
        (256, 4, width),
        (257, 4, height),
        (258, 3, bits),
        (259, 3, 1),
        (262, 3, photometric),
        (273, 4, 8),
        (277, 3, 1),
        (278, 4, height),
        (279, 4, len(pixels)),
        (339, 3, sample_format),
    ]
    tags += [(tag, 11, value) for tag, value in ((340, low), (341, high)) if value is not None]
    table = struct.pack(order + "H", len(tags))
    for tag, kind, value in tags:
        field = struct.pack(order + {3: "H2x", 4: "I", 11: "f"}[kind], value)
        table += struct.pack(order + "HHI", tag, kind, 1) + field
    magic = b"MM\0*" if big_endian else b"II*\0"
    return magic + struct.pack(order + "I", 8 + len(pixels)) + pixels + table + bytes(4)


def _profile(space: bytes, tags: dict[bytes, bytes], kind: bytes = b"mntr") -> bytes:
    """An ICC profile, version 2 (ICC.1:2001-04, 6)."""
    body, table = b"", b""
    start = 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        table += name + struct.pack(">II", start + len(body), len(content))
        body += content
    pcs = b"Lab " if kind == b"prtr" else b"XYZ "
    header = struct.pack(">I4sI4s4s4s", 0, b"test", 0x02400000, kind, space, pcs)
    header += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061) + bytes(48)
    data = header + struct.pack(">I", len(tags)) + table + body
    return struct.pack(">I", len(data)) + data[4:]


def _text(value: bytes) -> bytes:
    return b"desc" + bytes(4) + struct.pack(">I", len(value) + 1) + value + bytes(80)


def _curve(gamma: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))


def _xyz(values: Iterable[float]) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(value * 65536) for value in values))


def rgb_profile(matrix: npt.NDArray[np.float64], gamma: float) -> bytes:
    """A profile of RGB: columns are the primaries' XYZ at D50."""
    tags = {b"desc": _text(b"rgb"), b"cprt": b"text" + bytes(4) + b"none\0"}
    tags |= {b"wtpt": _xyz((0.9642, 1.0, 0.8249))}
    tags |= {b"%cXYZ" % name: _xyz(matrix[:, at]) for at, name in enumerate(b"rgb")}
    tags |= {b"%cTRC" % name: _curve(gamma) for name in b"rgb"}
    return _profile(b"RGB ", tags)


def grey_profile(gamma: float) -> bytes:
    tags = {b"desc": _text(b"grey"), b"cprt": b"text" + bytes(4) + b"none\0"}
    tags |= {b"wtpt": _xyz((0.9642, 1.0, 0.8249)), b"kTRC": _curve(gamma)}
    return _profile(b"GRAY", tags)


def cmyk_profile(lab: npt.NDArray[np.float64]) -> bytes:
    """A profile of CMYK by a table: lab [2, 2, 2, 2, 3], L* a* b* without and with each ink."""
    table = struct.pack(">4sIBBBx", b"mft2", 0, 4, 3, 2)
    table += struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536) + struct.pack(">HH", 2, 2)
    line = struct.pack(">HH", 0, 65535)
    table += line * 4
    scaled = np.stack(
        [lab[..., 0] * 652.8, (lab[..., 1] + 128) * 256, (lab[..., 2] + 128) * 256], -1
    )
    table += scaled.round().clip(0, 65535).astype(">u2").tobytes() + line * 3
    tags = {b"desc": _text(b"cmyk"), b"cprt": b"text" + bytes(4) + b"none\0"}
    tags |= {b"wtpt": _xyz((0.9642, 1.0, 0.8249)), b"A2B0": table}
    return _profile(b"CMYK", tags, b"prtr")
