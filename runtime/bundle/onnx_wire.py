"""The wire format of ONNX models, which are protobuf messages, without the package onnx.

The runtime reads and writes the few messages that it needs field by field, and checks that a
graph keeps its weights inside. Source of the format: protobuf.dev, "Encoding".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from segan.runtime.errors import BackendError


class MalformedModelError(ValueError):
    """The bytes are not a protobuf message."""


def read_fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield (field number, value) of a message; numbers of fixed width as their bytes.

    Raises:
        MalformedModelError: the bytes are not a protobuf message.
    """
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = _read_varint(data, at)
            yield key >> 3, value
            continue
        if kind == 2:
            size, at = _read_varint(data, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise MalformedModelError(f"wire type {kind} at byte {at}")
        if at + size > len(data):
            raise MalformedModelError(f"a field ends after the data, at byte {at}")
        yield key >> 3, data[at : at + size]
        at += size


def read_varints(data: memoryview) -> Iterator[int]:
    """Yield the numbers of a packed field. Raises: MalformedModelError."""
    at = 0
    while at < len(data):
        value, at = _read_varint(data, at)
        yield value


def _read_varint(data: memoryview, at: int) -> tuple[int, int]:
    """Return the number at ``at``, and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise MalformedModelError(f"a number does not end, at byte {at}")


def write_field(number: int, value: int | float | str | bytes) -> bytes:
    """Encode one field: an int from 0 as a varint, a float as float32, the rest with its length."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    if isinstance(value, float):
        return _varint(number << 3 | 5) + struct.pack("<f", value)
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


#: Message → {field number: message within it}, from onnx.proto3.
_FIELDS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {
        5: "tensor",
        6: "graph",
        10: "tensor",
        11: "graph",
        22: "sparse",
        23: "sparse",
    },
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}

_EXTERNAL_DATA, _DATA_LOCATION = 13, 14


def has_external_data(model: bytes) -> bool:
    """Return whether any tensor of a serialized ONNX model is in another file.

    Raises:
        MalformedModelError: the bytes are not a protobuf message.
    """
    waiting: list[tuple[str, memoryview]] = [("model", memoryview(model))]
    while waiting:
        message, data = waiting.pop()
        for number, value in read_fields(data):
            if message == "tensor" and (
                number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value != 0)
            ):
                return True
            inner = _FIELDS[message].get(number)
            if inner is not None and isinstance(value, memoryview):
                waiting.append((inner, value))
    return False


def check_self_contained(model: bytes, name: str) -> None:
    """Make sure that a model keeps all weights inside, so that a backend may open it.

    Args:
        model: a serialized ONNX model.
        name: of the graph, for messages.

    Raises:
        BackendError: it is not an ONNX model, or has weights in another file.
    """
    try:
        external = has_external_data(model)
    except MalformedModelError as error:
        raise BackendError(f"the {name} graph is not an ONNX model: {error}") from None
    if external:
        raise BackendError(
            f"the {name} graph has weights in another file (ONNX external data), which is not "
            "allowed in a bundle",
            remedy="Export it with its weights inside.",
        )
