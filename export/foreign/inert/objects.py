"""The names that a pickle may use, and the inert records that are built for them.

The allow-list is ``_CALLS`` and ``_CLASSES``: functions of this file that make containers, numbers
and records. A record of a tensor checks its shape against its storage before anything is
allocated. A record of a persistent class (StyleGAN2-ADA's ``torch_utils.persistence``) keeps the
class's name and state, and does not use the source code stored with them.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segan.export.foreign.limits import MAX_DIMS, MAX_EXPANDED, Budget
from segan.runtime.errors import CheckpointError

#: Reads a storage that a pickle holds as bytes.
LoadStorage = Callable[[Any, Budget], Any]

#: Storage class → numpy type of its items. The bits of bfloat16 are read as uint16.
STORAGES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "BFloat16Storage": "<u2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "<u1",
}
_TORCH_TYPES = {
    "float32": "FloatStorage",
    "float64": "DoubleStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "int16": "ShortStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
}


def refuse(what: str) -> CheckpointError:
    """Return the error for something that is not on the allow-list."""
    remedy = (
        "Nothing in the file was executed. Do not trust the file if you do not know why it needs "
        "that."
    )
    module, _, attribute = what.rpartition(".")
    if attribute[:1].isupper() and module.partition(".")[0] not in sys.stdlib_module_names:
        remedy += " If it holds a whole network of torch.save, save its state_dict() instead."
    return CheckpointError(
        f"the file requires {what[:200]}, which model files are not allowed to use", remedy=remedy
    )


def _damaged(problem: str) -> CheckpointError:
    return CheckpointError(
        f"the file holds {problem}: it is damaged", remedy="Download or copy the file again."
    )


class TensorFlowPickleError(CheckpointError):
    """The pickle holds networks of TensorFlow, as NVIDIA's first projects were published."""


@dataclass(frozen=True, slots=True)
class Name:
    """The name of a class or function, as text: it is never resolved."""

    module: str
    attribute: str

    @staticmethod
    def allowed(module: str, attribute: str) -> Name:
        """Return the name if it is on the allow-list. Raises: CheckpointError."""
        module = _RENAMED.get(module, module)
        name = Name(module, attribute)
        if module.startswith("dnnlib.tflib") or module == "tfutil":
            raise TensorFlowPickleError("the file is a TensorFlow pickle (dnnlib.tflib)")
        if str(name) not in _CALLS and str(name) not in _CLASSES and str(name) not in _VALUES:
            raise refuse(str(name))
        return name

    def __str__(self) -> str:
        return f"{self.module}.{self.attribute}"


@dataclass(frozen=True, slots=True)
class StorageRecord:
    """A flat array in the file.

    Attributes:
        kind: torch's class name, such as ``FloatStorage``.
        data: the bytes, a view of the file.
        numel: number of items.
    """

    kind: str
    data: memoryview
    numel: int


@dataclass(frozen=True, slots=True)
class TensorRecord:
    """A tensor in the file whose values are not read; its shape fits its storage."""

    storage: StorageRecord
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int

    def read(self) -> NDArray[np.float32]:
        """Read the values into a new contiguous float32 array."""
        kind = np.dtype(STORAGES[self.storage.kind])
        flat = np.frombuffer(self.storage.data, kind)[self.offset :]
        found = np.lib.stride_tricks.as_strided(
            flat, self.shape, [stride * kind.itemsize for stride in self.strides]
        )
        if self.storage.kind == "BFloat16Storage":
            # Of a tensor without dimensions the shift makes a scalar, which has no view.
            bits = np.asarray(found.astype(np.uint32) << 16)
            return bits.view(np.float32).reshape(self.shape)
        return np.ascontiguousarray(found.astype(np.float32)).reshape(self.shape)


@dataclass(slots=True)
class PersistentRecord:
    """An object of a persistent class.

    Attributes:
        class_name: class name that the file states.
        source: source code of the class's module, which is never run.
        state: the object's attributes.
    """

    class_name: str
    source: str
    state: dict[Any, Any]


@dataclass(slots=True)
class AttributeRecord:
    """An argparse.Namespace: options of a training run."""

    values: dict[Any, Any] = field(default_factory=dict)


@dataclass(slots=True)
class ArrayRecord:
    """A numpy array or dtype under construction; only scalars of it are used."""

    kind: str = ""
    state: Any = None


def check_tensor(storage: Any, offset: Any, shape: Any, strides: Any) -> TensorRecord:
    """Return a record of a tensor that lies within its storage. Raises: CheckpointError."""
    if not isinstance(storage, StorageRecord):
        raise _damaged("a tensor without a storage")
    whole = (shape, strides)
    if not all(isinstance(part, tuple) and len(part) <= MAX_DIMS for part in whole) or not all(
        type(value) is int and 0 <= value < 1 << 48 for value in (offset, *shape, *strides)
    ):
        raise _damaged("a tensor without a valid shape")
    if len(shape) != len(strides):
        raise _damaged("a tensor whose strides and dimensions differ in number")
    count = math.prod(shape)
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    limit = storage.numel
    if count > max(limit, MAX_EXPANDED) or (count and last >= limit):
        raise CheckpointError(
            f"the file holds a tensor of shape {list(shape)} on a storage of {limit} values",
            remedy="The file is damaged, or made to exhaust the memory.",
        )
    return TensorRecord(storage, shape, strides, offset)


def call(
    function: Any, arguments: tuple[Any, ...], budget: Budget, load_storage: LoadStorage | None
) -> Any:
    """Return the record for a call in the file. Raises: CheckpointError."""
    if not isinstance(function, Name):
        raise refuse(f"a call of a {type(function).__name__}")
    if str(function) == _NESTED:
        if load_storage is None:
            raise refuse("a storage within a storage")
        (data,) = arguments
        return load_storage(data, budget)
    if str(function) not in _CALLS:
        return make(function, arguments, {}, budget)
    budget.spend_arguments(arguments)
    return _CALLS[str(function)](*arguments)


def make(kind: Any, arguments: Any, named: Any, budget: Budget) -> Any:
    """Return the record for an object of a class. Raises: CheckpointError."""
    if not isinstance(kind, Name) or str(kind) not in _CLASSES:
        raise refuse(f"an object of {kind if isinstance(kind, Name) else type(kind).__name__}")
    if named or not isinstance(arguments, tuple):
        raise refuse(f"{kind} with named arguments")
    budget.spend_arguments(arguments)
    return _CLASSES[str(kind)](budget, *arguments)


def build_state(target: Any, state: Any, budget: Budget) -> None:
    """Set the state of a record. Raises: CheckpointError."""
    if isinstance(target, AttributeRecord) and isinstance(state, dict):
        budget.spend_arguments((state,))
        for key, value in state.items():
            budget.check_key(key)
            target.values[key] = value
    elif isinstance(target, ArrayRecord):
        target.state = state
    elif isinstance(target, dict) and isinstance(state, dict):
        # Attributes of a state dictionary: ``_metadata``, the versions of its modules.
        return
    else:
        raise refuse(f"setting the state of a {type(target).__name__}")


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> TensorRecord:
    return check_tensor(storage, offset, shape, strides)


def _rebuild_parameter(data: Any, *_: Any) -> Any:
    if not isinstance(data, TensorRecord):
        raise _damaged("a parameter without a tensor")
    return data


def _persistent(meta: Any) -> PersistentRecord:
    if not isinstance(meta, dict) or not isinstance(meta.get("state"), dict):
        raise _damaged("a persistent object without its state")
    name, source = meta.get("class_name"), meta.get("module_src", "")
    if not isinstance(name, str) or not isinstance(source, str):
        raise _damaged("a persistent object without its class")
    return PersistentRecord(name, source, meta["state"])


def _dictionary(budget: Budget, *arguments: Any) -> dict[Any, Any]:
    """Return an empty dictionary, or a dictionary of the given pairs."""
    if not arguments:
        return {}
    (pairs,) = arguments
    if isinstance(pairs, dict):
        return dict(pairs)
    found = {}
    for pair in pairs if isinstance(pairs, list | tuple) else ():
        key, value = pair
        budget.check_key(key)
        found[key] = value
    return found


def _sequence(kind: Callable[[Any], Any]) -> Callable[..., Any]:
    def build(budget: Budget, *arguments: Any) -> Any:
        if not arguments:
            return kind(())
        (items,) = arguments
        if not isinstance(items, list | tuple):
            raise TypeError("a sequence that is neither a list nor a tuple")
        if kind in (set, frozenset):
            for item in items:
                budget.check_key(item)
        return kind(items)

    return build


def _scalar(kind: Any, data: Any = b"") -> Any:
    """Return a numpy scalar."""
    if not isinstance(kind, ArrayRecord) or kind.kind not in _SCALARS:
        raise TypeError("a numpy number of a type that models do not use")
    width = np.dtype(kind.kind).itemsize
    if not isinstance(data, memoryview) or len(data) != width:
        raise TypeError("a numpy number whose size does not fit its type")
    return np.frombuffer(data, "<" + kind.kind)[0].item()


_SCALARS = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1")


def _namespace(_: Budget, *arguments: Any) -> AttributeRecord:
    """Return an empty namespace: its attributes are its state."""
    if arguments:
        raise TypeError("a namespace with arguments")
    return AttributeRecord()


def _path(_: Budget, *parts: Any) -> str:
    """Return a path's stand-in: no path of a file is used."""
    if not all(isinstance(part, str) for part in parts):
        raise TypeError("a path that is not text")
    return "path"


def _numpy_type(_: Budget, kind: Any = "", *_more: Any) -> ArrayRecord:
    if not isinstance(kind, str) or len(kind) > 16:
        raise TypeError("a numpy type that is not text")
    return ArrayRecord(kind)


def _array(*_: Any) -> ArrayRecord:
    return ArrayRecord("array")


def _text(*arguments: Any) -> str:
    """Return the name of a device or layout."""
    if not all(isinstance(part, str | int) and len(str(part)) < 64 for part in arguments):
        raise TypeError("a device that is not text")
    return ":".join(str(part) for part in arguments)


def _encode(text: Any, _encoding: Any) -> memoryview:
    """Return the bytes that protocol 2 writes as a text of the characters 0 to 255."""
    if not isinstance(text, str):
        raise TypeError("bytes that are not text")
    return memoryview(text.encode("latin-1"))


_NESTED = "torch.storage._load_from_bytes"
_PERSISTENT = "torch_utils.persistence._reconstruct_persistent_obj"
_RENAMED = {"__builtin__": "builtins", "numpy._core.multiarray": "numpy.core.multiarray"}

_CALLS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    _PERSISTENT: _persistent,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy.core.multiarray._reconstruct": _array,
    "torch.device": _text,
    "_codecs.encode": _encode,
}

_CLASSES: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _dictionary,
    "dnnlib.util.EasyDict": _dictionary,
    "dnnlib.EasyDict": _dictionary,
    "builtins.dict": _dictionary,
    "builtins.list": _sequence(list),
    "builtins.tuple": _sequence(tuple),
    "builtins.set": _sequence(set),
    "builtins.frozenset": _sequence(frozenset),
    "torch.Size": _sequence(tuple),
    "argparse.Namespace": _namespace,
    "numpy.dtype": _numpy_type,
    # Settings hold paths; from Python 3.13 on their classes are in pathlib._local.
    **{
        f"{module}.{kind}": _path
        for module in ("pathlib", "pathlib._local")
        for kind in ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")
    },
}

#: Names that are only passed as arguments.
_VALUES = frozenset(
    {f"torch.{name}" for name in (*STORAGES, *_TORCH_TYPES)}
    | {_NESTED, "numpy.ndarray", "torch.nn.parameter.Parameter", "torch.Tensor"}
)
