from __future__ import annotations

import shutil
import threading
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from segan.runtime.errors import ConfigError, DataError, OutputError
from segan.train.data import decoded_cache
from segan.train.data.dataset import ImageDataset, open_dataset
from segan.train.data.decoded_cache import belongs_on_disk, free_memory
from segan.train.data.training_zip import encode_png, write_training_zip


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of decoded images."""
    monkeypatch.setenv("SEGAN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "datasets"


def write_set(path: Path, seed: int = 0, count: int = 12) -> npt.NDArray[np.uint8]:
    """A set with labels; its images [count, 3, 8, 8]."""
    shape = (count, 8, 8, 3)
    images = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    with write_training_zip(path) as writer:
        for position, image in enumerate(images):
            writer.add(encode_png(image), position % 2)
    return images.transpose(0, 3, 1, 2)


def same(one: ImageDataset, two: ImageDataset) -> bool:
    return one.fingerprint == two.fingerprint and bool((one.images == two.images).all())


def test_the_disk_holds_the_same_set_as_memory(tmp_path: Path, cache: Path) -> None:
    images = write_set(tmp_path / "a.zip")
    in_memory = open_dataset(tmp_path / "a.zip", cache="memory")
    assert not cache.exists()
    on_disk = open_dataset(tmp_path / "a.zip", cache="disk")
    np.testing.assert_array_equal(on_disk.images, images)
    assert isinstance(on_disk.images, np.memmap)
    assert not on_disk.images.flags.writeable
    assert same(in_memory, on_disk)
    assert sorted(path.suffix for path in cache.iterdir()) == [".json", ".npy"]


def test_decoding_happens_once(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_set(tmp_path / "a.zip")
    first = open_dataset(tmp_path / "a.zip", cache="disk")
    shutil.copy(tmp_path / "a.zip", tmp_path / "elsewhere.zip")

    def no_more(*_: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(decoded_cache, "_write", no_more)
    assert same(open_dataset(tmp_path / "elsewhere.zip", cache="disk"), first)  # by content
    monkeypatch.undo()
    monkeypatch.setenv("SEGAN_CACHE", str(cache.parent))
    write_set(tmp_path / "a.zip", seed=1)  # an edited set is another one
    assert not same(open_dataset(tmp_path / "a.zip", cache="disk"), first)
    assert len(list(cache.glob("*.npy"))) == 2


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "no record", "record", "shape"])
def test_a_damaged_file_is_made_again(tmp_path: Path, cache: Path, damage: str) -> None:
    write_set(tmp_path / "a.zip")
    whole = open_dataset(tmp_path / "a.zip", cache="memory")
    open_dataset(tmp_path / "a.zip", cache="disk")
    (path,) = cache.glob("*.npy")
    (record,) = cache.glob("*.json")
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[-5] ^= 1
    elif damage == "cut":
        del data[-100:]
    elif damage == "empty":
        data.clear()
    elif damage == "shape":
        data = bytearray(data.replace(b"(12, 3, 8, 8)", b"(12, 3, 4,16)"))
    if damage == "no record":
        record.unlink()
    elif damage == "record":
        record.write_text("[")
    path.unlink()  # a map of it may be open
    path.write_bytes(data)
    assert same(open_dataset(tmp_path / "a.zip", cache="disk"), whole)
    assert same(open_dataset(tmp_path / "a.zip", cache="disk"), whole)


def test_auto_decides_by_the_free_memory(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_set(tmp_path / "a.zip")  # 2304 bytes of pixels
    for free, on_disk in [(4608, False), (4607, True), (None, False)]:
        monkeypatch.setattr(decoded_cache, "free_memory", lambda free=free: free)
        found = open_dataset(tmp_path / "a.zip").images
        assert isinstance(found, np.memmap) == on_disk
    assert belongs_on_disk(1, "disk")
    assert not belongs_on_disk(1 << 60, "memory")


def test_the_free_memory_of_a_container_is_what_its_limit_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoded_cache, "_CGROUP", tmp_path)
    machine = free_memory()
    assert machine is None or machine > 1 << 20
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("5000\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 1000\n")
    assert (free_memory() is None) == (machine is None)
    (tmp_path / "memory.max").write_text("10000\n")
    assert free_memory() == 6000


def test_no_room(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_set(tmp_path / "a.zip")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100))
    with pytest.raises(OutputError, match=r"need 0.0 GiB, and .*datasets has .*SEGAN_CACHE"):
        open_dataset(tmp_path / "a.zip", cache="disk")
    assert list(cache.iterdir()) == []


def test_a_damaged_image_leaves_nothing_behind(tmp_path: Path, cache: Path) -> None:
    with write_training_zip(tmp_path / "a.zip") as writer:
        writer.add(encode_png(np.zeros((8, 8, 3), np.uint8)))
        writer.add(b"no image")
    with pytest.raises(DataError, match=r"img00000001.png in .* is not a whole image"):
        open_dataset(tmp_path / "a.zip", cache="disk")
    assert list(cache.iterdir()) == []


def test_processes_that_want_the_same_set_decode_it_once(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_set(tmp_path / "a.zip")
    written, real = [], decoded_cache._write

    def write(*args: object) -> None:
        written.append(args)
        real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(decoded_cache, "_write", write)
    found: list[ImageDataset] = []
    threads = [
        threading.Thread(
            target=lambda: found.append(open_dataset(tmp_path / "a.zip", cache="disk"))
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(written) == 1
    assert len({dataset.fingerprint for dataset in found}) == 1
    assert len(found) == 4


def test_another_word(tmp_path: Path) -> None:
    write_set(tmp_path / "a.zip")
    with pytest.raises(ConfigError) as caught:
        open_dataset(tmp_path / "a.zip", cache="ram")
    assert (caught.value.field, caught.value.value) == ("cache", "ram")
    assert caught.value.expected == "auto, memory or disk"


def test_memory_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_set(tmp_path / "a.zip")

    def none_left(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(np, "empty", none_left)
    with pytest.raises(DataError, match=r"needs 0.0 GiB of memory. .*cache='disk'"):
        open_dataset(tmp_path / "a.zip", cache="memory")
