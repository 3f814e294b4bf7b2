"""The precisions that a bundle's synthesis graph may have beside fp32."""

from __future__ import annotations

from typing import Literal, get_args

ReducedPrecision = Literal["fp16", "bf16", "int8"]
REDUCED: tuple[ReducedPrecision, ...] = get_args(ReducedPrecision)


def graph_name(precision: ReducedPrecision) -> str:
    """The file of a precision's synthesis graph."""
    return f"synthesis.{precision}.onnx"
