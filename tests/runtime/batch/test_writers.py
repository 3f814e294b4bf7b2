from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from segan.runtime.batch.writers import (
    ShardFormat,
    default_shard_size,
    image_path,
    open_shard,
    shard_path,
    shard_payload,
)
from segan.runtime.pictures.encode import ImageEncoding

SHAPE = (6, 5, 3)


def _images(count: int) -> NDArray[np.uint8]:
    return np.random.RandomState(0).randint(0, 256, (count, *SHAPE), np.uint8)


def _write(shard_format: ShardFormat, seeds: list[int], images: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    with open_shard(file, shard_format, len(seeds), SHAPE) as add:
        for seed, image in zip(seeds, images, strict=True):
            add(seed, shard_payload(image, shard_format, ImageEncoding()))
    return file.getvalue()


@pytest.mark.parametrize(
    ("seed", "subfolders", "expected"),
    [
        (17, False, "seed000017.png"),
        (4294967295, False, "seed4294967295.png"),
        (17, True, "0000/seed000017.png"),
        (9999, True, "0000/seed009999.png"),
        (10000, True, "0001/seed010000.png"),
        (4294967295, True, "429496/seed4294967295.png"),
    ],
)
def test_image_names(seed: int, subfolders: bool, expected: str) -> None:
    assert image_path(Path("o"), seed, ".png", subfolders=subfolders) == Path("o") / expected


def test_shard_names_and_sizes() -> None:
    assert shard_path(Path("o"), 3, "tar") == Path("o/shard-000003.tar")
    assert default_shard_size("tar", (1024, 1024, 3)) == 10_000
    assert default_shard_size("npz", (64, 64, 3)) == 10_000
    # 2^30 bytes hold 341 images of 3 · 2^20 bytes.
    assert default_shard_size("npz", (1024, 1024, 3)) == 341


def test_npz_reads_back_with_numpy() -> None:
    images = _images(4)
    with np.load(io.BytesIO(_write("npz", [7, 3, 5, 9], images)), allow_pickle=False) as found:
        assert sorted(found) == ["images", "seeds"]
        assert found["images"].dtype == np.uint8
        assert np.array_equal(found["images"], images)
        assert found["seeds"].dtype == np.int64
        assert found["seeds"].tolist() == [7, 3, 5, 9]


def test_zip_reads_back() -> None:
    images = _images(3)
    with zipfile.ZipFile(io.BytesIO(_write("zip", [0, 1, 2], images))) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["seed000000.png", "seed000001.png", "seed000002.png"]
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        for name, image in zip(archive.namelist(), images, strict=True):
            with Image.open(io.BytesIO(archive.read(name))) as found:
                assert np.array_equal(np.asarray(found), image)


def test_tar_reads_back() -> None:
    images = _images(3)
    with tarfile.open(fileobj=io.BytesIO(_write("tar", [4, 5, 6], images))) as archive:
        entries = archive.getmembers()
        assert [entry.name for entry in entries] == [f"seed{seed:06d}.png" for seed in (4, 5, 6)]
        for entry, image in zip(entries, images, strict=True):
            file = archive.extractfile(entry)
            assert file is not None
            with Image.open(file) as found:
                assert np.array_equal(np.asarray(found), image)


@pytest.mark.parametrize("shard_format", ["npz", "zip", "tar"])
def test_the_same_shard_has_the_same_bytes_at_any_time(
    shard_format: ShardFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = _images(2)
    first = _write(shard_format, [0, 1], images)
    monkeypatch.setattr("time.time", lambda: 2_000_000_000.0)
    assert _write(shard_format, [0, 1], images) == first
