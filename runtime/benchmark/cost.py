"""The cost of a bundle's synthesis: multiply-adds of its convolutions, read from its graph.

The cost is that of the network in its cheapest form: an upsampling convolution counts as a
transposed one. Forms that compute more for the same image (``subpixel`` 16/9 as much, ``folded`` 4
times) have the same cost here, so that shares of a ceiling can be compared across forms. Dense
layers, resampling filters and element-wise work, about 1 % of the multiply-adds, are not counted.
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

#: The place of a convolution in a block: a site, or the residual path around the sites.
_PLACE = re.compile(r"(b(\d+)\.(?:conv\d|to_rgb|around))\.")


@dataclass(frozen=True, kw_only=True)
class _Convolution:
    """A convolution without groups: name and shape of its weight, and whether it is transposed."""

    weight: str
    shape: tuple[int, ...]
    transposed: bool


def count_macs(model: bytes, manifest: Manifest) -> int | None:
    """Return the multiply-adds of one image.

    Args:
        model: the bundle's fp32 synthesis graph.
        manifest: of the bundle.

    Returns:
        None when a site's convolution is not found in the graph, as in graphs that were not written
        by ``segan export``.
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
    """Return the multiply-adds of one convolution, in the cheapest form."""
    around = place.endswith(".around")
    if convolution.transposed or around or place in lowering:
        pixels = (resolution // 2) ** 2
    else:
        return math.prod(convolution.shape) * resolution**2
    if convolution.transposed:
        return math.prod(convolution.shape) * pixels
    out, into, height, _ = convolution.shape
    # A kernel that contains the phases of upsampling computes four pixels at once.
    phases = 1 if height == 1 else 4
    return out // phases * into * (1 if around else 9) * pixels


def _convolutions(model: bytes) -> Iterator[_Convolution]:
    """Yield the convolutions with constant weights and without groups."""
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
    """Return the name and the shape of an initializer."""
    name, shape = "", list[int]()
    for number, value in read_fields(data):
        if number == _TENSOR_DIMS:
            # Repeated or packed.
            shape += [value] if isinstance(value, int) else read_varints(value)
        elif number == _TENSOR_NAME:
            name = _text(value)
    return name, tuple(shape)


def _read_node(data: memoryview) -> tuple[str, list[str], int]:
    """Return the operator, the inputs and the attribute ``group`` of a node."""
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
