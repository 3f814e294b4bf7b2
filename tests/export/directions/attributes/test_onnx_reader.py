"""A user's ONNX network as a reader: what it computes, and what is refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from segan.export.directions.attributes.onnx_reader import (
    OnnxReader,
    Preprocessing,
    resize_matrix,
)
from segan.runtime.errors import ConfigError, DataError

if TYPE_CHECKING:
    from tests.conftest import RaisesError

Shape = list[Any]


def network(
    path: Path,
    *,
    takes: Shape = ["N", 3, "H", "W"],  # noqa: B006
    gives: Shape = ["N", 3],  # noqa: B006
    change: Callable[[onnx.ModelProto], None] = lambda model: None,
) -> Path:
    """Writes a network that returns the means of the channels."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "means",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, takes)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, gives)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


IMAGES = np.random.RandomState(0).uniform(-1, 1, (5, 3, 16, 16)).astype(np.float32)


def test_scores_are_those_of_preprocessed_images(tmp_path: Path) -> None:
    preprocessing = Preprocessing(low=0, high=255, mean=(10, 20, 30), std=(2, 4, 5))
    reader = OnnxReader(network(tmp_path / "r.onnx"), ["r", "g", "b"], preprocessing)
    expected = ((IMAGES + 1) * 127.5).mean((2, 3)) - np.array([10, 20, 30])
    np.testing.assert_allclose(reader.read(IMAGES), expected / np.array([2, 4, 5]), rtol=1e-4)
    assert [reading.name for reading in reader.readings] == ["r", "g", "b"]
    said = reader.describe()
    assert said["range"] == [0, 255]
    assert said["mean"] == [10, 20, 30]
    assert len(said["sha256"]) == 64


def test_images_are_resized_as_pillow_does(tmp_path: Path) -> None:
    path = network(tmp_path / "r.onnx", takes=["N", 3, 8, 8])
    assert OnnxReader(path).read(IMAGES).shape == (5, 3)
    assert [reading.name for reading in OnnxReader(path).readings] == [
        "score 0",
        "score 1",
        "score 2",
    ]
    for size in (7, 8, 24):
        rows = resize_matrix(16, size)
        image = Image.fromarray(IMAGES[0, 0])
        expected = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))
        np.testing.assert_allclose(rows @ IMAGES[0, 0] @ rows.T, expected, atol=1e-5)


def test_a_network_of_one_image_reads_them_one_by_one(tmp_path: Path) -> None:
    single = network(tmp_path / "one.onnx", takes=[1, 3, "H", "W"], gives=[1, 3])
    many = network(tmp_path / "many.onnx")
    np.testing.assert_array_equal(OnnxReader(single).read(IMAGES), OnnxReader(many).read(IMAGES))


def external(model: onnx.ModelProto) -> None:
    tensor = numpy_helper.from_array(np.zeros(3, np.float32), "secret")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret.txt")
    model.graph.initializer.append(tensor)


def loop(model: onnx.ModelProto) -> None:
    body = helper.make_graph([], "body", [], [])
    model.graph.node.append(helper.make_node("Loop", ["a", "b"], ["c"], body=body))


def custom(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "com.example"


def function(model: onnx.ModelProto) -> None:
    model.functions.append(onnx.FunctionProto(name="f", domain="x"))


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"change": external}, "weights in another file"),
        ({"change": loop}, "sub-graph"),
        ({"change": custom}, "com.example"),
        ({"change": function}, "functions"),
        ({"takes": ["N", 1, "H", "W"]}, "it computes"),
        ({"takes": ["N", 3, 8]}, "it computes"),
    ],
)
def test_networks_that_are_no_reader(
    tmp_path: Path, settings: Any, problem: str, raises_error: RaisesError
) -> None:
    with raises_error(DataError, field="reader", problem=problem):
        OnnxReader(network(tmp_path / "r.onnx", **settings))


def test_files_that_are_no_network(tmp_path: Path, raises_error: RaisesError) -> None:
    (tmp_path / "text.onnx").write_text("not a model")
    with raises_error(DataError, field="reader", expected="an .onnx file"):
        OnnxReader(tmp_path / "text.onnx")
    with raises_error(DataError, field="reader", value=tmp_path / "none.onnx"):
        OnnxReader(tmp_path / "none.onnx")
    os.mkfifo(tmp_path / "pipe")
    with raises_error(DataError, field="reader", problem="not a regular file"):
        OnnxReader(tmp_path / "pipe")
    giant = network(tmp_path / "giant.onnx", takes=["N", 3, 60000, 60000])
    with raises_error(DataError, field="reader", expected="4 to 1024 pixels"):
        OnnxReader(giant)


def test_scores_that_are_no_numbers(tmp_path: Path, raises_error: RaisesError) -> None:
    def overflow(model: onnx.ModelProto) -> None:
        model.graph.node[1].input[0] = "large"
        model.graph.node.insert(1, helper.make_node("Exp", ["pooled"], ["large"]))

    path = network(tmp_path / "r.onnx", change=overflow)
    with raises_error(DataError, field="reader", expected="finite scores"):
        OnnxReader(path, preprocessing=Preprocessing(low=0, high=1e4)).read(IMAGES)


@pytest.mark.parametrize("names", [["a", "b"], ["a", "b", "A"], ["a", "b", "c", "d"]])
def test_names_fit_the_scores(tmp_path: Path, names: list[str], raises_error: RaisesError) -> None:
    with raises_error(ConfigError, field="names", expected="3 different names"):
        OnnxReader(network(tmp_path / "r.onnx"), names)


def test_a_size_that_the_network_does_not_take(tmp_path: Path, raises_error: RaisesError) -> None:
    path = network(tmp_path / "r.onnx", takes=["N", 3, 8, 8])
    with raises_error(ConfigError, field="reader_size", value=16):
        OnnxReader(path, preprocessing=Preprocessing(size=16))


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"size": 3}, "reader_size"),
        ({"low": 1.0, "high": 1.0}, "reader_range"),
        ({"high": float("inf")}, "reader_range"),
        ({"std": (1.0, 0.0, 1.0)}, "reader_std"),
        ({"std": (1e-45, 1.0, 1.0)}, "reader_std"),
        ({"high": 1e39}, "reader_std"),
    ],
)
def test_preprocessing_that_cannot_be(settings: Any, field: str, raises_error: RaisesError) -> None:
    with raises_error(ConfigError, field=field):
        Preprocessing(**settings)
