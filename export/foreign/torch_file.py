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
from segan.runtime.errors import CheckpointError

#: First pickle of the old stream.
MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001

#: Most entries of a checkpoint's zip: one for each tensor.
MAX_ENTRIES = 100_000

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
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
        raise _damaged(f"the zip cannot be read ({error})") from None
    if len(entries) > MAX_ENTRIES:
        raise CheckpointError(
            f"the zip has {len(entries)} entries", expected=f"at most {MAX_ENTRIES}"
        )
    views = {entry.filename: _entry(entry, data) for entry in entries}
    pickles = [name for name in views if name.rpartition("/")[2] == "data.pkl"]
    if len(pickles) != 1:
        raise CheckpointError(
            f"the zip holds {len(pickles)} data.pkl",
            expected="one, as in a checkpoint of torch.save",
            remedy="For images, use 'segan data convert'; a bundle needs no import.",
        )
    folder = pickles[0].rpartition("/")[0]
    prefix = f"{folder}/" if folder else ""
    if bytes(views.get(f"{prefix}byteorder", memoryview(b"little"))) != b"little":
        raise _big_endian()

    def storage(kind: str, key: str, numel: int) -> memoryview:
        found = views.get(f"{prefix}data/{key}")
        if found is None:
            raise _damaged(f"the checkpoint's tensor data/{key[:80]} is missing")
        size = numel * np.dtype(STORAGES[kind]).itemsize
        if len(found) < size:
            raise _damaged(
                f"the checkpoint's tensor data/{key[:80]} has {len(found)} of {size} bytes"
            )
        return found[:size]

    root, _ = read_pickle(views[pickles[0]], persistent_load=_persistent(storage))
    return root


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
    if header[0] != b"PK\x03\x04" or first + entry.file_size > len(data):
        raise _damaged(f"the zip's entry {entry.filename[:80]} is incomplete")
    return data[first : first + entry.file_size]


def read_stream(data: memoryview) -> Any:
    """Return the object in a stream of ``torch.save`` before 1.6. Raises: CheckpointError."""
    position = _read_header(data)
    # Storages follow the pickle that names them, so the pickle is read twice: first for the names.
    named: dict[str, tuple[str, int]] = {}

    def note(kind: str, key: str, numel: int) -> memoryview:
        if named.setdefault(key, (kind, numel)) != (kind, numel):
            raise _damaged(f"the checkpoint states two sizes of tensor {key[:40]}")
        return memoryview(b"")

    _, used = read_pickle(data[position:], persistent_load=_persistent(note))
    views = _read_storages(data, position + used, named)
    root, _ = read_pickle(
        data[position:], persistent_load=_persistent(lambda kind, key, numel: views[key])
    )
    return root


def read_nested_storage(data: Any) -> StorageRecord:
    """Return a storage that ``torch.save`` pickled into bytes. Raises: CheckpointError."""
    if not isinstance(data, memoryview):
        raise _damaged("a storage is not bytes")
    position = _read_header(data)
    named: dict[str, tuple[str, int]] = {}

    def note(kind: str, key: str, numel: int) -> memoryview:
        named[key] = (kind, numel)
        return memoryview(b"")

    record, used = read_pickle(data[position:], persistent_load=_persistent(note))
    if not isinstance(record, StorageRecord) or len(named) != 1:
        raise refuse("bytes that do not hold a storage")
    views = _read_storages(data, position + used, named)
    return StorageRecord(record.kind, next(iter(views.values())), record.numel)


def _read_header(data: memoryview) -> int:
    """Read the magic number, the protocol and the system's description; return their length."""
    position = 0
    system: Any = None
    for expected in (MAGIC, _PROTOCOL, dict):
        system, used = read_pickle(data[position:])
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
    data: memoryview, position: int, named: dict[str, tuple[str, int]]
) -> dict[str, memoryview]:
    """Return the storages after the pickles: a list of keys, then length and bytes of each."""
    keys, used = read_pickle(data[position:])
    position += used
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
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
        if not isinstance(name, str) or type(numel) is not int or not 0 <= numel < 1 << 44:
            raise refuse("a storage without a name or a size")
        return StorageRecord(kind.attribute, storage(kind.attribute, name, numel), numel)

    return load
