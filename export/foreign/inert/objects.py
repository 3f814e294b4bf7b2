"""What a pickle may ask for, and the inert records that stand in for it.

The allow-list is ``_CALLS`` and ``_CLASSES``: functions here, in this file, that make containers,
numbers and records. A record of a tensor checks its shape against its storage before anybody
allocates anything; a record of a persistent class (StyleGAN2-ADA's ``torch_utils.persistence``)
keeps the class's name and its state, and never looks at the source code that lies beside them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segan.runtime.errors import CheckpointError

#: Reads the storage that lies as bytes in a pickle.
LoadStorage = Callable[[Any], Any]

#: Most dimensions of a tensor.
MAX_DIMS = 8

#: Storage class → (numpy's type of its items, bfloat16's bits being read as uint16).
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
    """The error for what is not on the allow-list."""
    return CheckpointError(
        f"the file asks for {what[:200]}, which is not on the list of what a model may hold; "
        "nothing of it was run. If you do not know why a model would need it, do not trust it."
    )


@dataclass(frozen=True)
class Name:
    """A name of a class or function in the file: text, never the thing itself."""

    module: str
    attribute: str

    @staticmethod
    def allowed(module: str, attribute: str) -> Name:
        """The name, if it is on the allow-list. Raises: CheckpointError."""
        module = _RENAMED.get(module, module)
        name = Name(module, attribute)
        if module.split(".")[0] == "dnnlib" and "tflib" in module:
            raise CheckpointError(
                "this is a TensorFlow pickle (dnnlib.tflib), of StyleGAN or StyleGAN2 in "
                "TensorFlow. Convert it with legacy.py of NVlabs/stylegan2-ada-pytorch, in a "
                "sandbox, and import what that writes."
            )
        if str(name) not in _CALLS and str(name) not in _CLASSES and str(name) not in _VALUES:
            raise refuse(str(name))
        return name

    def __str__(self) -> str:
        return f"{self.module}.{self.attribute}"


@dataclass(frozen=True)
class StorageRecord:
    """A flat array in the file.

    Attributes:
        kind: torch's name of its class, such as ``FloatStorage``.
        data: its bytes, a view of the file.
        numel: how many items it holds.
    """

    kind: str
    data: memoryview
    numel: int


@dataclass(frozen=True)
class TensorRecord:
    """A tensor in the file, not read yet; its shape is known to lie within its storage."""

    storage: StorageRecord
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int

    def read(self) -> NDArray[np.float32]:
        """The values as a contiguous float32 array of its own."""
        kind = np.dtype(STORAGES[self.storage.kind])
        flat = np.frombuffer(self.storage.data, kind)[self.offset :]
        found = np.lib.stride_tricks.as_strided(
            flat, self.shape, [stride * kind.itemsize for stride in self.strides]
        )
        if self.storage.kind == "BFloat16Storage":
            return (found.astype(np.uint32) << 16).view(np.float32)
        return np.ascontiguousarray(found.astype(np.float32)).reshape(self.shape)


@dataclass
class PersistentRecord:
    """An object of a persistent class: its name and its attributes.

    Attributes:
        class_name: as the file states it.
        source: the source code of its module, never run; told apart by a few words in it.
        state: its attributes.
    """

    class_name: str
    source: str
    state: dict[Any, Any]


@dataclass
class AttributeRecord:
    """An argparse.Namespace: options of a training run."""

    values: dict[Any, Any] = field(default_factory=dict)


@dataclass
class ArrayRecord:
    """A numpy array or dtype in the making; only numbers of it are ever used."""

    kind: str = ""
    state: Any = None


def check_tensor(storage: Any, offset: Any, shape: Any, strides: Any) -> TensorRecord:
    """A record of a tensor whose every element lies in its storage. Raises: CheckpointError."""
    if not isinstance(storage, StorageRecord):
        raise CheckpointError("the file holds a tensor without a storage: it is damaged.")
    whole = (shape, strides)
    if not all(isinstance(part, tuple) and len(part) <= MAX_DIMS for part in whole) or not all(
        type(value) is int and 0 <= value < 1 << 48 for value in (offset, *shape, *strides)
    ):
        raise CheckpointError("the file holds a tensor whose shape is no shape: it is damaged.")
    if len(shape) != len(strides):
        raise CheckpointError("the file holds a tensor with more strides than dimensions.")
    count = math.prod(shape)
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    limit = storage.numel
    if count > limit or (count and last >= limit):
        raise CheckpointError(
            f"the file holds a tensor of shape {list(shape)} on a storage of {limit} values: it is "
            "damaged, or made to exhaust the memory."
        )
    return TensorRecord(storage, shape, strides, offset)


def call(function: Any, arguments: tuple[Any, ...], load_storage: LoadStorage | None) -> Any:
    """What a call in the file stands for. Raises: CheckpointError."""
    if not isinstance(function, Name):
        raise refuse(f"a call of a {type(function).__name__}")
    if str(function) == _NESTED:
        if load_storage is None:
            raise refuse("a storage within a storage")
        (data,) = arguments
        return load_storage(data)
    if str(function) not in _CALLS:
        return make(function, arguments, {})
    return _CALLS[str(function)](*arguments)


def make(kind: Any, arguments: Any, named: Any) -> Any:
    """What making an object of a class stands for. Raises: CheckpointError."""
    if not isinstance(kind, Name) or str(kind) not in _CLASSES:
        raise refuse(f"an object of {kind if isinstance(kind, Name) else type(kind).__name__}")
    if named or not isinstance(arguments, tuple):
        raise refuse(f"{kind} with named arguments")
    return _CLASSES[str(kind)](*arguments)


def build_state(target: Any, state: Any) -> None:
    """Takes the state of an object that was made. Raises: CheckpointError."""
    if isinstance(target, AttributeRecord) and isinstance(state, dict):
        target.values.update(state)
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
        raise CheckpointError("the file holds a parameter without a tensor: it is damaged.")
    return data


def _persistent(meta: Any) -> PersistentRecord:
    if not isinstance(meta, dict) or not isinstance(meta.get("state"), dict):
        raise CheckpointError("the file holds a persistent object without its state.")
    name, source = meta.get("class_name"), meta.get("module_src", "")
    if not isinstance(name, str) or not isinstance(source, str):
        raise CheckpointError("the file holds a persistent object without its class.")
    return PersistentRecord(name, source, meta["state"])


def _dictionary(*arguments: Any) -> dict[Any, Any]:
    """An empty dictionary, or one of the pairs given."""
    if not arguments:
        return {}
    (pairs,) = arguments
    if isinstance(pairs, dict):
        return dict(pairs)
    found = {}
    for pair in pairs if isinstance(pairs, list | tuple) else ():
        key, value = pair
        if not isinstance(key, str | int):
            raise TypeError("a key that is neither text nor a number")
        found[key] = value
    return found


def _sequence(kind: Callable[[Any], Any]) -> Callable[..., Any]:
    def build(*arguments: Any) -> Any:
        if not arguments:
            return kind(())
        (items,) = arguments
        if not isinstance(items, list | tuple):
            raise TypeError("a sequence that is neither a list nor a tuple")
        if kind in (set, frozenset) and not all(isinstance(item, str | int) for item in items):
            raise TypeError("a set of something else than texts and numbers")
        return kind(items)

    return build


def _scalar(kind: Any, data: Any = b"") -> Any:
    """A numpy number."""
    if not isinstance(kind, ArrayRecord) or kind.kind not in _SCALARS:
        raise TypeError("a numpy number of a type that models do not use")
    width = np.dtype(kind.kind).itemsize
    if not isinstance(data, memoryview) or len(data) != width:
        raise TypeError("a numpy number whose size does not fit its type")
    return np.frombuffer(data, "<" + kind.kind)[0].item()


_SCALARS = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1")


def _numpy_type(kind: Any = "", *_: Any) -> ArrayRecord:
    if not isinstance(kind, str) or len(kind) > 16:
        raise TypeError("a numpy type that is no text")
    return ArrayRecord(kind)


def _array(*_: Any) -> ArrayRecord:
    return ArrayRecord("array")


def _text(*arguments: Any) -> str:
    """A device or layout: its name."""
    if not all(isinstance(part, str | int) and len(str(part)) < 64 for part in arguments):
        raise TypeError("a device that is no text")
    return ":".join(str(part) for part in arguments)


def _encode(text: Any, _encoding: Any) -> memoryview:
    """How protocol 2 writes bytes: a text of the characters 0 to 255."""
    if not isinstance(text, str):
        raise TypeError("bytes that are no text")
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
    "argparse.Namespace": AttributeRecord,
    "numpy.dtype": _numpy_type,
}

#: Names that are only passed on.
_VALUES = frozenset(
    {f"torch.{name}" for name in (*STORAGES, *_TORCH_TYPES)}
    | {_NESTED, "numpy.ndarray", "torch.nn.parameter.Parameter", "torch.Tensor"}
)
