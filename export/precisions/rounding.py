"""Half-precision graphs as fp32 graphs with explicit rounding: what a GPU computes.

A session on the CPU may keep the results of a half-precision graph in fp32 between operators.
Values above 65504 are then finite that a GPU makes infinite, and a bf16 graph may not load at all.
Here each half-precision result is cast to the half type and back, which no session may remove.
Sums within an operator are fp32, as in a GPU's matrix units.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_HALVES = (TensorProto.FLOAT16, TensorProto.BFLOAT16)

#: Operators whose results are elements of their inputs, or bounds, so that nothing is rounded.
_EXACT = frozenset(
    {"Clip", "DepthToSpace", "Gather", "Identity", "Reshape", "Slice", "Split", "Transpose"}
)


def with_explicit_rounding(model: bytes) -> bytes:
    """Rewrite an fp16 or bf16 graph as an fp32 graph that rounds the result of each operator.

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
