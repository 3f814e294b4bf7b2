"""Makes an exported graph readable and its bytes reproducible.

The exporter writes names such as ``val_57`` and stack traces with local paths. Here each node and
tensor is named after its module, such as ``b8.conv0.convolution/Conv``, equal constants become
one, and metadata is removed. onnx-ir's DeduplicateInitializersPass also merges equal weights of
the module, whose names must stay, so constants are merged here.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable

import onnx
from onnx import numpy_helper

_SCOPES = "pkg.torch.onnx.name_scopes"


def tidy_graph(model: onnx.ModelProto, weights: Iterable[str], producer_version: str) -> None:
    """Rename nodes, tensors and constants in place, and remove metadata.

    Args:
        model: as exported, without functions and sub-graphs.
        weights: names of the module's own tensors, which keep them.
        producer_version: of segan.
    """
    graph = model.graph
    assert not model.functions, "functions are inlined before"
    names = {value.name: value.name for value in (*graph.input, *graph.output)}
    _drop_zero_biases(graph, set(weights))
    _name_constants(graph, set(weights), names)
    taken: set[str] = set()
    for node in graph.node:
        node.name = _unique(_scoped(node), taken)
        for number, output in enumerate(node.output):
            if output and output not in names:
                names[output] = node.name if len(node.output) == 1 else f"{node.name}.{number}"
        node.input[:] = [names[name] if name else "" for name in node.input]
        node.output[:] = [names[name] if name else "" for name in node.output]
        node.doc_string = ""
        del node.metadata_props[:]
    # The traced shapes of inner tensors contain the noise batch of the example.
    del graph.value_info[:]
    del graph.metadata_props[:]
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.doc_string = ""
        del value.metadata_props[:]
    graph.name, graph.doc_string, model.doc_string = "segan", "", ""
    del model.metadata_props[:]
    model.producer_name, model.producer_version = "segan", producer_version


def _scoped(node: onnx.NodeProto) -> str:
    """Return ``b8.conv0/Mul``, or ``Mul`` for a node of the top module."""
    for entry in node.metadata_props:
        if entry.key == _SCOPES:
            # ['', 'b8.conv0', 'mul_3']: the modules from the top down, then the node itself.
            scopes = ast.literal_eval(entry.value)
            if len(scopes) > 1 and scopes[-2]:
                return f"{scopes[-2]}/{node.op_type}"
    return node.op_type


def _unique(name: str, taken: set[str]) -> str:
    number, candidate = 1, name
    while candidate in taken:
        number += 1
        candidate = f"{name}_{number}"
    taken.add(candidate)
    return candidate


def _drop_zero_biases(graph: onnx.GraphProto, weights: set[str]) -> None:
    """Remove the zero bias that the exporter adds to a convolution without one."""
    constants = {tensor.name: tensor for tensor in graph.initializer if tensor.name not in weights}
    for node in graph.node:
        if node.op_type in ("Conv", "ConvTranspose") and len(node.input) == 3:
            bias = constants.get(node.input[2])
            if bias is not None and not numpy_helper.to_array(bias).any():
                del node.input[2]


def _name_constants(graph: onnx.GraphProto, weights: set[str], names: dict[str, str]) -> None:
    """Name weights and constants; equal and unused constants are removed."""
    used = {name for node in graph.node for name in node.input}
    unused: list[int] = []
    known: dict[tuple[int, tuple[int, ...], bytes], str] = {}
    for number, tensor in enumerate(graph.initializer):
        if tensor.name not in used:
            unused.append(number)
            continue
        if tensor.name in weights:
            names[tensor.name] = tensor.name
            continue
        array = numpy_helper.to_array(tensor)
        key = (tensor.data_type, tuple(tensor.dims), array.tobytes())
        if key in known:
            unused.append(number)
        else:
            known[key] = f"constant.{len(known)}"
        names[tensor.name] = known[key]
        tensor.CopyFrom(numpy_helper.from_array(array, known[key]))
    # In place, so that the weights of a large model are not in memory twice.
    for number in reversed(unused):
        del graph.initializer[number]
