"""Milliseconds and bytes of image encoders on the images of a bundle.

    python benchmarks/encoders.py faces.segan paper64.segan

One thread's CPU time an image, the best of several rounds in which the encoders take turns. Pillow
and zlib are there always; OpenCV and imagecodecs join where they are installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segan.runtime.generate.generator import load
from segan.runtime.pictures.encode import ImageEncoding, encode_image, encode_png, to_pil

Pixels = NDArray[np.uint8]
Encoder = Callable[[Pixels], bytes]

#: zlib's strategies by name, and OpenCV's and imagecodecs' filters as libpng's bit masks.
STRATEGIES = {"default": 0, "Huffman": 2, "RLE": 3}
FILTERS = {"none": 8, "sub": 16, "up": 32}


def encoders() -> dict[str, Encoder]:
    """Everything that can be compared here."""
    found: dict[str, Encoder] = {"segan, level 1": encode_png}
    for level in (0, 1, 2, 3, 6, 9):
        found[f"Pillow png, level {level}"] = _pillow("PNG", compress_level=level)
    for name in ("Huffman", "RLE"):
        found[f"Pillow png, level 1, {name}"] = _pillow(
            "PNG", compress_level=1, compress_type=STRATEGIES[name]
        )
    for quality in (95, 100):
        webp = ImageEncoding(format="webp", quality=quality)
        found[f"segan, webp {quality}"] = partial(encode_image, encoding=webp)
    for method in (0, 2, 4):
        found[f"Pillow webp 95, method {method}"] = _pillow("WEBP", quality=95, method=method)
    found["Pillow webp lossless, effort 100"] = _pillow(
        "WEBP", lossless=True, quality=100, method=2, exact=True
    )
    found["segan, jpeg 95"] = partial(encode_image, encoding=ImageEncoding(format="jpeg"))
    if importlib.util.find_spec("cv2"):
        found |= _opencv()
    if importlib.util.find_spec("imagecodecs"):
        found |= _imagecodecs()
    return found


def _pillow(image_format: str, **settings: Any) -> Encoder:
    def encode(image: Pixels) -> bytes:
        file = io.BytesIO()
        to_pil(image).save(file, image_format, **settings)
        return file.getvalue()

    return encode


def _opencv() -> dict[str, Encoder]:
    import cv2

    cv2.setNumThreads(1)

    def encoder(ending: str, *settings: int) -> Encoder:
        def encode(image: Pixels) -> bytes:
            return bytes(cv2.imencode(ending, image[:, :, ::-1], settings)[1])

        return encode

    level, kind, by = (
        cv2.IMWRITE_PNG_COMPRESSION,
        cv2.IMWRITE_PNG_STRATEGY,
        cv2.IMWRITE_PNG_FILTER,
    )
    return {
        "OpenCV png, level 1": encoder(".png", level, 1),
        "OpenCV png, level 1, RLE": encoder(".png", level, 1, kind, 3),
        "OpenCV png, level 1, up": encoder(".png", level, 1, kind, 0, by, FILTERS["up"]),
        "OpenCV webp 95": encoder(".webp", cv2.IMWRITE_WEBP_QUALITY, 95),
    }


def _imagecodecs() -> dict[str, Encoder]:
    import imagecodecs

    def png(image: Pixels, **settings: Any) -> bytes:
        return bytes(imagecodecs.png_encode(image, **settings))

    def packed(image: Pixels) -> bytes:
        return bytes(imagecodecs.deflate_encode(_up(image).tobytes(), level=1))

    def jpeg(image: Pixels) -> bytes:
        return bytes(imagecodecs.jpeg8_encode(image, level=95, subsampling="444"))

    found: dict[str, Encoder] = {
        f"imagecodecs png, level {level}": partial(png, level=level) for level in (0, 1, 3)
    }
    for name, mask in FILTERS.items():
        found[f"imagecodecs png, level 1, {name}, RLE"] = partial(
            png, level=1, filter=mask, strategy=STRATEGIES["RLE"]
        )
    return found | {"imagecodecs libdeflate, level 1, up": packed, "imagecodecs jpeg 95": jpeg}


def _up(image: Pixels) -> Pixels:
    """PNG's filter 2 over all rows: what would be packed, without the file around it."""
    height, width, channels = image.shape
    pixels = image.reshape(height, width * channels)
    rows = np.empty((height, 1 + width * channels), np.uint8)
    rows[:, 0], rows[0, 1:] = 2, pixels[0]
    np.subtract(pixels[1:], pixels[:-1], out=rows[1:, 1:])
    return rows


def measure(images: list[Pixels], rounds: int) -> dict[str, dict[str, float]]:
    """Encoder → ``ms`` and ``bytes`` an image."""
    names = encoders()
    best = dict.fromkeys(names, float("inf"))
    sizes = dict.fromkeys(names, 0.0)
    for _ in range(rounds):
        for name, encode in names.items():
            start = time.thread_time()
            size = sum(len(encode(image)) for image in images)
            best[name] = min(best[name], (time.thread_time() - start) / len(images))
            sizes[name] = size / len(images)
    return {name: {"ms": 1e3 * best[name], "bytes": sizes[name]} for name in names}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("bundles", type=Path, nargs="+")
    parser.add_argument("--count", type=int, default=None, help="default: 256 KiB, 4 at least")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found: dict[str, Any] = {}
    for path in options.bundles:
        with load(path, threads=1) as generator:
            size = int(np.prod(generator.image_shape))
            count = options.count or max(4, (1 << 18) // size)
            images = list(generator.generate(range(count), batch_size=4))
        found[path.name] = {"raw": size, "encoders": measure(images, options.rounds)}
    if options.json:
        print(json.dumps(found, indent=2))
        return
    print("| encoder |" + "".join(f" {name}, ms | of raw |" for name in found))
    print("|---|" + "---|---|" * len(found))
    for name in encoders():
        cells = [
            f" {entry['encoders'][name]['ms']:.3g} "
            f"| {100 * entry['encoders'][name]['bytes'] / entry['raw']:.0f} % |"
            for entry in found.values()
        ]
        print(f"| {name} |" + "".join(cells))


if __name__ == "__main__":
    main()
