"""Recognises a checkpoint file by its content, and finds the generator's tensors in it.

Nothing in the file is executed: see ``segan.export.foreign.inert.machine``. The file is mapped
into memory, so that only the tensors that are read cost memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from segan.export.foreign.inert.machine import read_pickle
from segan.export.foreign.inert.objects import PersistentRecord, TensorRecord
from segan.export.foreign.torch_file import is_stream, read_nested_storage, read_stream, read_zip
from segan.runtime.errors import CheckpointError

LAYOUTS = ("ada", "rosinality", "segan-pytorch")

#: Largest file: ten times the largest StyleGAN2 checkpoint.
MAX_FILE_BYTES = 1 << 34

#: Most levels of nested modules, and most tensors, of one network.
MAX_MODULE_DEPTH, MAX_TENSORS = 12, 20_000

#: Tensor names that identify a layout.
_MARKS: dict[str, tuple[str, ...]] = {
    "ada": ("synthesis.b4.const", "mapping.fc0.weight"),
    "rosinality": ("input.input", "style.1.weight", "conv1.conv.weight"),
    "segan-pytorch": ("Synthesis.const.input", "Mapping.layer.1.weight"),
}

#: Types of tensors that are read from safetensors.
_SAFETENSORS_TYPES = {"F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL"}


class TensorSource(Protocol):
    """A tensor in a file, whose values are not read yet."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape."""
        ...

    def read(self) -> NDArray[np.float32]:
        """Read the values into a new contiguous float32 array."""
        ...


@dataclass(kw_only=True)
class ForeignModel:
    """A generator in a file, before translation to segan's names.

    Attributes:
        layout: ``ada``, ``rosinality`` or ``segan-pytorch``.
        container: display name of the file format.
        weights: name of the network within the file, such as ``G_ema``.
        tensors: records by name; their values are not read yet.
        settings: numbers and texts stored with the tensors, by module name; "" is the network.
        latent_avg: the mean of w that rosinality stores.
        sha256: hash of the file.
        size: size of the file in bytes.
        notes: what a user should know.
    """

    layout: str
    container: str
    weights: str
    tensors: Mapping[str, TensorSource]
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    latent_avg: TensorSource | None = None
    sha256: str = ""
    size: int = 0
    notes: list[str] = field(default_factory=list)


@contextlib.contextmanager
def open_foreign(path: Path, layout: str | None = None) -> Iterator[ForeignModel]:
    """Open a file; its tensors can be read within the context.

    Args:
        path: the file.
        layout: expected layout; None recognises it from the tensors' names.

    Raises:
        CheckpointError: the file is missing, truncated, damaged, hostile, or not a StyleGAN2
            generator. ``field`` is ``path`` unless a setting in the file is at fault.
    """
    try:
        with open(path, "rb") as file:
            size = file.seek(0, 2)
            if size == 0:
                raise CheckpointError(
                    f"{path} is empty",
                    field="path",
                    value=path,
                    remedy="Download or copy the file again.",
                )
            if size > MAX_FILE_BYTES:
                raise CheckpointError(
                    f"{path} has {size / 2**30:.0f} GiB",
                    field="path",
                    value=path,
                    expected=f"a StyleGAN2 checkpoint, at most {MAX_FILE_BYTES >> 30} GiB",
                )
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            try:
                model = _read(path, file, memoryview(mapped), layout)
                file.seek(0)
                model.sha256 = hashlib.file_digest(file, "sha256").hexdigest()
                model.size = size
                yield model
            except CheckpointError as error:
                raise CheckpointError(
                    f"{path}: {error.problem}",
                    field=error.field or "path",
                    value=path if error.field is None else error.value,
                    expected=error.expected,
                    remedy=error.remedy,
                ) from None
            # The map is not closed here: records may hold views of it.
    except FileNotFoundError:
        raise CheckpointError(
            f"{path} does not exist",
            field="path",
            value=path,
            remedy="Give a checkpoint file.",
        ) from None
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read: {error.strerror or error}", field="path", value=path
        ) from None


def _read(path: Path, file: BinaryIO, data: memoryview, layout: str | None) -> ForeignModel:
    head = bytes(data[:512])
    if head[:4] == b"PK\x03\x04":
        return _model(read_zip(file, data), "torch.save (zip)", layout)
    if head[:1] == b"\x80" and len(head) > 1 and head[1] <= 5:
        if is_stream(data):
            return _model(read_stream(data), "torch.save (before 1.6)", layout)
        root, _ = read_pickle(data, load_storage=read_nested_storage)
        return _model(root, "pickle", layout)
    if len(head) > 9 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < len(data):
        return _read_safetensors(path, layout)
    raise _unknown_file(head)


#: First bytes of files that are not checkpoints, in lower case: what they are, and what to do.
_OTHER_FILES = (
    (b"\x1f\x8b", "the file is compressed with gzip", "Unpack it first."),
    (b"\x28\xb5\x2f\xfd", "the file is compressed with zstd", "Unpack it first."),
    (b"7z\xbc\xaf", "the file is a 7z archive", "Unpack it first."),
    (b"rar!", "the file is a RAR archive", "Unpack it first."),
    (b"\x89hdf", "the file is HDF5, as Keras writes", "Import a StyleGAN2 of PyTorch."),
    (b"\x89png", "the file is an image", "For images, use 'segan project'."),
    (b"\xff\xd8\xff", "the file is an image", "For images, use 'segan project'."),
    (b"\x93numpy", "the file is a numpy array, perhaps a latent", ""),
    (b"{", "the file is JSON", ""),
    (b"(", "the file is a pickle of protocol 0, as Python 2 writes", ""),
    (b"c", "the file may be a pickle of protocol 0, as Python 2 writes", ""),
)


def _unknown_file(head: bytes) -> CheckpointError:
    """Return an error that says what a file is that holds no checkpoint."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(b"version https://git-lfs"):
        return CheckpointError(
            "the file is a git-LFS pointer, not the file itself",
            remedy="Run 'git lfs pull' in that repository, or download the file itself.",
        )
    if text.startswith(b"<"):
        return CheckpointError(
            "the file is a web page (HTML): the server answered with a page, such as 'not found' "
            "or a download warning",
            remedy="Download the file again from a browser.",
        )
    for mark, problem, remedy in _OTHER_FILES:
        if text.startswith(mark):
            return CheckpointError(problem, expected="a StyleGAN2 checkpoint", remedy=remedy)
    if head[257:262] == b"ustar":
        return CheckpointError("the file is a tar archive", remedy="Unpack it first.")
    return CheckpointError(
        "the file is not a checkpoint that segan recognises",
        expected="a StyleGAN2-ADA .pkl, a .pt of torch.save, or safetensors",
        remedy="See docs/guides/import.md.",
    )


def _model(root: Any, container: str, layout: str | None) -> ForeignModel:
    """Find the generator in the object that a file holds."""
    if isinstance(root, PersistentRecord):
        return _from_modules(root, container, root.class_name)
    if not isinstance(root, dict):
        raise CheckpointError(
            f"the file holds a {type(root).__name__}, not a checkpoint",
            expected="a dictionary with G_ema or g_ema, or of tensors by name",
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
            f"the file contains no generator that segan recognises (its keys: {keys})",
            expected="G_ema (StyleGAN2-ADA), or g_ema (rosinality, SEGan_Pytorch)",
        )
    key = next(iter(states))
    notes = []
    with_subspaces = {key for key, found in states.items() if _has_subspaces(found)}
    if with_subspaces == {"g"} and key == "g_ema":
        key = "g"
        notes.append("g_ema, the moving average, lacks the subspaces of g, so g was taken.")
    model = _named(states[key], container, key, layout)
    average = root.get("latent_avg")
    model.latent_avg = average if isinstance(average, TensorRecord) else None
    model.notes += notes
    return model


def _has_subspaces(tensors: Mapping[str, TensorSource]) -> bool:
    return any(".subspaces." in name for name in tensors)


def _tensors(found: Mapping[Any, Any]) -> dict[str, TensorRecord]:
    """Return the tensors of a state dictionary, without DistributedDataParallel's prefix."""
    tensors = {
        str(name).removeprefix("module."): value
        for name, value in found.items()
        if isinstance(name, str) and isinstance(value, TensorRecord)
    }
    if len(tensors) > MAX_TENSORS:
        raise CheckpointError(
            f"the file holds {len(tensors)} tensors", expected=f"at most {MAX_TENSORS}"
        )
    return tensors


def _named(
    tensors: Mapping[str, TensorSource], container: str, weights: str, layout: str | None
) -> ForeignModel:
    """Return a model of tensors by name, whose layout the names show."""
    found = identify(tensors)
    if layout is not None and found is not None and layout != found:
        raise CheckpointError(
            f"`layout` is {layout!r}, but the tensors have the names of {found}",
            field="layout",
            value=layout,
            expected=found,
            remedy="Leave `layout` out.",
        )
    if found is None:
        names = ", ".join(name[:40] for name in list(tensors)[:3])
        raise CheckpointError(
            f"the names of the tensors match no known layout (such as {names})",
            expected=f"the names of {', '.join(LAYOUTS)}",
            remedy="See docs/guides/import.md.",
        )
    return ForeignModel(layout=found, container=container, weights=weights, tensors=tensors)


def identify(tensors: Mapping[str, TensorSource]) -> str | None:
    """Return the layout that the names show, or None.

    Raises:
        CheckpointError: the names are those of a network that segan does not import.
    """
    for layout, marks in _MARKS.items():
        if all(mark in tensors for mark in marks):
            return layout
    if any(name.startswith(("synthesis.L0_", "synthesis.input.")) for name in tensors):
        raise CheckpointError(
            "the generator is a StyleGAN3 (alias-free layers)",
            expected="a StyleGAN2",
            remedy="The StyleGAN3 repository's StyleGAN2 models (--cfg=stylegan2) can be imported.",
        )
    if "synthesis.blocks.b4.const" in tensors:
        raise CheckpointError(
            "the tensors are of segan's own training",
            remedy="Give the checkpoint's folder, which holds checkpoint.json too, or run 'segan "
            "export'.",
        )
    if any(name.startswith(("progression.", "generator.progression.")) for name in tensors):
        raise CheckpointError("the generator is a StyleGAN (1)", expected="a StyleGAN2")
    return None


def _from_modules(root: PersistentRecord, container: str, weights: str) -> ForeignModel:
    """Return a model of nested persistent modules: tensors and numbers under dotted names."""
    tensors: dict[str, TensorRecord] = {}
    settings: dict[str, dict[str, Any]] = {}

    def walk(record: PersistentRecord, prefix: str, depth: int) -> None:
        if depth > MAX_MODULE_DEPTH or len(tensors) > MAX_TENSORS or len(settings) > MAX_TENSORS:
            raise CheckpointError(
                "the file nests too many modules",
                expected=f"at most {MAX_MODULE_DEPTH} levels, as a StyleGAN2 has",
            )
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
            f"{weights} is a {root.class_name[:60]!r} without mapping.fc0 or synthesis.b4",
            expected="a StyleGAN2 generator",
            remedy="Give a snapshot of StyleGAN2-ADA's training.",
        )
    model = ForeignModel(
        layout="ada", container=container, weights=weights, tensors=tensors, settings=settings
    )
    if weights == "G":
        model.notes.append("the file has no G_ema, the moving average, so G was taken.")
    return model


def _dict_at(record: PersistentRecord, name: str) -> dict[Any, Any]:
    found = record.state.get(name)
    return found if isinstance(found, dict) else {}


class _SafeTensor:
    """A tensor of an open safetensors file."""

    def __init__(self, file: Any, name: str) -> None:
        self._file, self._name = file, name
        self.shape = tuple(file.get_slice(name).get_shape())

    def read(self) -> NDArray[np.float32]:
        """See ``TensorSource``."""
        import torch

        found: NDArray[np.float32] = (
            self._file.get_tensor(self._name).to(torch.float32, copy=True).numpy()
        )
        return found


def _read_safetensors(path: Path, layout: str | None) -> ForeignModel:
    from safetensors import SafetensorError, safe_open

    try:
        file = safe_open(path, framework="pt")
        tensors = {name: _SafeTensor(file, name) for name in file.keys()}  # noqa: SIM118
        types = {file.get_slice(name).get_dtype() for name in tensors}
        metadata = file.metadata() or {}
    except SafetensorError as error:
        raise CheckpointError(
            f"the safetensors file is truncated or damaged ({str(error)[:200]})",
            remedy="Download or copy the file again.",
        ) from None
    if types - _SAFETENSORS_TYPES:
        raise CheckpointError(
            f"the safetensors file holds tensors of type {', '.join(sorted(types))}",
            expected="real numbers of 8 to 64 bits",
        )
    if not tensors:
        raise CheckpointError("the safetensors file contains no tensors")
    model = _named(tensors, "safetensors", "the file's", layout or metadata.get("layout"))
    model.settings[""] = metadata
    return model
