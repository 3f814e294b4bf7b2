from __future__ import annotations

import io
import os
import struct
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import PIL.Image
import pytest

from segan.runtime.errors import DataError
from segan.train.data import lmdb_source
from segan.train.data.convert import convert_images
from segan.train.data.dataset import ImageDataset, open_dataset
from segan.train.data.lmdb_source import LmdbSource

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def plain(color: tuple[int, int, int]) -> PIL.Image.Image:
    return PIL.Image.new("RGB", (16, 16), color)


def encode(image: PIL.Image.Image) -> bytes:
    data = io.BytesIO()
    image.save(data, "PNG")
    return data.getvalue()


def convert(source: Path, out: Path, **options: Any) -> ImageDataset:
    convert_images(source, out, **{"resolution": 8, **options})
    return open_dataset(out)


def colors(dataset: ImageDataset) -> list[tuple[int, ...]]:
    """Top left pixel of each image."""
    return [tuple(image[:, 0, 0].tolist()) for image in dataset.images]


def write_lmdb(path: Path, values: dict[bytes, bytes], subdir: bool) -> Path:
    environment = lmdb.open(str(path), map_size=1 << 24, subdir=subdir)
    with environment.begin(write=True) as transaction:
        for key, value in values.items():
            transaction.put(key, value)
    environment.close()
    return path


@pytest.mark.parametrize("subdir", [True, False])
def test_lmdb_with_rosinalitys_keys(tmp_path: Path, subdir: bool) -> None:
    values = {b"length": b"2"}
    for index, color in enumerate([RED, BLUE]):
        for resolution in (8, 16, 128):
            shade = color if resolution == 128 else GREEN
            values[f"{resolution}-{index:05d}".encode()] = encode(plain(shade))
    source = write_lmdb(tmp_path / "in", values, subdir)
    assert colors(convert(source, tmp_path / "out.zip")) == [RED, BLUE]


def test_lmdb_with_any_keys(tmp_path: Path) -> None:
    values = {b"b10": encode(plain(RED)), b"b9": encode(plain(BLUE)), b"\xff": encode(plain(GREEN))}
    source = write_lmdb(tmp_path / "in", values, subdir=True)
    assert colors(convert(source, tmp_path / "out.zip")) == [BLUE, RED, GREEN]


def test_a_damaged_lmdb_is_refused(tmp_path: Path) -> None:
    values = {str(index).encode(): os.urandom(3000) for index in range(50)}
    source = write_lmdb(tmp_path / "in", values, subdir=False)
    data = source.read_bytes()
    source.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match="so it was truncated"):
        convert(source, tmp_path / "out.zip")
    source.write_bytes(data[:64])
    with pytest.raises(DataError, match=r"not a whole LMDB|truncated"):
        convert(source, tmp_path / "out.zip")


def everything(path: Path) -> dict[str, bytes]:
    source = LmdbSource(path)
    found = {name: source.read(name) for name in source.names}
    source.close()
    return found


def some_values(count: int) -> dict[bytes, bytes]:
    """Values of all lengths: in their node, in pages of their own, empty."""
    random = np.random.default_rng(0)
    sizes = random.integers(0, 3000, count) * (random.random(count) < 0.5) + np.arange(count) % 90
    return {f"key {index}".encode(): random.bytes(int(size)) for index, size in enumerate(sizes)}


@pytest.mark.parametrize("count", [0, 1, 3, 200, 20_000])
def test_every_value_is_that_of_the_library(tmp_path: Path, count: int) -> None:
    values = some_values(count)
    if count == 20_000:  # a tree of three levels
        values = {key: value[:40] for key, value in values.items()}
    environment = lmdb.open(str(tmp_path / "a"), map_size=1 << 26)
    with environment.begin(write=True) as transaction:
        for key, value in values.items():
            transaction.put(key, value)
            transaction.put(b"gone", value)
    with environment.begin(write=True) as transaction:
        for number, key in enumerate(list(values)):
            if number % 7 == 0:
                transaction.delete(key)
                del values[key]
        transaction.delete(b"gone")
    environment.close()
    assert everything(tmp_path / "a") == {key.decode(): data for key, data in values.items()}


def test_changed_bytes_never_end_the_process(tmp_path: Path) -> None:
    write_lmdb(tmp_path / "a.mdb", some_values(60), subdir=False)
    good = (tmp_path / "a.mdb").read_bytes()
    starts = range(0, len(good), 4096)
    pages = [at for at in starts if struct.unpack_from("=H", good, at + 10)[0] & 11]
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(1500):
        data = bytearray(good)
        for _ in range(random.choice([1, 2, 8])):
            at = int(random.choice(pages)) + int(random.integers(0, random.choice([24, 200, 4096])))
            data[at] = random.choice([0, 1, 127, 255, int(random.integers(256))])
        (tmp_path / "b.mdb").write_bytes(data)
        try:
            found = everything(tmp_path / "b.mdb")
        except DataError:
            refused += 1
        else:
            assert sum(map(len, found.values())) < 60 * len(good)
    assert refused > 100


@pytest.mark.parametrize(
    ("size", "large"),
    [(0x3FFFFFFF, True), (0x100000, True), (0xFFFFFFFF, True), (0x3FFFFFFF, False)],
)
def test_a_value_past_the_end_is_refused(tmp_path: Path, size: int, large: bool) -> None:
    value = bytes(5000 if large else 50)
    path = write_lmdb(tmp_path / "a.mdb", {b"key": value}, subdir=False)
    data = bytearray(path.read_bytes())
    node = data.index(struct.pack("=4H", len(value), 0, int(large), 3) + b"key")
    struct.pack_into("=2H", data, node, size & 0xFFFF, size >> 16)
    path.write_bytes(data)
    with pytest.raises(DataError, match=f"the value of b'key' has {size} bytes"):
        LmdbSource(path)


def test_a_tree_that_holds_itself_is_refused(tmp_path: Path) -> None:
    path = write_lmdb(tmp_path / "a.mdb", some_values(300), subdir=False)
    data = bytearray(path.read_bytes())
    (root,) = struct.unpack_from("=Q", data, 4096 + 128)
    start = root * 4096
    assert struct.unpack_from("=H", data, start + 10)[0] & 1  # a branch
    (node,) = struct.unpack_from("=H", data, start + 16)
    struct.pack_into("=3H", data, start + node, root, 0, 0)
    path.write_bytes(data)
    with pytest.raises(DataError, match=f"page {root} is there twice"):
        LmdbSource(path)


def test_too_many_keys_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_lmdb(tmp_path / "a.mdb", {b"%d" % i: b"" for i in range(3000)}, subdir=False)
    assert len(everything(path)) == 3000
    monkeypatch.setattr(lmdb_source, "MAX_KEYS", 100)
    with pytest.raises(DataError, match="more than"):
        LmdbSource(path)


@pytest.mark.parametrize("data", [b"", b"x", bytes(4096)])
def test_other_files_are_no_lmdb(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "data.mdb").write_bytes(data)
    with pytest.raises(DataError, match="is not a whole LMDB environment"):
        LmdbSource(tmp_path)
