"""Coverage-guided fuzzing of what reads pictures and data sets; needs atheris.

    python tests/fuzz/fuzz_data.py pictures -max_total_time=600
    python tests/fuzz/fuzz_data.py zips -max_total_time=600
    python tests/fuzz/fuzz_data.py labels -max_total_time=600

Further arguments are libFuzzer's. It mutates small valid pictures of every format, training zips,
or dataset.json. A finding is any exception other than ``DataError``, a program, connection or
written file, 10 s of CPU for one input, or more than 512 MiB of memory, in one piece or together.
The input that caused it is kept in the current folder as ``fuzz-…``.
"""

from __future__ import annotations

import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: Longest mutated input; the valid ones are shorter.
MAX_BYTES = 16_384
#: Seconds of CPU for one input. libFuzzer's own limit is wall time.
MAX_SECONDS = 10
#: Memory beyond that of the started process: 512 MiB, and room for the fuzzer's own corpus.
MEMORY = (512 + 128) << 20

LIMITS = [f"-max_len={MAX_BYTES}", "-timeout=300", "-print_final_stats=1"]

#: Audit events that reading must not cause.
FORBIDDEN = ("subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.fork", "socket.", "pty.")

INCLUDE = [
    "PIL",
    "segan.runtime.files.kinds",
    "segan.runtime.pictures",
    "segan.train.data",
    "zipfile",
]

Read = Callable[[bytes], None]


def picture_seeds() -> dict[str, bytes]:
    """Returns small pictures of every format and many modes."""
    import numpy as np
    from PIL import Image, ImageCms

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
    for mode in ("F", "I"):
        add(f"tiff-{mode}", rgba.convert("L").convert(mode), "TIFF")
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


def read_picture(data: bytes) -> None:
    """Converts a picture."""
    from segan.train.data.prepare import prepare_picture

    for crop, channels in (("center", 3), ("fit", 4)):
        prepare_picture(data, "x", resolution=8, crop=crop, channels=channels)  # type: ignore[arg-type]


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


def read_zip(data: bytes, file: Path) -> None:
    """Describes and opens a data set."""
    from segan.runtime.errors import DataError
    from segan.train.data.class_labels import choose_labels
    from segan.train.data.dataset import describe_dataset, open_dataset
    from segan.train.data.labels import carried_attributes, read_metadata
    from segan.train.data.open_source import open_source

    file.write_bytes(data)
    with open_source(file) as source:
        choose_labels(source, "auto")
        count = len(source.names)
        carried_attributes(read_metadata(source), range(count), count)
        for name in source.names:
            try:
                source.read(name)
            except DataError as error:
                check_error(error)
    describe_dataset(file)
    open_dataset(file, cache="memory")


def check_error(error: BaseException) -> None:
    """Raises RuntimeError for an error of the readers that hides one of memory."""
    cause = error.__cause__
    if isinstance(cause, MemoryError) or len(str(error)) > 2000:
        raise RuntimeError(f"unexpected error: {error}") from error


def fuzz(target: str, folder: Path, arguments: list[str]) -> None:
    """Runs libFuzzer in this process, which ends with it."""
    import atheris

    with atheris.instrument_imports(include=INCLUDE):
        import segan.train.data.class_labels
        import segan.train.data.convert
        import segan.train.data.dataset  # noqa: F401
        from segan.runtime.errors import DataError
        from segan.runtime.pictures.decode import quiet_decoding
    file = folder / "file.zip"
    reads: dict[str, Read] = {
        "pictures": read_picture,
        "zips": lambda data: read_zip(data, file),
        "labels": lambda data: read_zip(zip_bytes(data), file),
    }
    found: list[str] = []
    armed = False

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        writes = (
            event == "open"
            and str(arguments[0]) != str(file)
            and (
                any(letter in str(arguments[1] or "") for letter in "wax+")
                or int(arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            )
        )
        if armed and (writes or event.startswith(FORBIDDEN)):
            found.append(f"{event} {str(arguments)[:200]}")

    def read(data: bytes, *, good: bool = False) -> None:
        nonlocal armed
        start, armed = time.process_time(), True
        try:
            with quiet_decoding():
                reads[target](data)
        except DataError as error:
            check_error(error)
            if good and not str(error).count("range"):
                raise RuntimeError(f"a valid input is refused: {error}") from error
        finally:
            armed = False
        if time.process_time() - start > MAX_SECONDS:
            raise RuntimeError("reading took too long")
        if found:
            raise RuntimeError(f"reading caused: {found}")

    sys.addaudithook(watch)
    for seed in sorted((folder / "corpus").iterdir()):
        read(seed.read_bytes(), good=target != "labels")
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.RLIM_INFINITY))
    rss = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    limit = f"-rss_limit_mb={(rss + MEMORY) >> 20}"
    atheris.Setup([sys.argv[0], *LIMITS, limit, *arguments, str(folder / "corpus")], read)
    atheris.Fuzz()


def main() -> int:
    """Fuzzes in a process of its own, and removes its folder afterwards."""
    if sys.argv[1:2] == ["--in"]:
        fuzz(sys.argv[3], Path(sys.argv[2]), sys.argv[4:])
        return 0
    target, *further = sys.argv[1:] or ["pictures"]
    makers: dict[str, Callable[[], dict[str, bytes]]] = {
        "pictures": picture_seeds,
        "zips": zip_seeds,
        "labels": lambda: {str(number): text for number, text in enumerate(labels_text())},
    }
    with tempfile.TemporaryDirectory(prefix="fuzz-data-") as name:
        (Path(name) / "corpus").mkdir()
        for seed, data in makers[target]().items():
            (Path(name) / "corpus" / seed).write_bytes(data)
        arguments = [target, "-artifact_prefix=fuzz-", *further]
        command = [sys.executable, __file__, "--in", name, *arguments]
        return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main())
