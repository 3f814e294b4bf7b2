"""Every kind of graph that segan writes passes the check of the runtime, and stays what it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
import pytest

from segan.export.directions.graph import add_directions, widen_shifts
from segan.export.exporter import ExportConfig, export_files
from segan.export.graphs import IR_VERSION, OPSET
from segan.export.precisions.add import half_file, synthesis_onnx
from segan.export.precisions.int8 import draft_int8
from segan.export.to_onnx import BF16_IR_VERSION, BF16_OPSET
from segan.runtime.bundle.graph_files import read_graph
from segan.runtime.bundle.reader import open_bundle
from segan.runtime.bundle.shipped import shipped_bundle
from segan.runtime.graphs.check import check_model
from segan.runtime.graphs.operators import OPERATORS

Make = Callable[..., Any]

KINDS: list[dict[str, Any]] = [
    {"mode": 0, "c_dim": 3, "architecture": "skip", "lowering": "subpixel"},
    {"mode": 1, "architecture": "residual", "lowering": "transposed"},
    {"mode": 2, "architecture": "original", "lowering": "folded"},
    {"mode": 2, "kind": "diagonal", "architecture": "skip", "lowering": "transposed"},
    {"mode": 3, "architecture": "residual", "lowering": "folded"},
]


def _written(make_generator: Make, kind: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    """Yield each graph of one generator, by name."""
    settings = dict(kind)
    lowering = settings.pop("lowering")
    generator = make_generator(**settings)
    table = ExportConfig(lowering=lowering).table(generator)
    files = dict(export_files(generator, table, lambda _: None))
    yield from ((name, data) for name, data in files.items() if name.endswith(".onnx"))
    for precision in ("fp16", "bf16"):
        yield half_file(generator, table, precision, lambda _: None)
    sites, w_dim = len(generator.network.sites), generator.network.w_dim
    rows, width = generator.coords_shape if generator.table else (0, 0)
    vectors = np.random.RandomState(0).randn(2, 4, sites, w_dim)
    given = {"rows": rows, "width": width}
    new_width = max(width, 4)
    moved = add_directions(files["offsets.onnx"], vectors, new_width=new_width, **given)
    yield "offsets.onnx with directions", moved
    if kind["mode"] == 1:
        wider = widen_shifts(
            files["synthesis.onnx"], new_rows=rows + 2, new_width=new_width, **given
        )
        yield "synthesis.onnx with directions", wider
        feeds = {
            "ws": np.random.RandomState(0).randn(2, sites, w_dim).astype(np.float32),
            "shifts": np.zeros((2, rows, width), np.float32),
            "noise": generator.synthesis.noise_const().numpy(),
        }
        draft = draft_int8(
            generator, table, lambda module: synthesis_onnx(generator, module), [feeds]
        )
        yield "synthesis.int8.onnx", draft.quantize(draft.resolutions()[0])


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"mode {kind['mode']}, {kind['lowering']}")
def test_what_is_written_is_read(make_generator: Make, kind: dict[str, Any]) -> None:
    for name, data in _written(make_generator, kind):
        found = check_model(data)
        model = onnx.load_from_string(data)
        assert onnx.load_from_string(found) == model, name
        # protobuf writes fields in the same order.
        assert found == data, name
        assert {node.op_type for node in model.graph.node} <= OPERATORS.keys()
        versions = (model.ir_version, model.opset_import[0].version)
        wanted = (BF16_IR_VERSION, BF16_OPSET) if "bf16" in name else (IR_VERSION, OPSET)
        assert versions == wanted, name


def test_the_shipped_graphs_are_read() -> None:
    bundle = open_bundle(shipped_bundle())
    graphs = bundle.manifest.graphs
    for graph, file in (("mapping", graphs.mapping), ("offsets", graphs.offsets)):
        assert read_graph(bundle, graph) == bundle.read(file)
    for precision, file in graphs.synthesis.items():
        assert read_graph(bundle, "synthesis", precision) == bundle.read(file)
