"""The wire format of protobuf messages, of which only one spelling of each value is read.

Parsers differ in what they make of other spellings: one ignores bits that another wraps, one takes
the first of two values and another the last. What is read here has one meaning for all of them.
Source: protobuf.dev, "Encoding".
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np

#: Wire types: a varint, eight bytes, a length and that many bytes, four bytes.
VARINT, FIXED64, SIZED, FIXED32 = 0, 1, 2, 5

#: Most bytes of a varint, which holds 64 bits.
_MAX_VARINT = 10

_ONE_BYTE = [bytes([value]) for value in range(0x80)]


class MalformedModelError(ValueError):
    """The bytes are not an ONNX model in the one spelling that is read.

    Args:
        problem: what is wrong; names in it may be long, and so are shortened.
    """

    def __init__(self, problem: str) -> None:
        super().__init__(shortened(problem))


def shortened(text: str) -> str:
    """Return at most 400 characters of a text, with a mark where more were."""
    return text if len(text) <= 400 else f"{text[:399]}…"


def read_fields(data: memoryview) -> Iterator[tuple[int, int, int | memoryview]]:
    """Yield (field number, wire type, value) of a message; numbers of fixed width as their bytes.

    Raises:
        MalformedModelError: the bytes are not a protobuf message, or not in its shortest spelling.
    """
    at, end = 0, len(data)
    while at < end:
        key = data[at]
        # Most numbers have one byte.
        if key < 0x80:
            at += 1
        else:
            key, at = read_varint(data, at)
        # A field number has 29 bits; parsers differ in what they do with more.
        if not 8 <= key < 1 << 32:
            raise MalformedModelError(f"the tag {key} at byte {at} is not a field's")
        kind = key & 7
        if kind == VARINT:
            value, at = read_varint(data, at)
            yield key >> 3, kind, value
            continue
        if kind == SIZED:
            if at < end and data[at] < 0x80:
                size, at = data[at], at + 1
            else:
                size, at = read_varint(data, at)
        elif kind in (FIXED64, FIXED32):
            size = 8 if kind == FIXED64 else 4
        else:
            raise MalformedModelError(f"wire type {kind} at byte {at} is a group or unknown")
        if size > end - at:
            raise MalformedModelError(f"a field ends after the data, at byte {at}")
        yield key >> 3, kind, data[at : at + size]
        at += size


def read_varint(data: memoryview, at: int) -> tuple[int, int]:
    """Return the number at ``at``, 0 to 2^64 - 1, and the position after it.

    Raises:
        MalformedModelError: it does not end, has more bytes than it needs, or more than 64 bits.
    """
    if at < len(data) and data[at] < 0x80:
        return data[at], at + 1
    value = 0
    for number, byte in enumerate(data[at : at + _MAX_VARINT]):
        value |= (byte & 0x7F) << 7 * number
        if byte < 0x80:
            if (number and not byte) or value >> 64:
                raise MalformedModelError(f"a number at byte {at} is longer than it needs to be")
            return value, at + number + 1
    raise MalformedModelError(f"a number does not end, at byte {at}")


def count_varints(data: memoryview) -> int:
    """Return how many numbers a packed field holds, without a loop over them.

    Raises:
        MalformedModelError: see ``read_varint``.
    """
    bytes_ = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(bytes_ < 0x80)
    sizes = np.diff(ends, prepend=-1)
    last = bytes_[ends]
    if (
        (len(bytes_) and (not len(ends) or ends[-1] != len(bytes_) - 1))
        or (sizes > _MAX_VARINT).any()
        or ((sizes > 1) & (last == 0)).any()
        or ((sizes == _MAX_VARINT) & (last > 1)).any()
    ):
        raise MalformedModelError("packed numbers are longer than they need to be, or do not end")
    return len(ends)


def varint(value: int) -> bytes:
    """Encode a number from 0 to 2^64 - 1."""
    if value < 0x80:
        return _ONE_BYTE[value]
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


@cache
def tag(number: int, kind: int) -> bytes:
    """Encode a field's number and wire type."""
    return varint(number << 3 | kind)
