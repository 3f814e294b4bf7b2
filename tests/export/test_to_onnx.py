"""The written graphs: operators, names, dynamic dimensions, constants."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper

from segan.export import to_onnx as to_onnx_module
from segan.export.exporter import ExportConfig, export_files
from segan.export.graphs import OPSET
from segan.export.graphs.stylegan2.graphs import MappingGraph
from segan.export.to_onnx import to_onnx
from segan.runtime.errors import ExportError
from segan.train.networks.stylegan2.generator import Generator

if TYPE_CHECKING:
    from tests.conftest import RaisesError

Make = Callable[..., Generator]
Files = dict[str, bytes]


def files_of(generator: Generator, **config: Any) -> Files:
    table = ExportConfig(**config).table(generator)
    return dict(export_files(generator, table, lambda _: None))


@pytest.fixture(scope="module")
def generator(make_generator: Make) -> Generator:
    """Mode 1, three classes, residual: every input and every kind of path."""
    return make_generator(mode=1, c_dim=3, architecture="residual", img_channels=1)


@pytest.fixture(scope="module")
def files(generator: Generator) -> Files:
    return files_of(generator, lowering="subpixel")


def models(files: Files) -> dict[str, onnx.ModelProto]:
    return {
        name.removesuffix(".onnx"): onnx.load_from_string(data)
        for name, data in files.items()
        if name.endswith(".onnx")
    }


def shapes(values: Any) -> dict[str, list[str | int]]:
    return {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in values
    }


def test_inputs_and_outputs(files: Files) -> None:
    found = models(files)
    assert shapes(found["mapping"].graph.input) == {"z": ["batch", 6], "c": ["batch", 3]}
    assert shapes(found["mapping"].graph.output) == {"w": ["batch", 8]}
    assert shapes(found["offsets"].graph.input) == {
        "w": ["batch", 5 - 1, 8],
        "psi": ["batch", 4],
        "coords": ["batch", 2, 3],
    }
    assert shapes(found["offsets"].graph.output) == {
        "ws": ["batch", 4, 8],
        "shifts": ["batch", 2, 3],
    }
    assert shapes(found["synthesis"].graph.input) == {
        "ws": ["batch", 4, 8],
        "shifts": ["batch", 2, 3],
        "noise": ["noise_batch", 16 + 64 + 64],
    }
    assert shapes(found["synthesis"].graph.output) == {"image": ["batch", 1, 8, 8]}
    for model in found.values():
        kinds = {value.type.tensor_type.elem_type for value in model.graph.input}
        assert kinds == {onnx.TensorProto.FLOAT}


def test_standard_operators_with_constant_weights(files: Files) -> None:
    for model in models(files).values():
        assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", OPSET)]
        assert not model.functions
        constants = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
        assert all(not tensor.external_data for tensor in model.graph.initializer)
        for node in model.graph.node:
            assert node.domain == ""
            if node.op_type not in ("Conv", "ConvTranspose"):
                continue
            assert all(name in constants for name in node.input[1:]), "weights are constants"
            group = next(entry.i for entry in node.attribute if entry.name == "group")
            shape = constants[node.input[1]]
            # Groups only where every channel has its own small filter.
            assert group == 1 or (shape[1] == 1 and shape[0] in (group, 4 * group))
    assert not {"Expand", "Shape", "Tile"} & {
        node.op_type for node in models(files)["synthesis"].graph.node
    }


def test_names_are_readable_and_nothing_of_the_machine_is_kept(files: Files) -> None:
    model = models(files)["synthesis"]
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names)
    assert "b8.conv0.convolution/DepthToSpace" in names
    assert "b8.to_rgb/Conv" in names
    weights = {tensor.name for tensor in model.graph.initializer}
    assert {"const", "b8.conv0.convolution.weight", "b8.conv1.power"} <= weights
    assert model.producer_name == "segan"
    for data in files.values():
        assert b".py" not in data
        assert str(Path(__file__).parents[2]).encode() not in data


def test_the_same_bytes_again(generator: Generator, files: Files) -> None:
    mapping = {"z": torch.zeros(2, 6), "c": torch.zeros(2, 3)}
    assert to_onnx(MappingGraph(generator), mapping, ["w"]) == files["mapping.onnx"]


def test_latents_and_styles_of_zero_stay_finite(make_generator: Make) -> None:
    """The ε of the pixel norm and of the demodulation are in the graphs."""
    generator = make_generator(mode=0)
    for module in (block.conv1 for block in generator.synthesis.block_list()):
        module.affine.weight.zero_()
        module.affine.bias.zero_()
    files = files_of(generator)
    z, psi = np.zeros((1, 6), np.float32), np.ones((1, 5), np.float32)
    w = run(files["mapping.onnx"], {"z": z})[0]
    ws = run(files["offsets.onnx"], {"w": np.repeat(w[:, None], 5, 1), "psi": psi})[0]
    noise = generator.synthesis.noise_const()
    image = run(files["synthesis.onnx"], {"ws": ws, "noise": noise.numpy()})[0]
    expected = generator(torch.zeros(1, 6), noise=noise).numpy()
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(image, expected, atol=1e-5)


def run(data: bytes, feeds: dict[str, Any]) -> list[Any]:
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return list(session.run(None, feeds))


def test_tiny_strengths_are_kept(make_generator: Make) -> None:
    """A noise strength next to 1 or 0 is a number like any other."""
    generator = make_generator(mode=0)
    conv1 = generator.synthesis.block_list()[1].conv1
    conv1.noise_strength.fill_(1.000003 / 2**0.5)
    model = models(files_of(generator))["synthesis"]
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    assert stored["b8.conv1.noise_strength"].item() == pytest.approx(1.000003, abs=1e-7)


def test_too_large_for_one_file(
    generator: Generator, monkeypatch: pytest.MonkeyPatch, raises_error: RaisesError
) -> None:
    monkeypatch.setattr(to_onnx_module, "MAX_WEIGHT_BYTES", 100)
    with raises_error(ExportError, field="weights", remedy="fewer channels") as caught:
        to_onnx(MappingGraph(generator), {"z": torch.zeros(2, 6)}, ["w"])
    assert caught.value.value > 100


def test_failure_of_the_exporter_names_module_and_versions(raises_error: RaisesError) -> None:
    class Branching(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.exp() if bool(x.sum() > 0) else x

    with raises_error(ExportError, problem="Branching", remedy=f"torch {torch.__version__}"):
        to_onnx(Branching(), {"x": torch.zeros(2, 6)}, ["y"])
