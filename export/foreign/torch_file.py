"""Checkpoints of ``torch.save``, read as data without torch's loader.

There are three forms: the current zip format, the stream of torch before 1.6, and storages as bytes
within other pickles, such as StyleGAN2-ADA's.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

from segan.export.foreign.inert.machine import read_pickle
from segan.export.foreign.inert.objects import STORAGES, Name, StorageRecord, refuse
from segan.export.foreign.limits import (
    MAX_DIRECTORY_BYTES,
    MAX_ENTRIES,
    MAX_NAME,
    Budget,
    exceeded,
)
from segan.runtime.errors import CheckpointError

#: First pickle of the old stream.
MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001

#: Bytes of a local header of a zip's entry, before its name.
_LOCAL_HEADER = struct.Struct("<4s5H3I2H")


def _damaged(problem: str) -> CheckpointError:
    return CheckpointError(
        f"{problem}: the file is truncated or damaged", remedy="Download or copy the file again."
    )


def is_stream(data: memoryview) -> bool:
    """Return whether a pickle starts with torch's magic number."""
    return bytes(data[:14]) == b"\x80\x02\x8a\x0a" + MAGIC.to_bytes(10, "little")


def read_zip(file: BinaryIO, data: memoryview) -> Any:
    """Return the object in a zip of ``torch.save``.

    Args:
        file: the open file, for the directory of the zip.
        data: all bytes of the file.

    Raises:
        CheckpointError: not such a zip, compressed, truncated, or see ``read_pickle``.
    """
    directory = _directory_bytes(data)
    if directory > MAX_DIRECTORY_BYTES:
        raise exceeded("bytes for the zip's directory", directory, MAX_DIRECTORY_BYTES)
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
    except _ZIP_ERRORS as error:
        raise _damaged(f"the zip cannot be read ({str(error)[:120]})") from None
    if len(entries) > MAX_ENTRIES:
        raise exceeded("entries in the zip", len(entries), MAX_ENTRIES)
    names = [entry.filename for entry in entries]
    pickles = [name for name in names if name.rpartition("/")[2] == "data.pkl"]
    if len(pickles) != 1:
        raise CheckpointError(
            f"the zip holds {len(pickles)} data.pkl",
            expected="one, as in a checkpoint of torch.save",
            remedy="For images, use 'segan data convert'; a bundle needs no import.",
        )
    prefix = pickles[0].removesuffix("data.pkl")
    views: dict[str, memoryview] = {}
    for entry in entries:
        if entry.filename.startswith(prefix):
            name = entry.filename.removeprefix(prefix)
            if name in views:
                raise _damaged(f"the zip holds {name[:80]!r} twice")
            views[name] = _entry(entry, data)
    if "constants.pkl" in views:
        raise CheckpointError(
            "the file is a TorchScript program (torch.jit.save), which holds code",
            expected="tensors by name",
            remedy="Save the network's state_dict() with torch.save.",
        )
    if bytes(views.get("byteorder", memoryview(b"little"))[:16]) != b"little":
        raise _big_endian()

    def storage(kind: str, key: str, numel: int) -> memoryview:
        found = views.get(f"data/{key}")
        if found is None:
            raise _damaged(f"the checkpoint's tensor data/{key[:80]} is missing")
        size = numel * np.dtype(STORAGES[kind]).itemsize
        if len(found) < size:
            raise _damaged(
                f"the checkpoint's tensor data/{key[:80]} has {len(found)} of {size} bytes"
            )
        return found[:size]

    root, _ = read_pickle(views["data.pkl"], persistent_load=_persistent(storage))
    return root


#: Errors of zipfile for directories that are damaged.
_ZIP_ERRORS = (
    zipfile.BadZipFile,
    NotImplementedError,
    OSError,
    ValueError,
    IndexError,
    OverflowError,
    struct.error,
)


def _directory_bytes(data: memoryview) -> int:
    """Return the size of a zip's directory, as its last record states; 0 where there is none."""
    tail = bytes(data[-(1 << 16) - 64 :])
    place = tail.rfind(b"PK\x05\x06")
    if place < 0 or place + 16 > len(tail):
        return 0  # zipfile says that the file is not a zip.
    stated = int(struct.unpack_from("<I", tail, place + 12)[0])
    wide = tail.rfind(b"PK\x06\x06", 0, place)
    if wide >= 0 and wide + 48 <= len(tail):
        stated = max(
            stated if stated != 0xFFFFFFFF else 0, *struct.unpack_from("<Q", tail, wide + 40)
        )
    return stated


def _entry(entry: zipfile.ZipInfo, data: memoryview) -> memoryview:
    """Return the bytes of a stored entry, as a view."""
    if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
        raise CheckpointError(
            f"the zip's entry {entry.filename[:80]} is compressed or encrypted",
            expected="stored entries, as in a checkpoint of torch.save",
            remedy="If the zip holds a checkpoint, unpack it first.",
        )
    start = entry.header_offset
    if start < 0 or start + _LOCAL_HEADER.size > len(data):
        raise _damaged("the zip's directory points past its end")
    header = _LOCAL_HEADER.unpack_from(data, start)
    first = start + _LOCAL_HEADER.size + header[9] + header[10]
    if header[0] != b"PK\x03\x04" or entry.file_size < 0 or first + entry.file_size > len(data):
        raise _damaged(f"the zip's entry {entry.filename[:80]} is incomplete")
    return data[first : first + entry.file_size]


def read_stream(data: memoryview) -> Any:
    """Return the object in a stream of ``torch.save`` before 1.6. Raises: CheckpointError."""
    budget = Budget()
    position = _read_header(data, budget)
    # Storages follow the pickle that names them, so the pickle is read twice: first for the names.
    named: dict[str, tuple[str, int]] = {}

    def note(kind: str, key: str, numel: int) -> memoryview:
        if named.setdefault(key, (kind, numel)) != (kind, numel):
            raise _damaged(f"the checkpoint states two sizes of tensor {key[:40]}")
        return memoryview(b"")

    _, used = read_pickle(data[position:], budget, persistent_load=_persistent(note))
    views = _read_storages(data, position + used, named, budget)
    root, _ = read_pickle(
        data[position:], budget, persistent_load=_persistent(lambda kind, key, numel: views[key])
    )
    return root


def read_nested_storage(data: Any, budget: Budget) -> StorageRecord:
    """Return a storage that ``torch.save`` pickled into bytes. Raises: CheckpointError."""
    if not isinstance(data, memoryview):
        raise _damaged("a storage is not bytes")
    position = _read_header(data, budget)
    named: dict[str, tuple[str, int]] = {}

    def note(kind: str, key: str, numel: int) -> memoryview:
        named[key] = (kind, numel)
        return memoryview(b"")

    record, used = read_pickle(data[position:], budget, persistent_load=_persistent(note))
    if not isinstance(record, StorageRecord) or len(named) != 1:
        raise refuse("bytes that do not hold a storage")
    views = _read_storages(data, position + used, named, budget)
    return StorageRecord(record.kind, next(iter(views.values())), record.numel)


def _read_header(data: memoryview, budget: Budget) -> int:
    """Read the magic number, the protocol and the system's description; return their length."""
    position = 0
    system: Any = None
    for expected in (MAGIC, _PROTOCOL, dict):
        system, used = read_pickle(data[position:], budget)
        if system != expected and not (expected is dict and isinstance(system, dict)):
            raise CheckpointError("the file holds a storage that torch.save did not write")
        position += used
    if system.get("little_endian") is not True:
        raise _big_endian()
    return position


def _big_endian() -> CheckpointError:
    return CheckpointError(
        "the checkpoint was written on a big-endian machine",
        remedy="Save it again on a little-endian machine.",
    )


def _read_storages(
    data: memoryview, position: int, named: dict[str, tuple[str, int]], budget: Budget
) -> dict[str, memoryview]:
    """Return the storages after the pickles: a list of keys, then length and bytes of each."""
    keys, used = read_pickle(data[position:], budget)
    position += used
    if not isinstance(keys, list) or not all(
        isinstance(key, str) and len(key) <= MAX_NAME for key in keys
    ):
        raise _damaged("the checkpoint does not list its tensors")
    views = {}
    for key in keys:
        if key not in named or key in views:
            raise _damaged("the checkpoint lists a tensor that it does not use")
        kind, numel = named[key]
        end = position + 8 + numel * np.dtype(STORAGES[kind]).itemsize
        if end > len(data) or struct.unpack_from("<q", data, position)[0] != numel:
            raise _damaged(f"the checkpoint's tensor {key[:40]} is incomplete")
        views[key] = data[position + 8 : end]
        position = end
    if set(views) != set(named):
        raise _damaged("tensors of the checkpoint are missing")
    return views


def _persistent(
    storage: Callable[[str, str, int], memoryview],
) -> Callable[[Any], StorageRecord]:
    """Return a reader of torch's persistent ids: ('storage', class, key, device, numel)."""

    def load(key: Any) -> StorageRecord:
        if not isinstance(key, tuple) or len(key) not in (5, 6) or key[0] != "storage":
            raise refuse("a persistent id that is not a storage")
        kind, name, numel = key[1], key[2], key[4]
        if not isinstance(kind, Name) or kind.module != "torch" or kind.attribute not in STORAGES:
            raise refuse(f"a storage of type {kind if isinstance(kind, Name) else '?'}")
        if len(key) == 6 and key[5] is not None:
            raise refuse("a view of a storage")
        if (
            not isinstance(name, str)
            or len(name) > MAX_NAME
            or type(numel) is not int
            or not 0 <= numel < 1 << 44
        ):
            raise refuse("a storage without a name or a size")
        return StorageRecord(kind.attribute, storage(kind.attribute, name, numel), numel)

    return load
