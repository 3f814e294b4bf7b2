"""The messages of an ONNX model, and one table of the fields that may be in each.

A field that is not in the table is refused, so the table is also the list of what cannot be in a
model: functions, sub-graphs, sparse tensors, tensors in other files, training information. What
was read is written again, field by field in the order of their numbers, as protobuf does; a model
that segan wrote is the same bytes again. Source: onnx/onnx.proto of ONNX 1.17.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeVar

import msgspec

from segan.runtime.graphs.wire import (
    FIXED32,
    SIZED,
    VARINT,
    MalformedModelError,
    count_varints,
    read_fields,
    read_varint,
    tag,
    varint,
)

Buffer = bytes | memoryview


class OperatorSet(msgspec.Struct, kw_only=True):
    """An entry of ``opset_import``."""

    domain: str | None = None
    version: int | None = None


class Entry(msgspec.Struct, kw_only=True):
    """A key and a value of ``metadata_props``."""

    key: str | None = None
    value: str | None = None


class Dimension(msgspec.Struct, kw_only=True):
    """The size of an axis: ``dim_value``, or the name of an open size in ``dim_param``."""

    dim_value: int | None = None
    dim_param: str | None = None


class TensorShape(msgspec.Struct, kw_only=True):
    """The sizes of a tensor."""

    dim: list[Dimension] = []


class TensorType(msgspec.Struct, kw_only=True):
    """Element type and shape of a tensor."""

    elem_type: int | None = None
    shape: TensorShape | None = None


class Type(msgspec.Struct, kw_only=True):
    """The type of a value: a tensor and nothing else."""

    tensor_type: TensorType | None = None


class ValueInfo(msgspec.Struct, kw_only=True):
    """Name and type of an input, an output, or a tensor between."""

    name: str | None = None
    type: Type | None = None
    doc_string: str | None = None


class Tensor(msgspec.Struct, kw_only=True):
    """Constant values: ``raw_data``, little-endian, or one of the packed lists."""

    dims: list[int] = []
    data_type: int | None = None
    float_data: Buffer | None = None
    int32_data: Buffer | None = None
    int64_data: Buffer | None = None
    name: str | None = None
    raw_data: Buffer | None = None
    doc_string: str | None = None
    data_location: int | None = None


class Attribute(msgspec.Struct, kw_only=True):
    """A setting of a node; ``type`` says which field holds it."""

    name: str | None = None
    f: float | None = None
    i: int | None = None
    s: Buffer | None = None
    floats: list[float] = []
    ints: list[int] = []
    doc_string: str | None = None
    type: int | None = None


class Node(msgspec.Struct, kw_only=True):
    """One operator."""

    input: list[str] = []
    output: list[str] = []
    name: str | None = None
    op_type: str | None = None
    attribute: list[Attribute] = []
    doc_string: str | None = None
    domain: str | None = None


class Graph(msgspec.Struct, kw_only=True):
    """Nodes in the order of computation, and the constants that they use."""

    node: list[Node] = []
    name: str | None = None
    initializer: list[Tensor] = []
    doc_string: str | None = None
    input: list[ValueInfo] = []
    output: list[ValueInfo] = []
    value_info: list[ValueInfo] = []


class Model(msgspec.Struct, kw_only=True):
    """A whole model."""

    ir_version: int | None = None
    producer_name: str | None = None
    producer_version: str | None = None
    domain: str | None = None
    model_version: int | None = None
    doc_string: str | None = None
    graph: Graph | None = None
    opset_import: list[OperatorSet] = []
    metadata_props: list[Entry] = []


@dataclass(frozen=True)
class _Field:
    """What a field may hold.

    Attributes:
        name: of the struct's field.
        kind: ``text`` (UTF-8, printable), ``int`` (64 bits, signed), ``float`` (32 bits),
            ``bytes``, ``floats`` (packed, kept as bytes), ``varints`` (the same), or a message.
        most: how many times it may be there; 1 for a field that is not a list.
    """

    name: str
    kind: Literal["text", "int", "float", "bytes", "floats", "varints"] | type[msgspec.Struct]
    most: int = 1

    @cached_property
    def wire(self) -> int:
        """The wire type of one value."""
        return VARINT if self.kind == "int" else FIXED32 if self.kind == "float" else SIZED


#: Longest text. Names are paths of modules.
_MAX_TEXT = 1024
#: Most nodes and most constants: a generator of 1024² has about 700 nodes and 250 constants.
_MAX_NODES = 10_000
#: Most inputs, outputs and attributes of a node, axes of a tensor, inputs and outputs of a graph.
_MAX_FEW = 64

_DOC = _Field("doc_string", "text")

_FIELDS: dict[type[msgspec.Struct], dict[int, _Field]] = {
    Model: {
        1: _Field("ir_version", "int"),
        2: _Field("producer_name", "text"),
        3: _Field("producer_version", "text"),
        4: _Field("domain", "text"),
        5: _Field("model_version", "int"),
        6: _DOC,
        7: _Field("graph", Graph),
        8: _Field("opset_import", OperatorSet, 2),
        14: _Field("metadata_props", Entry, _MAX_FEW),
    },
    OperatorSet: {1: _Field("domain", "text"), 2: _Field("version", "int")},
    Entry: {1: _Field("key", "text"), 2: _Field("value", "text")},
    Graph: {
        1: _Field("node", Node, _MAX_NODES),
        2: _Field("name", "text"),
        5: _Field("initializer", Tensor, _MAX_NODES),
        10: _DOC,
        11: _Field("input", ValueInfo, _MAX_FEW),
        12: _Field("output", ValueInfo, _MAX_NODES),
        13: _Field("value_info", ValueInfo, 2 * _MAX_NODES),
    },
    Node: {
        1: _Field("input", "text", _MAX_FEW),
        2: _Field("output", "text", _MAX_FEW),
        3: _Field("name", "text"),
        4: _Field("op_type", "text"),
        5: _Field("attribute", Attribute, _MAX_FEW),
        6: _DOC,
        7: _Field("domain", "text"),
    },
    Attribute: {
        1: _Field("name", "text"),
        2: _Field("f", "float"),
        3: _Field("i", "int"),
        4: _Field("s", "bytes"),
        7: _Field("floats", "float", _MAX_FEW),
        8: _Field("ints", "int", _MAX_FEW),
        13: _DOC,
        20: _Field("type", "int"),
    },
    Tensor: {
        1: _Field("dims", "int", _MAX_FEW),
        2: _Field("data_type", "int"),
        4: _Field("float_data", "floats"),
        5: _Field("int32_data", "varints"),
        7: _Field("int64_data", "varints"),
        8: _Field("name", "text"),
        9: _Field("raw_data", "bytes"),
        12: _DOC,
        14: _Field("data_location", "int"),
    },
    ValueInfo: {1: _Field("name", "text"), 2: _Field("type", Type), 3: _DOC},
    Type: {1: _Field("tensor_type", TensorType)},
    TensorType: {1: _Field("elem_type", "int"), 2: _Field("shape", TensorShape)},
    TensorShape: {1: _Field("dim", Dimension, _MAX_FEW)},
    Dimension: {1: _Field("dim_value", "int"), 2: _Field("dim_param", "text")},
}

Message = TypeVar("Message", bound=msgspec.Struct)

#: Fields whose meaning an error should name, by message and number.
_KNOWN_REFUSED = {
    (Tensor, 13): "weights in another file (ONNX external data)",
    (Model, 25): "functions",
    (Graph, 15): "sparse tensors",
    (Attribute, 6): "a sub-graph",
    (Attribute, 11): "sub-graphs",
}


def decode(kind: type[Message], data: memoryview) -> Message:
    """Read a message; bytes of tensors stay views of ``data``.

    Raises:
        MalformedModelError: it is not in the one spelling that is read, or holds a field that is
            not in the table.
    """
    found: dict[str, Any] = {}
    fields = _FIELDS[kind]
    for number, wire, value in read_fields(data):
        field = fields.get(number)
        if field is None:
            what = _KNOWN_REFUSED.get((kind, number), f"the field {number}")
            raise MalformedModelError(f"{kind.__name__} holds {what}")
        try:
            if field.most == 1:
                if field.name in found:
                    raise MalformedModelError(f"{field.name} is there twice")
                found[field.name] = _read(field, wire, value)
                continue
            values = found.setdefault(field.name, [])
            if field.kind == "int" and wire == SIZED:
                values.extend(_unpacked(field, value))
            else:
                values.append(_read(field, wire, value))
        except MalformedModelError as error:
            if kind is not Node:
                raise
            where = f"a node ({found.get('op_type', 'of an operator without a name')})"
            raise MalformedModelError(f"{where}: {error}") from None
        if len(values) > field.most:
            raise MalformedModelError(
                f"{kind.__name__} holds more than {field.most} of {field.name}"
            )
    return kind(**found)


def _read(field: _Field, wire: int, value: Any) -> Any:
    """Return a field's value."""
    kind = field.kind
    if wire != field.wire:
        raise MalformedModelError(f"{field.name} has the wire type {wire}")
    if kind == "text":
        return _text(field.name, value)
    if kind == "int":
        return _signed(value)
    if not isinstance(kind, str):
        return decode(kind, value)
    if kind == "float":
        return struct.unpack("<f", value)[0]
    if kind == "floats" and len(value) % 4:
        raise MalformedModelError(f"{field.name} ends within a number")
    if kind == "varints":
        count_varints(value)
    return value


def _unpacked(field: _Field, value: Any) -> list[int]:
    """Return the numbers of a list that its writer packed."""
    if len(value) > 10 * field.most:
        raise MalformedModelError(f"there are more than {field.most} of {field.name}")
    found, at = list[int](), 0
    while at < len(value):
        number, at = read_varint(value, at)
        found.append(_signed(number))
    return found


def _text(name: str, value: memoryview) -> str:
    if len(value) > _MAX_TEXT:
        raise MalformedModelError(f"{name} has {len(value)} bytes; expected at most {_MAX_TEXT}")
    try:
        text = str(value, "utf-8")
    except UnicodeDecodeError:
        raise MalformedModelError(f"{name} {bytes(value[:40])!r} is not UTF-8") from None
    if not text.isprintable():
        raise MalformedModelError(f"{name} {text[:40]!r} has characters that do not print")
    return text


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def encode(message: msgspec.Struct) -> bytes:
    """Return the bytes of a message; those of tensors are copied once."""
    return b"".join(_parts(message)[0])


def _parts(message: msgspec.Struct) -> tuple[list[Buffer], int]:
    """Return the pieces of a message in order, and the sum of their sizes."""
    parts, size = list[Buffer](), 0
    for number, field in _FIELDS[type(message)].items():
        found = getattr(message, field.name)
        if found is None or found == []:
            continue
        head = tag(number, field.wire)
        for value in found if field.most > 1 else (found,):
            pieces, length = _pieces(field, value)
            parts.append(head)
            parts += pieces
            size += len(head) + length
    return parts, size


def _pieces(field: _Field, value: Any) -> tuple[list[Buffer], int]:
    """Return a value as pieces, with its length where it has one, and their size."""
    kind = field.kind
    if kind == "int":
        whole = varint(value & (1 << 64) - 1)
        return [whole], len(whole)
    if kind == "float":
        return [struct.pack("<f", value)], 4
    if not isinstance(kind, str):
        inner, size = _parts(value)
        return [varint(size), *inner], len(varint(size)) + size
    data: Buffer = value.encode() if kind == "text" else value
    head = varint(len(data))
    return [head, data], len(head) + len(data)
