"""The wire format, against its description at protobuf.dev and against what is not canonical."""

from __future__ import annotations

import random

import pytest

from segan.runtime.graphs.messages import Dimension, Model, Node, Tensor, decode, encode
from segan.runtime.graphs.wire import (
    MalformedModelError,
    count_varints,
    read_fields,
    read_varint,
    tag,
    varint,
)


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (0, b"\0"),
        (1, b"\x01"),
        (127, b"\x7f"),
        (150, b"\x96\x01"),  # the example of protobuf.dev
        (2**32, b"\x80\x80\x80\x80\x10"),
        (2**64 - 1, b"\xff" * 9 + b"\x01"),
    ],
)
def test_numbers(value: int, data: bytes) -> None:
    assert varint(value) == data
    assert read_varint(memoryview(data), 0) == (value, len(data))
    assert count_varints(memoryview(data * 3)) == 3


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80",
        b"\x80\x00",  # 0 in two bytes
        b"\x96\x81\x00",
        b"\xff" * 10,
        b"\xff" * 9 + b"\x02",  # 65 bits
        b"\x80" * 10 + b"\x01",
    ],
)
def test_numbers_in_another_spelling(data: bytes) -> None:
    with pytest.raises(MalformedModelError):
        read_varint(memoryview(data), 0)
    if data:
        with pytest.raises(MalformedModelError):
            count_varints(memoryview(b"\x05" + data))


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x01",  # field 0
        tag(1, 3) + tag(1, 4),  # a group
        tag(1, 6) + b"\0",
        tag(1, 7) + b"\0",
        varint((1 << 32) + (1 << 3)) + b"\x01",  # field 1, for a parser that keeps 32 bits
        b"\x88\x00\x01",  # field 1 in two bytes
        tag(1, 2) + b"\x05abc",
        tag(1, 2) + b"\x85\x00abcde",
        tag(1, 5) + b"abc",
        tag(1, 1) + b"abcdefg",
    ],
)
def test_fields_in_another_spelling(data: bytes) -> None:
    with pytest.raises(MalformedModelError):
        list(read_fields(memoryview(data)))


def test_what_is_read_is_written_again() -> None:
    node = Node(input=["a", ""], output=["é"], op_type="Add", name="")
    assert decode(Node, memoryview(encode(node))) == node
    tensor = Tensor(dims=[2, -1], data_type=1, raw_data=b"\0\1", name="t")
    assert decode(Tensor, memoryview(encode(tensor))) == tensor
    # Packed and unpacked lists of numbers mean the same.
    assert decode(Tensor, memoryview(tag(1, 2) + b"\x02\x05\x06")).dims == [5, 6]


@pytest.mark.parametrize(
    ("kind", "data", "problem"),
    [
        (Model, tag(25, 2) + b"\0", "functions"),
        (Model, tag(20, 2) + b"\0", "the field 20"),
        (Model, tag(1, 0) + b"\x08" + tag(1, 0) + b"\x08", "twice"),
        (Model, tag(7, 2) + b"\0" + tag(7, 2) + b"\0", "twice"),
        (Model, tag(1, 2) + b"\x01\x08", "wire type"),
        (Model, tag(2, 0) + b"\x01", "wire type"),
        (Tensor, tag(13, 2) + b"\0", "external data"),
        (Tensor, tag(4, 5) + b"abcd", "wire type"),
        (Tensor, tag(4, 2) + b"\x03abc", "within a number"),
        (Tensor, tag(5, 2) + b"\x01\x80", "do not end"),
        (Tensor, tag(1, 0) * 65 + b"", "not end"),
        (Node, tag(4, 2) + b"\x02If" + tag(5, 2) + b"\x02" + tag(6, 2) + b"\0", "If.*sub-graph"),
        (Node, tag(1, 2) + b"\x01\xff", "not UTF-8"),
        (Node, tag(3, 2) + b"\x03a\x1bb", "do not print"),
        (Node, tag(3, 2) + b"\x03\xe2\x80\xae", "do not print"),  # right-to-left override
        (Node, tag(3, 2) + b"\xd0\x0f" + b"a" * 2000, "2000 bytes"),
        (Node, (tag(1, 2) + b"\x01a") * 65, "more than 64 of input"),
        (Dimension, tag(3, 2) + b"\x01a", "the field 3"),
    ],
)
def test_what_is_not_in_the_table_is_refused(kind: type, data: bytes, problem: str) -> None:
    with pytest.raises(MalformedModelError, match=problem):
        decode(kind, memoryview(data))


def test_lists_are_counted_before_they_are_read() -> None:
    packed = b"\x01" * 10_000_000
    data = tag(1, 2) + varint(len(packed)) + packed
    with pytest.raises(MalformedModelError, match="more than 64 of dims"):
        decode(Tensor, memoryview(data))


def test_any_bytes_give_a_message_or_one_kind_of_error() -> None:
    rng = random.Random(0)
    whole = encode(Node(input=["a", "b"], output=["c"], op_type="Add", name="sum"))
    for _ in range(3000):
        data = bytearray(whole[: rng.randrange(len(whole) + 1)])
        for _ in range(rng.randrange(4)):
            if data:
                data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            found = decode(Node, memoryview(bytes(data)))
        except MalformedModelError:
            continue
        # The order of fields is protobuf's, so the bytes may differ and the message may not.
        assert decode(Node, memoryview(encode(found))) == found
