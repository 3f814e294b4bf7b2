"""Checkpoints of ``torch.save``, read as data; torch's own loader is not used.

Three forms: the zip of today, the stream of before 1.6, and the storages that lie as bytes inside
of other pickles, such as StyleGAN2-ADA's.
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

_DAMAGED = "it is cut short or damaged. Download or copy the file again."


def is_stream(data: memoryview) -> bool:
    """Whether a pickle starts with torch's magic number."""
    return bytes(data[:14]) == b"\x80\x02\x8a\x0a" + MAGIC.to_bytes(10, "little")


def read_zip(file: BinaryIO, data: memoryview) -> Any:
    """The object in a zip of ``torch.save``.

    Args:
        file: the open file, for the directory of the zip.
        data: all of its bytes.

    Raises:
        CheckpointError: not such a zip, compressed, cut short, or see ``read_pickle``.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
        raise CheckpointError(f"the file looks like a zip, but {_DAMAGED} ({error})") from None
    if len(entries) > MAX_ENTRIES:
        raise CheckpointError(f"the zip has {len(entries)} entries; no checkpoint has that many.")
    views = {entry.filename: _entry(entry, data) for entry in entries}
    pickles = [name for name in views if name.rpartition("/")[2] == "data.pkl"]
    if len(pickles) != 1:
        raise CheckpointError(
            "the zip is no checkpoint of torch.save: it has no data.pkl. For images, use "
            "'segan data convert'; for a bundle, the commands that take one."
        )
    folder = pickles[0].rpartition("/")[0]
    prefix = f"{folder}/" if folder else ""
    if bytes(views.get(f"{prefix}byteorder", memoryview(b"little"))) != b"little":
        raise CheckpointError("the checkpoint was written on a big-endian machine; save it again.")

    def storage(kind: str, key: str, numel: int) -> memoryview:
        found = views.get(f"{prefix}data/{key}")
        if found is None:
            raise CheckpointError(f"the checkpoint's tensor data/{key} is missing: {_DAMAGED}")
        size = numel * np.dtype(STORAGES[kind]).itemsize
        if len(found) < size:
            raise CheckpointError(
                f"the checkpoint's tensor data/{key} has {len(found)} bytes of {size}: {_DAMAGED}"
            )
        return found[:size]

    root, _ = read_pickle(views[pickles[0]], persistent_load=_persistent(storage))
    return root


def _entry(entry: zipfile.ZipInfo, data: memoryview) -> memoryview:
    """The bytes of a stored entry, as a view."""
    if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
        raise CheckpointError(
            f"the zip's entry {entry.filename[:80]} is compressed or encrypted; checkpoints of "
            "torch.save are not. Unpack it first if it is a zip around a checkpoint."
        )
    start = entry.header_offset
    if start < 0 or start + _LOCAL_HEADER.size > len(data):
        raise CheckpointError(f"the zip's directory points past its end: {_DAMAGED}")
    header = _LOCAL_HEADER.unpack_from(data, start)
    first = start + _LOCAL_HEADER.size + header[9] + header[10]
    if header[0] != b"PK\x03\x04" or first + entry.file_size > len(data):
        raise CheckpointError(f"the zip's entry {entry.filename[:80]} is not whole: {_DAMAGED}")
    return data[first : first + entry.file_size]


def read_stream(data: memoryview) -> Any:
    """The object in a stream of ``torch.save`` before 1.6. Raises: CheckpointError."""
    position = _read_header(data)
    # Storages lie behind the pickle that names them, so their records are made first.
    named: dict[str, tuple[str, int]] = {}

    def note(kind: str, key: str, numel: int) -> memoryview:
        if named.setdefault(key, (kind, numel)) != (kind, numel):
            raise CheckpointError(f"the checkpoint states two sizes of tensor {key[:40]}.")
        return memoryview(b"")

    _, used = read_pickle(data[position:], persistent_load=_persistent(note))
    views = _read_storages(data, position + used, named)
    root, _ = read_pickle(
        data[position:], persistent_load=_persistent(lambda kind, key, numel: views[key])
    )
    return root


def read_nested_storage(data: Any) -> StorageRecord:
    """A storage that was pickled by ``torch.save`` into bytes. Raises: CheckpointError."""
    if not isinstance(data, memoryview):
        raise CheckpointError("the file holds a storage that is no bytes: it is damaged.")
    position = _read_header(data)
    named: dict[str, tuple[str, int]] = {}

    def note(kind: str, key: str, numel: int) -> memoryview:
        named[key] = (kind, numel)
        return memoryview(b"")

    record, used = read_pickle(data[position:], persistent_load=_persistent(note))
    if not isinstance(record, StorageRecord) or len(named) != 1:
        raise refuse("bytes that hold something else than a storage")
    views = _read_storages(data, position + used, named)
    return StorageRecord(record.kind, next(iter(views.values())), record.numel)


def _read_header(data: memoryview) -> int:
    """Reads the magic number, the protocol and the system's description; returns their length."""
    position = 0
    system: Any = None
    for expected in (MAGIC, _PROTOCOL, dict):
        system, used = read_pickle(data[position:])
        if system != expected and not (expected is dict and isinstance(system, dict)):
            raise CheckpointError("the file holds a storage that torch.save did not write.")
        position += used
    if system.get("little_endian") is not True:
        raise CheckpointError("the checkpoint was written on a big-endian machine; save it again.")
    return position


def _read_storages(
    data: memoryview, position: int, named: dict[str, tuple[str, int]]
) -> dict[str, memoryview]:
    """The storages behind the pickles: a list of keys, then length and bytes of each."""
    keys, used = read_pickle(data[position:])
    position += used
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise CheckpointError(f"the checkpoint does not list its tensors: {_DAMAGED}")
    views = {}
    for key in keys:
        if key not in named or key in views:
            raise CheckpointError(f"the checkpoint lists a tensor that it does not use: {_DAMAGED}")
        kind, numel = named[key]
        end = position + 8 + numel * np.dtype(STORAGES[kind]).itemsize
        if end > len(data) or struct.unpack_from("<q", data, position)[0] != numel:
            raise CheckpointError(f"the checkpoint's tensor {key[:40]} is not whole: {_DAMAGED}")
        views[key] = data[position + 8 : end]
        position = end
    if set(views) != set(named):
        raise CheckpointError(f"the checkpoint's tensors are not all there: {_DAMAGED}")
    return views


def _persistent(
    storage: Callable[[str, str, int], memoryview],
) -> Callable[[Any], StorageRecord]:
    """Reads torch's persistent ids: ('storage', class, key, device, number of items)."""

    def load(key: Any) -> StorageRecord:
        if not isinstance(key, tuple) or len(key) not in (5, 6) or key[0] != "storage":
            raise refuse("a persistent id that is no storage")
        kind, name, numel = key[1], key[2], key[4]
        if not isinstance(kind, Name) or kind.module != "torch" or kind.attribute not in STORAGES:
            raise refuse(f"a storage of type {kind if isinstance(kind, Name) else '?'}")
        if len(key) == 6 and key[5] is not None:
            raise refuse("a view of a storage")
        if not isinstance(name, str) or type(numel) is not int or not 0 <= numel < 1 << 44:
            raise refuse("a storage without a name or a size")
        return StorageRecord(kind.attribute, storage(kind.attribute, name, numel), numel)

    return load
