from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile

import numpy as np
import pytest

from segan.runtime.files.kinds import HEAD_BYTES, kind_of


def tar() -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a"))
    return data.getvalue()


def zipped() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("a", b"x")
    return data.getvalue()


def array() -> bytes:
    data = io.BytesIO()
    np.save(data, np.zeros(3))
    return data.getvalue()


@pytest.mark.parametrize(
    ("data", "name", "group"),
    [
        (tar(), "a tar archive", "archive"),
        (zipped(), "a zip", "archive"),
        (gzip.compress(b"x"), "a gzip archive, such as .tar.gz", "archive"),
        (bz2.compress(b"x"), "a bzip2 archive, such as .tar.bz2", "archive"),
        (lzma.compress(b"x"), "an xz archive, such as .tar.xz", "archive"),
        (array(), "a NumPy array", "other"),
        (b"RIFF\0\0\0\0AVI LIST", "a video", "other"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "a HEIC image", "picture"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avif", "an AVIF image", "picture"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0isommp42", "a video", "other"),
        # Compatible brands end where the first box does.
        (b"\0\0\0\x14ftypmp42\0\0\0\0isomheic", "a video", "other"),
        (b"P5\n1 1 255\n\0", "a PPM image", "picture"),
        (b"PNG", None, None),
        (b"", None, None),
        (b"RIFF", None, None),
    ],
)
def test_kinds(data: bytes, name: str | None, group: str | None) -> None:
    found = kind_of(data[:HEAD_BYTES])
    assert (found and found.name, found and found.group) == (name, group)
