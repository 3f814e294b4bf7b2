"""Writes and verifies the precisions of a synthesis graph other than fp32."""

from __future__ import annotations

from typing import Literal, get_args

HalfPrecision = Literal["fp16", "bf16"]
ReducedPrecision = Literal["fp16", "bf16", "int8"]
REDUCED: tuple[ReducedPrecision, ...] = get_args(ReducedPrecision)


def graph_name(precision: ReducedPrecision) -> str:
    """Return the file name of the synthesis graph in a precision."""
    return f"synthesis.{precision}.onnx"
