"""The element types of ONNX tensors, and the values of constants."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from segan.runtime.graphs.messages import Tensor
from segan.runtime.graphs.wire import MalformedModelError, count_varints, read_varint

FLOAT, UINT8, INT8, INT32, INT64 = 1, 2, 3, 6, 7
BOOL, FLOAT16, BFLOAT16 = 9, 10, 16

#: Element type → (name, bytes of an element, numpy type of the raw bytes).
TYPES: Final[dict[int, tuple[str, int, str]]] = {
    FLOAT: ("float32", 4, "<f4"),
    UINT8: ("uint8", 1, "u1"),
    INT8: ("int8", 1, "i1"),
    INT32: ("int32", 4, "<i4"),
    INT64: ("int64", 8, "<i8"),
    BOOL: ("bool", 1, "?"),
    FLOAT16: ("float16", 2, "<f2"),
    BFLOAT16: ("bfloat16", 2, "<u2"),
}

#: Element types that the packed lists hold.
_LISTS = {"float_data": (FLOAT,), "int64_data": (INT64,), "int32_data": (UINT8, INT8, INT32, BOOL)}

#: Most axes of a tensor.
MAX_AXES = 8


def check_tensor(tensor: Tensor) -> tuple[int, tuple[int, ...]]:
    """Return a constant's element type and shape, after counting its values.

    Raises:
        MalformedModelError: an unknown type, a size below 1, values in another file, or another
            number of values than the shape states.
    """
    name, kind, shape = tensor.name, tensor.data_type, tuple(tensor.dims)
    if not name:
        raise MalformedModelError("a constant has no name")
    if kind not in TYPES:
        raise MalformedModelError(f"the constant {name!r} has the element type {kind}")
    if tensor.data_location:
        raise MalformedModelError(f"the constant {name!r} is weights in another file")
    if len(shape) > MAX_AXES or any(size < 1 for size in shape):
        raise MalformedModelError(f"the constant {name!r} has the shape {list(shape)}")
    given = [
        part
        for part in ("raw_data", "float_data", "int32_data", "int64_data")
        if getattr(tensor, part) is not None
    ]
    if len(given) != 1 or (given[0] != "raw_data" and kind not in _LISTS[given[0]]):
        raise MalformedModelError(f"the constant {name!r} has the values {', '.join(given)}")
    data = memoryview(getattr(tensor, given[0]))
    if given[0] == "raw_data":
        found, count = len(data), math.prod(shape) * TYPES[kind][1]
    else:
        found = len(data) // 4 if kind == FLOAT else count_varints(data)
        count = math.prod(shape)
    if found != count:
        raise MalformedModelError(
            f"the constant {name!r} of {list(shape)} {TYPES[kind][0]} holds {len(data)} bytes"
        )
    return kind, shape


def tensor_values(tensor: Tensor) -> NDArray[np.generic]:
    """Return the values of a checked constant; bfloat16 as float32.

    Raises:
        MalformedModelError: see ``check_tensor``.
    """
    kind, shape = check_tensor(tensor)
    if tensor.raw_data is not None:
        values: NDArray[np.generic] = np.frombuffer(tensor.raw_data, TYPES[kind][2])
        if kind == BFLOAT16:
            values = (values.astype("<u4") << np.uint32(16)).view("<f4")
    elif tensor.float_data is not None:
        values = np.frombuffer(tensor.float_data, "<f4")
    else:
        data, at = memoryview(tensor.int64_data or tensor.int32_data or b""), 0
        numbers = np.empty(math.prod(shape), np.uint64)
        for place in range(len(numbers)):
            numbers[place], at = read_varint(data, at)
        values = numbers.view(np.int64).astype(TYPES[kind][2])
    return values.reshape(shape)


def make_tensor(name: str, values: NDArray[np.generic] | np.generic, kind: int) -> Tensor:
    """Return a constant; bfloat16 takes the upper half of float32 values."""
    array = np.asarray(values)
    if kind == BFLOAT16:
        raw = (array.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
    else:
        raw = array.astype(TYPES[kind][2]).tobytes()
    return Tensor(dims=list(array.shape), data_type=kind, name=name, raw_data=raw)
