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
from segan.runtime.graphs.check import read_model
from segan.runtime.graphs.messages import Graph
from segan.runtime.graphs.wire import MalformedModelError

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
        convolutions = list(_convolutions(read_model(model)))
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


def _convolutions(graph: Graph) -> Iterator[_Convolution]:
    """Yield the convolutions with constant weights and without groups."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for node in graph.node:
        groups = next((entry.i for entry in node.attribute if entry.name == "group"), 1)
        if node.op_type in ("Conv", "ConvTranspose") and groups == 1 and len(node.input) > 1:
            shape = shapes.get(node.input[1], ())
            if len(shape) == 4:
                yield _Convolution(
                    weight=node.input[1], shape=shape, transposed=node.op_type == "ConvTranspose"
                )
