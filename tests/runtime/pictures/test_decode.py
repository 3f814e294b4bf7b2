from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import PIL.Image
import pytest

from segan.runtime.errors import DataError
from segan.runtime.pictures import decode
from segan.runtime.pictures.decode import MAX_PIXELS, decode_picture, open_picture, quiet_decoding
from segan.runtime.pictures.jpeg_scans import count_scans
from tests.runtime.pictures.hostile_pictures import encode, flat_png

if TYPE_CHECKING:
    from tests.conftest import RaisesError

RED = PIL.Image.new("RGB", (32, 24), (200, 30, 40))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF"])
def test_formats_are_told_by_their_content(form: str) -> None:
    found = decode_picture(encode(RED, form), "cat.txt").convert("RGB")
    assert found.size == RED.size
    assert np.abs(np.asarray(found).astype(int) - (200, 30, 40)).max() <= 12


def test_heic_is_read() -> None:
    pillow_heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
    data = io.BytesIO()
    pillow_heif.from_pillow(RED).save(data, quality=95)
    found = decode_picture(data.getvalue(), "cat.jpg")
    assert (found.size, found.mode) == (RED.size, "RGB")
    assert np.abs(np.asarray(found).astype(int) - (200, 30, 40)).max() <= 12


def test_heic_without_pillow_heif_names_it(
    monkeypatch: pytest.MonkeyPatch, raises_error: RaisesError
) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    data = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40)
    with raises_error(DataError, problem="pillow-heif", remedy="pip install 'segan[heic]'"):
        open_picture(data, "cat.jpg")


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\nshowpage", "a PostScript drawing"),
        (b"\xc5\xd0\xd3\xc6" + bytes(60), "a PostScript drawing"),
        (b"%PDF-1.7\n", "a PDF document"),
        (b"8BPS\0\1" + bytes(60), "a Photoshop file"),
        (b"<?xml version='1.0'?><svg/>", "an SVG drawing"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", "a video"),
        (b"\0\0\1\0\1\0" + bytes(60), "a Windows icon"),
        (encode(RED, "JPEG2000"), "a JPEG 2000 image"),
        (encode(RED, "QOI"), "a QOI image"),
        (encode(RED, "TGA"), "is not a whole image"),
        (encode(RED, "EPS"), "a PostScript drawing"),
        (b"hello", "is not a whole image"),
    ],
)
def test_other_formats_are_refused_by_name(
    data: bytes, kind: str, raises_error: RaisesError, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(*_: object, **__: object) -> None:
        raise AssertionError("a program was started")

    monkeypatch.setattr(subprocess, "Popen", start)
    monkeypatch.setattr(os, "system", start)
    with raises_error(DataError, problem=kind, expected=decode.FORMATS_TEXT):
        decode_picture(data, "cat.png")


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_truncated_pictures_are_errors(form: str, share: float) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    data = encode(PIL.Image.fromarray(pixels), form)
    with quiet_decoding(), pytest.raises(DataError, match=r"cat\.png is not a whole image"):
        decode_picture(data[: int(len(data) * share)], "cat.png")


def webp_header(width: int, height: int, chunk: bytes = b"VP8X") -> bytes:
    if chunk == b"VP8X":
        body = bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    elif chunk == b"VP8L":
        body = b"\x2f" + ((width - 1) | (height - 1) << 14).to_bytes(5, "little")
    else:
        body = b"\x10\0\0\x9d\x01\x2a" + struct.pack("<HH", width, height)
    return b"RIFF" + struct.pack("<I", 60) + b"WEBP" + chunk + struct.pack("<I", 10) + body


@pytest.mark.parametrize(
    "data",
    [
        flat_png(9000, 9000, depth=1),
        flat_png(70_000, 2),
        flat_png(2, 70_000),
        b"BM" + struct.pack("<4I2i2H2I2i2I", 100, 0, 54, 40, 30_000, 9000, 1, 24, *[0] * 6),
        b"P6 20000 20000 255\n",
        b"GIF89a" + struct.pack("<HHBBBBHHHHB", 60_000, 2000, 0, 0, 0, 44, 0, 0, 9, 9, 0) + b"\2",
        webp_header(16_000, 16_000),
        webp_header(16_383, 16_383, b"VP8L"),
        webp_header(16_383, 16_383, b"VP8 "),
    ],
)
def test_large_pictures_are_refused_by_their_header(
    data: bytes, raises_error: RaisesError, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PIL.Image.Image, "load", None)
    with quiet_decoding(), raises_error(DataError, problem="too large", remedy="Reduce or remove"):
        open_picture(data, "cat.png")


def tiff_of(tags: list[tuple[int, int, int, int]], pixels: bytes) -> bytes:
    """A TIFF of these tags (tag, type, count, value) and pixels at offset 8."""
    table = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(pixels)) + pixels + table + bytes(4)


def tiled(side: int, tile: int, compression: int = 8) -> bytes:
    pixels = zlib.compress(bytes(tile * tile), 9)
    tags = [(256, side), (257, side), (258, 8), (259, compression), (262, 1), (277, 1)]
    tags += [(322, tile), (323, tile), (324, 8), (325, len(pixels))]
    return tiff_of([(tag, 4, 1, value) for tag, value in tags], pixels)


def test_tiles_of_a_tiff_are_bounded(raises_error: RaisesError) -> None:
    assert decode_picture(tiled(16, 2048), "x").size == (16, 16)
    with raises_error(
        DataError, problem="tiles of 8192 x 8192", expected="at most 4,194,304 pixels a tile"
    ):
        open_picture(tiled(16, 8192), "x")


def test_a_tiff_by_lzma_is_refused(raises_error: RaisesError) -> None:
    with raises_error(DataError, problem="LZMA"):
        open_picture(tiled(16, 16, 34925), "x")


def test_strips_of_a_tiff_are_bounded(raises_error: RaisesError) -> None:
    side = 7000
    pixels = zlib.compress(bytes(side * 8), 9)
    tags = [(256, 4, 1, side), (257, 4, 1, side), (258, 3, 4, 8), (259, 4, 1, 8), (262, 4, 1, 2)]
    tags += [(273, 4, 1, 16), (277, 4, 1, 4), (278, 4, 1, side), (279, 4, 1, len(pixels))]
    data = tiff_of([*tags, (338, 4, 1, 2)], struct.pack("<4H", *[16] * 4) + pixels)
    with raises_error(DataError, problem="7000 x 7000 pixels of 64 bits", remedy="Reduce"):
        open_picture(data, "x")


@pytest.mark.parametrize("options", [{"big_tiff": True}, {"compression": "tiff_lzw"}])
def test_tiffs_of_all_kinds_are_read(options: dict[str, object]) -> None:
    data = encode(RED, "TIFF", **options)
    assert decode_picture(data, "x").getpixel((0, 0)) == (200, 30, 40)


def test_a_large_jpeg_is_reduced_by_its_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    slope = np.tile(np.linspace(0, 255, 640).round().astype(np.uint8), (480, 1))
    data = encode(PIL.Image.fromarray(slope), "JPEG", quality=95)
    monkeypatch.setattr(decode, "MAX_JPEG_PIXELS", 640 * 480)
    for most, size in [(640 * 480, (640, 480)), (640 * 480 - 1, (320, 240)), (9000, (80, 60))]:
        found = decode_picture(data, "cat.jpg", max_pixels=most)
        assert found.size == size
        wanted = slope.reshape(size[1], 480 // size[1], size[0], -1).mean((1, 3))
        assert np.abs(np.asarray(found) - wanted).max() < 4
    monkeypatch.setattr(decode, "MAX_JPEG_PIXELS", 640 * 480 - 1)
    with pytest.raises(DataError, match="too large"):
        decode_picture(data, "cat.jpg", max_pixels=9000)


def test_scans_of_a_jpeg_are_counted(raises_error: RaisesError) -> None:
    exif = PIL.Image.Exif()
    exif[270] = "\xff\xda" * 20
    noise = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    assert count_scans(encode(noise, "JPEG", exif=exif) + b"\xff\xda" * 300) == 1
    data = encode(noise, "JPEG", progressive=True)
    assert count_scans(data) == 10
    assert count_scans(b"\xff\xd8\xff") == 0
    # The last scan once more, many times: each is a pass over the whole picture.
    last = data[data.rindex(b"\xff\xda") : -2]
    many = data[:-2] + last * 200 + b"\xff\xd9"
    assert count_scans(many) == 210
    with raises_error(DataError, problem="210 scans", expected="at most 100"):
        open_picture(many, "cat.jpg")


def test_a_progressive_jpeg_may_be_half_as_large(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(PIL.Image.new("RGB", (640, 480)), "JPEG", progressive=True)
    monkeypatch.setattr(decode, "MAX_SCANNED_PIXELS", 640 * 480 // 2)
    assert open_picture(data, "cat.jpg").size == (320, 240)
    with pytest.raises(DataError, match="too large"):
        open_picture(data, "cat.jpg", max_pixels=640 * 480 - 1)


LIMITED = """
import resource, sys, time
from segan.train.data.prepare import prepare_picture
from segan.runtime.errors import DataError
from segan.runtime.pictures.decode import quiet_decoding

started = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (started + (512 << 20), resource.RLIM_INFINITY))
crop = sys.argv[2]
start = time.process_time()
try:
    with quiet_decoding():
        found = prepare_picture(open(sys.argv[1], "rb").read(), "cat", resolution=64, crop=crop)
    print(found.image.size)
except DataError as error:
    print("DataError", error)
assert time.process_time() - start < 30
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
@pytest.mark.parametrize(
    ("name", "crop"),
    [
        ("rgb", "center"),
        ("rgba", "center"),
        ("turned", "center"),
        ("deep", "center"),
        ("wide", "fit"),
        ("strip", "fit"),
        ("huge", "center"),
        ("progressive", "center"),
    ],
)
def test_the_largest_pictures_need_512_mib(tmp_path: Path, name: str, crop: str) -> None:
    side = int(MAX_PIXELS**0.5)
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    makers = {
        "rgb": lambda: flat_png(side, side, color=2),
        "rgba": lambda: flat_png(side, side, color=6),
        "turned": lambda: encode(PIL.Image.new("RGB", (side, side)), "JPEG", exif=exif),
        "deep": lambda: flat_png(side, side, depth=16),
        "wide": lambda: flat_png(60_000, 10),
        "strip": lambda: flat_png(2, 30_000),
        "huge": lambda: encode(PIL.Image.new("L", (16_000, 12_000)), "JPEG"),
        "progressive": lambda: encode(
            PIL.Image.new("RGB", (side, side)), "JPEG", progressive=True, subsampling=0
        ),
    }
    path = tmp_path / name
    path.write_bytes(makers[name]())
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path), crop],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.strip() == "(64, 64)", done.stdout + done.stderr
