"""Adds directions to the graphs of a bundle, in addition to its subspaces.

A direction moves w between truncation and subspaces: the product of new rows of ``coords`` and a
table is added to the graph's psi · (w - w_avg). At coordinates of 0 that adds 0, which changes no
bit. The existing subspaces get their own rows and columns of ``coords``.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from segan.runtime.errors import ExportError

#: Operators that may be between psi and its product with w - w_avg: they only change the shape.
_SHAPE_OPERATORS = ("Unsqueeze", "Reshape", "Identity", "Expand", "Transpose")


def add_directions(
    model: bytes, vectors: NDArray[np.floating], *, rows: int, width: int, new_width: int
) -> bytes:
    """Add rows of ``coords`` to ``offsets.onnx``.

    Args:
        model: the serialized graph.
        vectors: [new rows, dims, num_sites, w_dim], what each coordinate adds to the sites' w.
        rows: rows of ``coords`` in the given graph; 0 if it has no such input.
        width: coords_dim of the given graph.
        new_width: coords_dim of the result, at least ``width`` and ``dims``.

    Returns:
        The new graph, checked. Its ``coords`` is [N, rows + new rows, new_width]. So is its output
        ``shifts`` in mode 1, which is padded with zeros.

    Raises:
        ExportError: segan did not write the graph.
    """
    proto = _load(model)
    graph = proto.graph
    added, dims, num_sites, w_dim = vectors.shape
    total = rows + added
    prefix = _free_prefix(graph)
    truncation = _truncation(graph)
    batch = graph.input[0].type.tensor_type.shape.dim[0].dim_param or "batch"

    constants: list[onnx.TensorProto] = []

    def constant(name: str, values: NDArray[np.generic]) -> str:
        constants.append(numpy_helper.from_array(values, f"{prefix}.{name}"))
        return f"{prefix}.{name}"

    def integers(name: str, values: Iterable[int]) -> str:
        return constant(name, np.array(list(values), np.int64))

    axes = integers("axes", (1, 2))
    moved = f"{prefix}/moved"
    _replace_input(graph.node, truncation.output[0], moved)
    own = [
        helper.make_node(
            "Slice",
            [
                "coords",
                integers("starts", (rows, 0)),
                integers("ends", (total, dims)),
                axes,
            ],
            [f"{prefix}/rows"],
            f"{prefix}/Slice",
        ),
        helper.make_node(
            "Reshape",
            [f"{prefix}/rows", integers("flat", (-1, added * dims))],
            [f"{prefix}/flat"],
            f"{prefix}/Reshape",
        ),
        helper.make_node(
            "MatMul",
            [
                f"{prefix}/flat",
                constant("vectors", _flat_table(vectors)),
            ],
            [f"{prefix}/sum"],
            f"{prefix}/MatMul",
        ),
        helper.make_node(
            "Reshape",
            [f"{prefix}/sum", integers("sites", (-1, num_sites, w_dim))],
            [f"{prefix}/move"],
            f"{prefix}/Reshape_2",
        ),
        helper.make_node("Add", [truncation.output[0], f"{prefix}/move"], [moved], f"{prefix}/Add"),
    ]
    place = list(graph.node).index(truncation) + 1
    before = []
    if rows:
        _replace_input(graph.node, "coords", f"{prefix}/coords")
        before.append(_slice_old("coords", prefix, rows, width, axes, integers))
    after = []
    if any(value.name == "shifts" for value in graph.output):
        _rename_output(graph.node, "shifts", f"{prefix}/shifts")
        pads = integers("pads", (0, 0, 0, 0, added, new_width - width))
        after.append(
            helper.make_node("Pad", [f"{prefix}/shifts", pads], ["shifts"], f"{prefix}/Pad")
        )
    nodes = [*before, *graph.node[:place], *own, *graph.node[place:], *after]
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)
    graph.initializer.extend(constants)
    if rows:
        _resize(graph.input, "coords", total, new_width)
    else:
        graph.input.append(
            helper.make_tensor_value_info("coords", TensorProto.FLOAT, [batch, total, new_width])
        )
    _resize(graph.output, "shifts", total, new_width)
    return _checked(proto)


def widen_shifts(model: bytes, *, rows: int, width: int, new_rows: int, new_width: int) -> bytes:
    """Let a synthesis graph of mode 1 take wider ``shifts``, of which it uses the old part.

    Raises:
        ExportError: segan did not write the graph.
    """
    proto = _load(model)
    graph = proto.graph
    prefix = _free_prefix(graph)
    constants: list[onnx.TensorProto] = []

    def integers(name: str, values: Iterable[int]) -> str:
        array = np.array(list(values), np.int64)
        constants.append(numpy_helper.from_array(array, f"{prefix}.{name}"))
        return f"{prefix}.{name}"

    _replace_input(graph.node, "shifts", f"{prefix}/shifts")
    graph.node.insert(
        0, _slice_old("shifts", prefix, rows, width, integers("axes", (1, 2)), integers)
    )
    graph.initializer.extend(constants)
    _resize(graph.input, "shifts", new_rows, new_width)
    return _checked(proto)


def _load(model: bytes) -> onnx.ModelProto:
    try:
        return onnx.load_from_string(model)
    except DecodeError as error:
        raise ExportError(
            f"a graph of the bundle is not ONNX ({error})",
            field="bundle",
            remedy="Export the bundle again.",
        ) from None


def _checked(proto: onnx.ModelProto) -> bytes:
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        first = str(error).strip().splitlines()[0]
        raise ExportError(f"the graph with directions is not valid: {first}") from error
    return bytes(proto.SerializeToString(deterministic=True))


def _flat_table(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    added, dims, num_sites, w_dim = vectors.shape
    return vectors.reshape(added * dims, num_sites * w_dim).astype(np.float32)


def _slice_old(
    name: str, prefix: str, rows: int, width: int, axes: str, integers: object
) -> onnx.NodeProto:
    """Return a node that selects the old part of coords or shifts, as ``PREFIX/NAME``."""
    assert callable(integers)
    starts, ends = integers("old_starts", (0, 0)), integers("old_ends", (rows, width))
    inputs = [name, starts, ends, axes]
    return helper.make_node("Slice", inputs, [f"{prefix}/{name}"], f"{prefix}/Slice_old")


def _free_prefix(graph: onnx.GraphProto) -> str:
    names = {tensor.name for tensor in graph.initializer}
    names |= {output for node in graph.node for output in node.output}
    number = 0
    while any(name.startswith((f"directions{number}.", f"directions{number}/")) for name in names):
        number += 1
    return f"directions{number}"


def _truncation(graph: onnx.GraphProto) -> onnx.NodeProto:
    """Return the node that computes psi · (w - w_avg). Raises: ExportError."""
    tensor = "psi"
    for _ in range(8):
        users = [node for node in graph.node if tensor in node.input]
        if len(users) != 1:
            break
        if users[0].op_type == "Mul":
            found: onnx.NodeProto = users[0]
            return found
        if users[0].op_type not in _SHAPE_OPERATORS or users[0].input[0] != tensor:
            break
        tensor = users[0].output[0]
    raise ExportError(
        "the offsets graph has no product of psi and w - w_avg, where directions are added",
        field="bundle",
        remedy="Export the bundle again with this version.",
    )


def _replace_input(nodes: Iterable[onnx.NodeProto], old: str, new: str) -> None:
    for node in nodes:
        node.input[:] = [new if name == old else name for name in node.input]


def _rename_output(nodes: Iterable[onnx.NodeProto], old: str, new: str) -> None:
    for node in nodes:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]


def _resize(values: Iterable[onnx.ValueInfoProto], name: str, rows: int, width: int) -> None:
    for value in values:
        if value.name == name:
            shape = value.type.tensor_type.shape
            shape.dim[1].dim_value, shape.dim[2].dim_value = rows, width
