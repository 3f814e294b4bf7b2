"""Training zips in StyleGAN2-ADA's layout; the same images give the same bytes.

    00000/img00000000.png   1000 images a folder, stored (PNG is compressed already)
    dataset.json            {"labels": [[name, class], ...] or null, "class_names", "attributes"}

The keys after ``labels`` are optional additions, which other readers of the layout ignore.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from segan.runtime.files.atomic import atomic_file
from segan.runtime.files.target import FileKind
from segan.runtime.files.zips import DamagedZipError, open_zip

#: Number of channels → Pillow's mode.
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}

#: The earliest time of a zip entry, so that the bytes do not depend on when the zip is written.
_EPOCH = (1980, 1, 1, 0, 0, 0)
#: zlib level of the PNGs: faster than the default 6, with files a few per cent larger.
_COMPRESSION = 4
#: Directory of a zip that may be replaced, in bytes: that of two million images.
_MAX_DIRECTORY = 256 << 20
_ENTRY = re.compile(r"\d{5,}/(img\d{8,}\.png)?|dataset\.json")


def is_training_zip(path: Path) -> bool:
    """Return whether a file is a zip of this layout, with nothing else in it."""
    try:
        with open_zip(path, directory=_MAX_DIRECTORY) as archive:
            names = archive.namelist()
    except DamagedZipError:
        return False
    return "dataset.json" in names and all(map(_ENTRY.fullmatch, names))


TRAINING_ZIP = FileKind("a training zip", is_training_zip)


def image_name(position: int) -> str:
    """Path of an image inside the zip: ``00000/img00000000.png`` is the first."""
    return f"{position // 1000:05d}/img{position:08d}.png"


def encode_png(image: npt.NDArray[np.uint8]) -> bytes:
    """Encode an image [H, W, C] uint8, C = 1 (L), 2 (LA), 3 (RGB) or 4 (RGBA)."""
    pixels = image[:, :, 0] if image.shape[2] == 1 else image
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    assert picture.mode == MODES[image.shape[2]]
    data = io.BytesIO()
    picture.save(data, "PNG", compress_level=_COMPRESSION)
    return data.getvalue()


class TrainingZipWriter:
    """Adds images one by one; see ``write_training_zip``."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._labels: list[int | None] = []
        self._extra: dict[str, Any] = {}

    @property
    def count(self) -> int:
        """Number of images added so far."""
        return len(self._labels)

    def add(self, png: bytes, label: int | None = None) -> None:
        """Add an image.

        Args:
            png: the encoded image, from ``encode_png``.
            label: its class, from 0; None for a set without labels.
        """
        self._store(image_name(self.count), png)
        self._labels.append(label)

    def describe(
        self,
        *,
        class_names: Sequence[str] | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        """Set the further keys of dataset.json; None leaves a key out."""
        if class_names is not None:
            self._extra["class_names"] = list(class_names)
        if attributes is not None:
            self._extra["attributes"] = attributes

    def finish(self) -> None:
        """Write dataset.json."""
        labels: list[list[Any]] | None = None
        if self._labels and all(label is not None for label in self._labels):
            labels = [[image_name(at), label] for at, label in enumerate(self._labels)]
        text = json.dumps({"labels": labels, **self._extra}, separators=(",", ":"))
        self._store("dataset.json", text.encode())

    def _store(self, name: str, data: bytes) -> None:
        entry = zipfile.ZipInfo(name, _EPOCH)
        entry.create_system = 3  # Unix, wherever this runs
        entry.external_attr = 0o644 << 16
        self._archive.writestr(entry, data)


@contextlib.contextmanager
def write_training_zip(path: str | os.PathLike[str]) -> Iterator[TrainingZipWriter]:
    """Open a training zip for writing; it is written to ``path`` completely or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    with (
        atomic_file(path, follow=True) as file,
        zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive,
    ):
        writer = TrainingZipWriter(archive)
        yield writer
        writer.finish()
