"""Half-precision graphs as fp32 graphs that round: what a device of that precision computes.

A session on the CPU may keep the results of a half-precision graph in fp32 from one operator to
the next. Numbers above 65504 then survive that are infinite on a GPU, and a bf16 graph may not
load at all. Here each result of half precision is rounded by explicit casts, there and back, which
no session may take away; an operator's own sums are fp32, as in a GPU's matrix units.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_HALVES = (TensorProto.FLOAT16, TensorProto.BFLOAT16)

#: What these give is an element of what they take, or a bound, which is exact: no new rounding.
_EXACT = frozenset(
    {"Clip", "DepthToSpace", "Gather", "Identity", "Reshape", "Slice", "Split", "Transpose"}
)


def with_explicit_rounding(model: bytes) -> bytes:
    """Writes an fp16 or bf16 graph as an fp32 graph with a rounding behind each operator.

    Args:
        model: a serialized ONNX model with float32 inputs and outputs; no sub-graphs.

    Returns:
        A serialized model with the same inputs, outputs and operators.
    """
    proto = onnx.shape_inference.infer_shapes(onnx.load_from_string(model), strict_mode=True)
    graph = proto.graph
    halves = {
        value.name: value.type.tensor_type.elem_type
        for value in graph.value_info
        if value.type.tensor_type.elem_type in _HALVES
    }
    del graph.value_info[:]
    for tensor in graph.initializer:
        if tensor.data_type in _HALVES:
            values = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    nodes = [*graph.node]
    del graph.node[:]
    for node in nodes:
        rounded = [] if node.op_type in _EXACT else [name for name in node.output if name in halves]
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i in _HALVES:
                attribute.i = TensorProto.FLOAT
        for number, name in enumerate(node.output):
            if name in rounded:
                node.output[number] = f"{name}/exact"
        graph.node.append(node)
        for name in rounded:
            casts = ((f"{name}/exact", f"{name}/half", halves[name]), (f"{name}/half", name, 1))
            for source, target, to in casts:
                graph.node.append(
                    helper.make_node("Cast", [source], [target], f"{target}/Rounding", to=to)
                )
    onnx.checker.check_model(proto, full_check=True)
    return bytes(proto.SerializeToString(deterministic=True))
