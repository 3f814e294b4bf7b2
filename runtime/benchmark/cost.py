"""What a bundle's synthesis costs: multiply-adds of its convolutions, read from its graph.

Counted is what the network calls for, in the cheapest form: a doubling convolution as a transposed
one. Forms that compute more for the same image (``subpixel`` 16/9 of it, ``folded`` 4 times) do not
cost more here, so that images a second against a ceiling compare across forms. Left out are dense
layers, resampling filters and element-wise work, about 1 % of the multiply-adds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from segan.runtime.bundle.manifest import Manifest
from segan.runtime.bundle.onnx_wire import MalformedModelError, read_fields, read_varints

# Field numbers of onnx.proto3.
_MODEL_GRAPH = 7
_GRAPH_NODE, _GRAPH_INITIALIZER = 1, 5
_NODE_INPUT, _NODE_OP_TYPE, _NODE_ATTRIBUTE = 1, 4, 5
_ATTRIBUTE_NAME, _ATTRIBUTE_INT = 1, 3
_TENSOR_DIMS, _TENSOR_NAME = 1, 8

#: Where a convolution of a block stands: at a site, or on the path around it (residual).
_PLACE = re.compile(r"(b(\d+)\.(?:conv\d|to_rgb|around))\.")


@dataclass(frozen=True, kw_only=True)
class _Convolution:
    """A convolution without groups: its weight's name and shape, and whether it is transposed."""

    weight: str
    shape: tuple[int, ...]
    transposed: bool


def count_macs(model: bytes, manifest: Manifest) -> int | None:
    """Multiply-adds of one image.

    Args:
        model: the bundle's fp32 synthesis graph.
        manifest: of the bundle.

    Returns:
        None when not every site's convolution is found in the graph, as in graphs that something
        else than ``segan export`` wrote.
    """
    try:
        convolutions = list(_convolutions(model))
    except MalformedModelError:
        return None
    total, seen = 0, set()
    for convolution in convolutions:
        place = _PLACE.match(convolution.weight)
        if place is None:
            continue
        seen.add(place[1])
        total += _macs(convolution, place[1], int(place[2]), manifest.lowering)
    return total if {site.name for site in manifest.sites} <= seen else None


def _macs(convolution: _Convolution, place: str, resolution: int, lowering: dict[str, str]) -> int:
    """Multiply-adds of one convolution, in the cheapest form."""
    around = place.endswith(".around")
    if convolution.transposed or around or place in lowering:
        pixels = (resolution // 2) ** 2
    else:
        return math.prod(convolution.shape) * resolution**2
    if convolution.transposed:
        return math.prod(convolution.shape) * pixels
    out, into, height, _ = convolution.shape
    # Kernels that grew by a filter or by phases give four pixels at once.
    phases = 1 if height == 1 else 4
    return out // phases * into * (1 if around else 9) * pixels


def _convolutions(model: bytes) -> Iterator[_Convolution]:
    """The convolutions with constant weights and without groups."""
    shapes: dict[str, tuple[int, ...]] = {}
    nodes: list[memoryview] = []
    for number, value in read_fields(memoryview(model)):
        if number != _MODEL_GRAPH or isinstance(value, int):
            continue
        for part, data in read_fields(value):
            if isinstance(data, int):
                continue
            if part == _GRAPH_NODE:
                nodes.append(data)
            elif part == _GRAPH_INITIALIZER:
                name, shape = _read_tensor(data)
                shapes[name] = shape
    for node in nodes:
        kind, inputs, groups = _read_node(node)
        if kind in ("Conv", "ConvTranspose") and groups == 1 and len(inputs) > 1:
            shape = shapes.get(inputs[1], ())
            if len(shape) == 4:
                yield _Convolution(
                    weight=inputs[1], shape=shape, transposed=kind == "ConvTranspose"
                )


def _read_tensor(data: memoryview) -> tuple[str, tuple[int, ...]]:
    """Name and shape of an initializer; its values are skipped."""
    name, shape = "", list[int]()
    for number, value in read_fields(data):
        if number == _TENSOR_DIMS:
            # Written one by one or packed.
            shape += [value] if isinstance(value, int) else read_varints(value)
        elif number == _TENSOR_NAME:
            name = _text(value)
    return name, tuple(shape)


def _read_node(data: memoryview) -> tuple[str, list[str], int]:
    """Operator, inputs and the attribute ``group`` of a node."""
    kind, inputs, groups = "", list[str](), 1
    for number, value in read_fields(data):
        if number == _NODE_INPUT:
            inputs.append(_text(value))
        elif number == _NODE_OP_TYPE:
            kind = _text(value)
        elif number == _NODE_ATTRIBUTE and not isinstance(value, int):
            found = dict(read_fields(value))
            group = found.get(_ATTRIBUTE_INT)
            if _text(found.get(_ATTRIBUTE_NAME, 0)) == "group" and isinstance(group, int):
                groups = group
    return kind, inputs, groups


def _text(value: int | memoryview) -> str:
    return "" if isinstance(value, int) else bytes(value).decode(errors="replace")
