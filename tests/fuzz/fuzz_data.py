"""Coverage-guided fuzzing of what reads pictures and data sets; needs atheris.

    python tests/fuzz/fuzz_data.py pictures -max_total_time=600
    python tests/fuzz/fuzz_data.py zips -max_total_time=600
    python tests/fuzz/fuzz_data.py lmdb -max_total_time=600
    python tests/fuzz/fuzz_data.py labels -max_total_time=600

Further arguments are libFuzzer's. It mutates small valid pictures of every format, training zips,
LMDB files, or dataset.json. What a finding is: see ``harness.py``.
"""

from __future__ import annotations

import codecs
import io
import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.fuzz.harness import Target, main  # found by the line above

PICTURE_MODULES = (
    *(f"PIL.{name}ImagePlugin" for name in ("Avif", "Bmp", "Gif", "Jpeg", "Mpo", "Png", "Ppm")),
    *(f"PIL.{name}ImagePlugin" for name in ("Tiff", "WebP")),
    "segan.runtime.files.kinds",
    "segan.runtime.pictures.bit_depth",
    "segan.runtime.pictures.colour",
    "segan.runtime.pictures.decode",
    "segan.runtime.pictures.jpeg_scans",
    "segan.train.data.prepare",
)
DATA_MODULES = (
    "segan.train.data.class_labels",
    "segan.train.data.dataset",
    "segan.train.data.labels",
    "segan.train.data.lmdb_source",
    "segan.train.data.sources",
    "segan.train.data.zip_source",
    "zipfile",
)


def picture_seeds() -> dict[str, bytes]:
    """Returns small pictures of every format and many modes."""
    import numpy as np
    from PIL import Image, ImageCms

    from tests.runtime.pictures.hostile_pictures import tiff

    values = np.random.default_rng(0).integers(0, 256, (9, 12, 4), np.uint8)
    rgba = Image.fromarray(values)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    seeds: dict[str, bytes] = {}

    def add(name: str, image: Image.Image, form: str, **options: Any) -> None:
        data = io.BytesIO()
        image.save(data, form, **options)
        seeds[name] = data.getvalue()

    exif = Image.Exif()
    exif[0x0112] = 6
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        image = rgba.convert("L").convert(mode) if mode == "I;16" else rgba.convert(mode)
        add(f"png-{mode[:4]}", image, "PNG", icc_profile=srgb, exif=exif)
    for mode in ("L", "RGB", "CMYK"):
        add(f"jpeg-{mode}", rgba.convert(mode), "JPEG", exif=exif)
        add(f"tiff-{mode}", rgba.convert(mode), "TIFF", icc_profile=srgb)
    for method in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        add(f"tiff-{method}", rgba.convert("RGB"), "TIFF", compression=method)
    grey = values[..., 0].astype(np.float32)
    seeds["tiff-float"] = tiff(grey, sample_format=3, low=0, high=255)
    seeds["tiff-white-is-zero"] = tiff(grey.astype(np.uint16), photometric=0)
    add("jpeg-progressive", rgba.convert("RGB"), "JPEG", progressive=True)
    others = [rgba.rotate(90), rgba.rotate(180)]
    for form in ("GIF", "PNG", "WEBP", "TIFF"):
        add(f"{form}-frames", rgba, form, save_all=True, append_images=others)
    for form in ("BMP", "PPM", "WEBP", "AVIF"):
        add(form, rgba.convert("RGB"), form)
    add("webp-lossless", rgba, "WEBP", lossless=True)
    try:
        import pillow_heif
    except ImportError:
        return seeds
    data = io.BytesIO()
    pillow_heif.from_pillow(rgba.convert("RGB").resize((32, 32))).save(data)
    return seeds | {"heic": data.getvalue()}


def picture_reader(_: Path) -> Callable[[bytes], None]:
    """Returns what converts a picture."""
    from segan.runtime.pictures.decode import quiet_decoding
    from segan.train.data.prepare import prepare_picture

    def read(data: bytes) -> None:
        with quiet_decoding():
            prepare_picture(data, "x", resolution=8)
            prepare_picture(data, "x", resolution=8, crop="fit", channels=4)

    return read


def labels_text() -> list[bytes]:
    """Returns valid contents of dataset.json for the images a.png and b.png."""
    attributes = {"schema": [{"name": "smile", "values": [0, 1]}], "values": {"smile": [0.5, 1]}}
    pairs = [["a.png", 0], ["b.png", 1]]
    contents: list[dict[str, Any]] = [
        {"labels": pairs, "class_names": ["cat", "dog"], "attributes": attributes},
        {"labels": None, "attributes": attributes},
        {"label": pairs},
    ]
    return [json.dumps(content).encode() for content in contents]


def zip_bytes(metadata: bytes, method: int = zipfile.ZIP_STORED, folder: str = "") -> bytes:
    """Returns a data set of two images and their labels."""
    image = io.BytesIO()
    from PIL import Image

    Image.new("RGB", (8, 8)).save(image, "PNG")
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", method) as archive:
        for name in ("a.png", "b.png"):
            archive.writestr(folder + name, image.getvalue())
        archive.writestr(folder + "dataset.json", metadata)
    return data.getvalue()


def zip_seeds() -> dict[str, bytes]:
    """Returns small data sets."""
    found = {
        f"{number}-{method}-{folder.rstrip('/')}": zip_bytes(text, method, folder)
        for number, text in enumerate(labels_text())
        for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
        for folder in ("", "set/")
    }
    return found


def lmdb_seeds() -> dict[str, bytes]:
    """Returns small LMDB files."""
    import tempfile

    import lmdb

    found = {}
    for count in (1, 30):
        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/a.mdb"
            environment = lmdb.open(path, map_size=1 << 20, subdir=False)
            with environment.begin(write=True) as transaction:
                for index in range(count):
                    transaction.put(b"key %d" % index, bytes(2500 if index == 0 else 90))
            environment.close()
            found[str(count)] = Path(path).read_bytes()
    return found


def source_reader(file: Path) -> Callable[[bytes], None]:
    """Returns what reads all of a source, and its labels."""
    from segan.runtime.errors import DataError
    from segan.train.data.class_labels import choose_labels
    from segan.train.data.labels import carried_attributes, read_metadata
    from segan.train.data.open_source import open_source

    def read(data: bytes) -> None:
        file.write_bytes(data)
        with open_source(file) as source:
            for name in source.names:
                try:
                    source.read(name)
                except DataError:
                    if len(source.names) == 1:
                        raise
            choose_labels(source, "auto")
            count = len(source.names)
            carried_attributes(read_metadata(source), range(count), count)

    return read


def zip_reader(file: Path) -> Callable[[bytes], None]:
    """Returns what reads, describes and opens a training zip."""
    from segan.train.data.dataset import describe_dataset, open_dataset

    read_source = source_reader(file)

    def read(data: bytes) -> None:
        read_source(data)
        describe_dataset(file)
        open_dataset(file, cache="memory")

    return read


def labels_reader(file: Path) -> Callable[[bytes], None]:
    """Returns what reads a dataset.json."""
    read_zip = zip_reader(file)
    for encoding in ("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"):
        codecs.lookup(encoding)  # Python imports them on first use
        codecs.lookup(encoding.replace("16", "32").replace("8-sig", "8"))
    return lambda data: read_zip(zip_bytes(data))


ERROR = ("segan.runtime.errors", "DataError")

TARGETS = {
    "pictures": Target(picture_seeds, PICTURE_MODULES, picture_reader, ERROR),
    "zips": Target(zip_seeds, DATA_MODULES, zip_reader, ERROR),
    "lmdb": Target(lmdb_seeds, DATA_MODULES, source_reader, ERROR),
    "labels": Target(
        lambda: {str(number): text for number, text in enumerate(labels_text())},
        DATA_MODULES,
        labels_reader,
        ERROR,
    ),
}

if __name__ == "__main__":
    raise SystemExit(main(__file__, TARGETS))
