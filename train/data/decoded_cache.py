"""Decoded images on the disk, read as a memory map, for sets that do not fit into memory.

    $SEGAN_CACHE/datasets/<key>.npy     [n, C, R, R] uint8, numpy's own format
    $SEGAN_CACHE/datasets/<key>.json    format, SHA-256 of the pixels

The key is the SHA-256 of the names and encoded bytes of all images, so an edited set gets a new
file. Both files are written completely or not at all. Whenever a set is opened, its pixels are
compared with their SHA-256, and decoded again if they differ. Only the user removes old files.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal, cast, get_args

import numpy as np
import numpy.typing as npt

from segan.runtime.errors import ConfigError, OutputError
from segan.runtime.files.atomic import atomic_file, write_atomic
from segan.runtime.files.cache import cache_folder
from segan.runtime.files.lock import locked
from segan.runtime.machine.hardware import describe_memory

#: Where decoded images are kept; ``auto`` decides by the free memory.
DataCache = Literal["auto", "memory", "disk"]
#: Share of the free memory that decoded images may take before ``auto`` puts them on the disk.
MEMORY_SHARE = 0.5
_FORMAT = "segan.decoded/2"
#: Bytes that are hashed at once.
_CHUNK = 1 << 24
_CGROUP = Path("/sys/fs/cgroup")


def check_data_cache(value: str) -> DataCache:
    """Return the value. Raises: ConfigError unless it is auto, memory or disk."""
    if value not in get_args(DataCache):
        raise ConfigError(field="cache", value=value, expected="auto, memory or disk")
    return cast(DataCache, value)


def belongs_on_disk(size: int, cache: DataCache) -> bool:
    """Whether ``size`` bytes of pixels are kept on the disk rather than in memory."""
    if cache != "auto":
        return cache == "disk"
    free = free_memory()
    return free is not None and size > free * MEMORY_SHARE


def free_memory() -> int | None:
    """Bytes of memory that this process may still take; None where the system does not report them.

    In a container, its own limit counts.
    """
    free = describe_memory()["available"]
    try:
        limit = int((_CGROUP / "memory.max").read_text())
        held = int((_CGROUP / "memory.current").read_text())
        for line in (_CGROUP / "memory.stat").read_text().splitlines():
            if line.startswith("inactive_file "):  # file cache, which is freed on demand
                held -= int(line.split()[1])
    except (OSError, ValueError):  # no container, or no limit ("max")
        return free
    left = max(limit - held, 0)
    return left if free is None else min(free, left)


def pixels_digest(images: npt.NDArray[np.uint8]) -> hashlib._Hash:
    """SHA-256 of shape and pixels, to be updated further; reads a memory map piece by piece."""
    digest = hashlib.sha256(repr(images.shape).encode())
    flat = images.reshape(-1)
    for start in range(0, flat.size, _CHUNK):
        digest.update(np.ascontiguousarray(flat[start : start + _CHUNK]).data)
    return digest


def encoded_key(parts: Iterable[tuple[str, bytes]]) -> str:
    """SHA-256 over names and encoded bytes, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for name, data in parts:
        digest.update(f"{len(name)} {name} {len(data)} ".encode())
        digest.update(data)
    return digest.hexdigest()


def cached_images(
    key: str,
    shape: tuple[int, int, int, int],
    decoded: Callable[[], Iterable[npt.NDArray[np.uint8]]],
) -> npt.NDArray[np.uint8]:
    """Return the images of ``key`` from the cache; decode them into it where they are missing.

    Args:
        key: from ``encoded_key``.
        shape: [n, C, R, R].
        decoded: yields the n images [C, R, R]; called where they are missing.

    Returns:
        A read-only memory map.

    Raises:
        OutputError: the cache cannot be written, or has no room.
    """
    folder = cache_folder("datasets")
    found = _read(folder, key, shape)
    if found is not None:
        return found
    # Several processes of one run need the same images: one decodes them, the others wait.
    with locked(folder, on_wait=lambda: None):
        found = _read(folder, key, shape)
        if found is None:
            _write(folder, key, shape, decoded())
            found = _read(folder, key, shape)
    if found is None:
        raise OutputError(
            f"{folder / key}.npy differs from what was written to it",
            field="SEGAN_CACHE",
            value=str(folder),
            remedy="Check the disk, or name another folder in SEGAN_CACHE.",
        )
    return found


def _write(
    folder: Path,
    key: str,
    shape: tuple[int, int, int, int],
    images: Iterable[npt.NDArray[np.uint8]],
) -> None:
    size = int(np.prod(shape, dtype=np.int64))
    free = shutil.disk_usage(folder).free
    if size > free:
        raise OutputError(
            f"the decoded images need {size / 2**30:.1f} GiB, and {folder} has "
            f"{free / 2**30:.1f} GiB of room",
            field="SEGAN_CACHE",
            value=str(folder),
            remedy="Name a folder on another disk in SEGAN_CACHE, or convert the images to a "
            "smaller resolution with 'segan data convert'.",
        )
    digest = hashlib.sha256(repr(shape).encode())
    with atomic_file(folder / f"{key}.npy") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for image in images:
            data = np.ascontiguousarray(image).data
            digest.update(data)
            file.write(data)
    record = {"format": _FORMAT, "sha256": digest.hexdigest()}
    write_atomic(folder / f"{key}.json", json.dumps(record).encode() + b"\n")


def _read(folder: Path, key: str, shape: tuple[int, int, int, int]) -> npt.NDArray[np.uint8] | None:
    """The memory map; None where it is missing or differs from what was written."""
    try:
        record = json.loads((folder / f"{key}.json").read_bytes())
        images = np.load(folder / f"{key}.npy", mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if not isinstance(record, dict) or record.get("format") != _FORMAT:
        return None
    if images.shape != shape or images.dtype != np.uint8:
        return None
    if pixels_digest(images).hexdigest() != record.get("sha256"):
        return None
    return cast(npt.NDArray[np.uint8], images)
