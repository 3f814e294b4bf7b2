"""Reading and writing the wire format of protobuf messages, which ONNX models are.

onnx is not a dependency of the runtime; the few messages that it looks into, or makes, are walked
and written field by field. The format: protobuf.dev, "Encoding".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator


class MalformedModelError(ValueError):
    """The bytes are not a protobuf message."""


def read_fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """(field number, value) of a message; numbers of fixed width are given as their bytes.

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
    """The numbers of a packed field. Raises: MalformedModelError."""
    at = 0
    while at < len(data):
        value, at = _read_varint(data, at)
        yield value


def _read_varint(data: memoryview, at: int) -> tuple[int, int]:
    """The number at ``at``, and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise MalformedModelError(f"a number ends nowhere, at byte {at}")


def write_field(number: int, value: int | float | str | bytes) -> bytes:
    """One field: an int of 0 or more as a varint, a float as float32, the rest with its length."""
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
