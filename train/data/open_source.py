"""Opening a folder, zip or LMDB of images, whichever a path is."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from segan.runtime.errors import DataError
from segan.train.data.folder_source import FolderSource
from segan.train.data.lmdb_source import LmdbSource, is_lmdb
from segan.train.data.sources import ImageSource, linked_out
from segan.train.data.zip_source import ZipSource


@contextlib.contextmanager
def open_source(path: str | os.PathLike[str]) -> Iterator[ImageSource]:
    """Open a folder, zip or LMDB environment of images.

    Raises:
        DataError: the path does not exist, cannot be read, or holds no image.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(
            f"{path} does not exist",
            field="path",
            value=path,
            remedy="Give a folder, zip or LMDB of images, or make one with 'segan data render "
            "faces.zip'.",
        )
    if not path.is_file() and not path.is_dir():
        raise DataError(
            f"{path} is neither a file nor a folder",
            field="path",
            value=path,
            expected="a folder, zip or LMDB of images",
        )
    source: ImageSource
    if is_lmdb(path):
        source = LmdbSource(path)
    else:
        source = FolderSource(path) if path.is_dir() else ZipSource(path)
    try:
        if not source.names:
            if source.refused:
                raise linked_out(source)
            other = ", ".join(map(str, source.passed_over[:3]))
            raise DataError(
                f"{path} contains no images" + (f", but {other}" if other else ""),
                field="path",
                value=path,
                expected="files such as .png or .jpg",
            )
        yield source
    finally:
        source.close()
