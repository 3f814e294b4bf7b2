"""What a file is, told from its content, and its tensors by the names of its own layout.

Nothing in the file runs: see ``segan.export.foreign.inert.machine``. The file is mapped, not
read, so that only the tensors that are taken cost memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np

from segan.export.foreign.inert.machine import read_pickle
from segan.export.foreign.inert.objects import (
    STORAGES,
    PersistentRecord,
    StorageRecord,
    TensorRecord,
    check_tensor,
)
from segan.export.foreign.torch_file import is_stream, read_nested_storage, read_stream, read_zip
from segan.runtime.errors import CheckpointError

LAYOUTS = ("ada", "rosinality", "segan-pytorch")

#: Largest file: ten times the largest StyleGAN2 checkpoint.
MAX_FILE_BYTES = 1 << 34

#: Levels of modules in a network, and tensors of one.
MAX_MODULE_DEPTH, MAX_TENSORS = 12, 20_000

#: Largest header of a safetensors file.
MAX_HEADER_BYTES = 1 << 26

#: Names that only this layout has.
_MARKS: dict[str, tuple[str, ...]] = {
    "ada": ("synthesis.b4.const", "mapping.fc0.weight"),
    "rosinality": ("input.input", "style.1.weight", "conv1.conv.weight"),
    "segan-pytorch": ("Synthesis.const.input", "Mapping.layer.1.weight"),
}

_SAFETENSORS_TYPES = {
    "F64": "DoubleStorage",
    "F32": "FloatStorage",
    "F16": "HalfStorage",
    "BF16": "BFloat16Storage",
    "I64": "LongStorage",
    "I32": "IntStorage",
    "I16": "ShortStorage",
    "I8": "CharStorage",
    "U8": "ByteStorage",
    "BOOL": "BoolStorage",
}


@dataclass(kw_only=True)
class ForeignModel:
    """A generator as its file states it.

    Attributes:
        layout: ``ada``, ``rosinality`` or ``segan-pytorch``.
        container: how the file is written, for people.
        weights: which of the file's networks this is, such as ``G_ema``.
        tensors: by name, none of them read yet.
        settings: numbers and texts that stand beside the tensors, by module name; "" is the
            network's.
        latent_avg: rosinality's stored mean of w.
        sha256: of the file.
        size: of the file, in bytes.
        notes: what a user should know.
    """

    layout: str
    container: str
    weights: str
    tensors: dict[str, TensorRecord]
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    latent_avg: TensorRecord | None = None
    sha256: str = ""
    size: int = 0
    notes: list[str] = field(default_factory=list)


@contextlib.contextmanager
def open_foreign(path: Path, layout: str | None = None) -> Iterator[ForeignModel]:
    """Opens a file; its tensors can be read until the block ends.

    Args:
        path: the file.
        layout: stated by the user, for tensors without a container that tells; else None.

    Raises:
        CheckpointError: missing, cut short, damaged, hostile, or not a StyleGAN2 generator; the
            message says what the file is, and what to do.
    """
    try:
        with open(path, "rb") as file:
            size = file.seek(0, 2)
            if size == 0:
                raise CheckpointError(f"{path} is empty. Download or copy it again.")
            if size > MAX_FILE_BYTES:
                raise CheckpointError(
                    f"{path} has {size / 2**30:.0f} GiB; no StyleGAN2 checkpoint is that large."
                )
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            try:
                model = _read(file, memoryview(mapped), layout)
                file.seek(0)
                model.sha256 = hashlib.file_digest(file, "sha256").hexdigest()
                model.size = size
                yield model
            except CheckpointError as error:
                raise CheckpointError(f"{path}: {error}") from None
            # Views of the map may live on in records; it is closed with the last of them.
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing. Give a checkpoint file.") from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}.") from None


def _read(file: BinaryIO, data: memoryview, layout: str | None) -> ForeignModel:
    head = bytes(data[:512])
    if head[:4] == b"PK\x03\x04":
        return _model(read_zip(file, data), "torch.save (zip)", layout)
    if head[:1] == b"\x80" and len(head) > 1 and head[1] <= 5:
        if is_stream(data):
            return _model(read_stream(data), "torch.save (before 1.6)", layout)
        root, _ = read_pickle(data, load_storage=read_nested_storage)
        return _model(root, "pickle", layout)
    if len(head) > 9 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < len(data):
        return _read_safetensors(data, layout)
    raise CheckpointError(_what_it_is(head))


def _what_it_is(head: bytes) -> str:
    """Says what a file is that holds no checkpoint."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(b"version https://git-lfs"):
        return (
            "this is a git-LFS pointer, which stands for the file. Run 'git lfs pull' in that "
            "repository, or download the file itself."
        )
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml", b"<")):
        return (
            "this is a web page (HTML), not the file: the server answered with a page, such as "
            "'file not found' or a download warning. Download it again from a browser."
        )
    known = (
        (b"\x1f\x8b", "it is compressed with gzip. Unpack it first."),
        (b"\x28\xb5\x2f\xfd", "it is compressed with zstd. Unpack it first."),
        (b"7z\xbc\xaf", "it is a 7z archive. Unpack it first."),
        (b"rar!", "it is a RAR archive. Unpack it first."),
        (b"\x89hdf", "it is an HDF5 file, as Keras writes; segan imports PyTorch's StyleGAN2."),
        (b"\x89png", "it is a picture. 'segan project' takes pictures."),
        (b"\xff\xd8\xff", "it is a picture. 'segan project' takes pictures."),
        (b"\x93numpy", "it is a numpy array, perhaps a latent; expected a checkpoint."),
        (b"{", "it is JSON; expected a checkpoint."),
        (b"(", "it is a pickle of protocol 0, as Python 2 wrote; no StyleGAN2 checkpoint is."),
        (b"c", "it is perhaps a pickle of protocol 0; no StyleGAN2 checkpoint is."),
    )
    for mark, what in known:
        if text.startswith(mark):
            return what
    if head[257:262] == b"ustar":
        return "it is a tar archive. Unpack it first."
    return (
        "it is no checkpoint that segan knows; expected a StyleGAN2-ADA .pkl, a .pt of "
        "torch.save, or safetensors. See docs/guides/import.md."
    )


def _model(root: Any, container: str, layout: str | None) -> ForeignModel:
    """Finds the generator in what the file holds."""
    if isinstance(root, PersistentRecord):
        return _from_modules(root, container, root.class_name)
    if not isinstance(root, dict):
        raise CheckpointError(
            f"the file holds a {type(root).__name__}, not a checkpoint. A StyleGAN2 checkpoint is "
            "a dictionary with G_ema, g_ema, or tensors by name."
        )
    for key in ("G_ema", "G"):
        if isinstance(root.get(key), PersistentRecord):
            return _from_modules(root[key], container, key)
    states = {key: _tensors(root[key]) for key in ("g_ema", "g") if isinstance(root.get(key), dict)}
    states = {key: found for key, found in states.items() if found}
    if not states:
        found = _tensors(root)
        if found:
            return _named(found, container, "the file's", layout)
        keys = ", ".join(str(key)[:40] for key in list(root)[:6]) or "none"
        raise CheckpointError(
            f"the file holds no generator that segan knows; its keys are {keys}. Expected G_ema "
            "(StyleGAN2-ADA), or g_ema (rosinality, SEGan_Pytorch)."
        )
    key = next(iter(states))
    notes = []
    with_subspaces = {key for key, found in states.items() if _has_subspaces(found)}
    if with_subspaces == {"g"} and key == "g_ema":
        key = "g"
        notes.append(
            "g_ema lacks the subspaces that g was trained with, so g was taken, not the moving "
            "average."
        )
    model = _named(states[key], container, key, layout)
    average = root.get("latent_avg")
    model.latent_avg = average if isinstance(average, TensorRecord) else None
    model.notes += notes
    return model


def _has_subspaces(tensors: Mapping[str, TensorRecord]) -> bool:
    return any(".subspaces." in name for name in tensors)


def _tensors(found: Mapping[Any, Any]) -> dict[str, TensorRecord]:
    """The tensors of a state dictionary; DistributedDataParallel's prefix goes."""
    tensors = {
        str(name).removeprefix("module."): value
        for name, value in found.items()
        if isinstance(name, str) and isinstance(value, TensorRecord)
    }
    if len(tensors) > MAX_TENSORS:
        raise CheckpointError(f"the file holds {len(tensors)} tensors; no StyleGAN2 has that many.")
    return tensors


def _named(
    tensors: dict[str, TensorRecord], container: str, weights: str, layout: str | None
) -> ForeignModel:
    """A model of tensors by name, in the layout that the names show."""
    found = identify(tensors)
    if layout is not None and found is not None and layout != found:
        raise CheckpointError(
            f"the layout was given as {layout}, but the names are {found}'s. Leave --layout out."
        )
    if found is None:
        stated = "" if layout is None else f" the {layout} layout does not have, and no other;"
        raise CheckpointError(
            f"the file's tensors have names that{stated} segan does not know, such as "
            f"{', '.join(name[:40] for name in list(tensors)[:3])}. Expected the names of one of "
            f"the layouts {', '.join(LAYOUTS)}: see docs/guides/import.md."
        )
    return ForeignModel(layout=found, container=container, weights=weights, tensors=tensors)


def identify(tensors: Mapping[str, TensorRecord]) -> str | None:
    """The layout that the names show. Raises: CheckpointError for one that is not taken."""
    for layout, marks in _MARKS.items():
        if all(mark in tensors for mark in marks):
            return layout
    if any(name.startswith(("synthesis.L0_", "synthesis.input.")) for name in tensors):
        raise CheckpointError(_STYLEGAN3)
    if "synthesis.blocks.b4.const" in tensors:
        raise CheckpointError(
            "these are tensors of segan's own training. Give the checkpoint's folder, which holds "
            "checkpoint.json too, or run 'segan export'."
        )
    if any(name.startswith(("progression.", "generator.progression.")) for name in tensors):
        raise CheckpointError("this is a StyleGAN (1) generator; segan imports StyleGAN2.")
    return None


_STYLEGAN3 = (
    "this is a StyleGAN3 generator (alias-free layers), which is another network; segan imports "
    "StyleGAN2. The StyleGAN3 repository's StyleGAN2 models (--cfg=stylegan2) can be imported."
)


def _from_modules(root: PersistentRecord, container: str, weights: str) -> ForeignModel:
    """A model of nested persistent modules: their tensors and numbers under dotted names."""
    tensors: dict[str, TensorRecord] = {}
    settings: dict[str, dict[str, Any]] = {}

    def walk(record: PersistentRecord, prefix: str, depth: int) -> None:
        if depth > MAX_MODULE_DEPTH or len(tensors) > MAX_TENSORS or len(settings) > MAX_TENSORS:
            raise CheckpointError("the file nests more modules than a StyleGAN2 has.")
        settings[prefix.rstrip(".")] = {
            name: value
            for name, value in record.state.items()
            if isinstance(name, str) and isinstance(value, str | int | float | None)
        } | {"class_name": record.class_name}
        for group in ("_parameters", "_buffers"):
            for name, value in _dict_at(record, group).items():
                if isinstance(value, TensorRecord):
                    tensors[f"{prefix}{name}"] = value
        for name, value in _dict_at(record, "_modules").items():
            if isinstance(value, PersistentRecord):
                walk(value, f"{prefix}{name}.", depth + 1)

    walk(root, "", 0)
    if root.class_name != "Generator" or identify(tensors) != "ada":
        raise CheckpointError(
            f"{weights} is a {root.class_name[:60]!r} that is no StyleGAN2 generator: it lacks "
            "mapping.fc0 or synthesis.b4. Give a snapshot of StyleGAN2-ADA's training."
        )
    model = ForeignModel(
        layout="ada", container=container, weights=weights, tensors=tensors, settings=settings
    )
    if weights == "G":
        model.notes.append("the file has no G_ema, so G was taken, not the moving average.")
    return model


def _dict_at(record: PersistentRecord, name: str) -> dict[Any, Any]:
    found = record.state.get(name)
    return found if isinstance(found, dict) else {}


def _read_safetensors(data: memoryview, layout: str | None) -> ForeignModel:
    """A safetensors file: a JSON header, then the bytes."""
    length = int.from_bytes(data[:8], "little")
    if length > MAX_HEADER_BYTES:
        raise CheckpointError("the safetensors header is larger than any model's.")
    try:
        header = msgspec.json.decode(bytes(data[8 : 8 + length]))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise CheckpointError(
            "it is no safetensors file, or a damaged one: its header is not JSON."
        ) from None
    metadata = header.pop("__metadata__", None) or {}
    tensors = {
        name: _safe_tensor(name, entry, data[8 + length :]) for name, entry in header.items()
    }
    if not tensors:
        raise CheckpointError("the safetensors file holds no tensors.")
    metadata = metadata if isinstance(metadata, dict) else {}
    stated = metadata.get("layout")
    model = _named(tensors, "safetensors", "the file's", layout or stated)
    model.settings[""] = metadata
    return model


def _safe_tensor(name: str, entry: Any, data: memoryview) -> TensorRecord:
    try:
        kind, shape = _SAFETENSORS_TYPES[entry["dtype"]], tuple(entry["shape"])
        first, last = entry["data_offsets"]
        if not 0 <= first <= last <= len(data):
            raise ValueError
        itemsize = np.dtype(STORAGES[kind]).itemsize
        storage = StorageRecord(kind, data[first:last], (last - first) // itemsize)
        strides = tuple(math.prod(shape[number + 1 :]) for number in range(len(shape)))
        record = check_tensor(storage, 0, shape, strides)
        if math.prod(shape) * itemsize != last - first:
            raise ValueError
    except (KeyError, TypeError, ValueError, OverflowError):
        raise CheckpointError(
            f"the safetensors header does not describe {name[:60]!r}: the file is cut short or "
            "damaged. Download or copy it again."
        ) from None
    return record
