"""The graphs of the files are what onnx builds, and compute what the host would."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from segan.runtime.backends.choose import open_session
from segan.runtime.backends.cuda.graphs import PIXELS, SPREAD
from segan.runtime.backends.pixels import to_uint8
from segan.runtime.backends.session import Session, SessionConfig
from segan.runtime.errors import BackendError


def build_pixels() -> bytes:
    """[N, C, H, W] float32 -> pixels [N, H, W, C] uint8, wrong [N] float32."""
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("Mul", ["image", "a"], ["m"]),
        helper.make_node("Add", ["m", "b"], ["p"]),
        helper.make_node("Abs", ["p"], ["s"]),
        helper.make_node("Less", ["s", "i"], ["l"]),
        helper.make_node("Not", ["l"], ["n"]),
        helper.make_node("Cast", ["n"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["f", "x"], ["wrong"], keepdims=0),
        helper.make_node("Clip", ["p", "z", "h"], ["c"]),
        helper.make_node("Cast", ["c"], ["u"], to=TensorProto.UINT8),
        helper.make_node("Transpose", ["u"], ["pixels"], perm=[0, 2, 3, 1]),
    ]
    floats = {"a": 127.5, "b": 128.0, "i": float("inf"), "z": 0.0, "h": 255.0}
    constants = [
        helper.make_tensor(name, TensorProto.FLOAT, [], [value]) for name, value in floats.items()
    ]
    constants.append(helper.make_tensor("x", TensorProto.INT64, [3], [1, 2, 3]))
    return _model(
        nodes,
        {"image": "NCHW"},
        {"pixels": ("NHWC", TensorProto.UINT8), "wrong": ("N", TensorProto.FLOAT)},
        constants,
    )


def build_spread() -> bytes:
    """v [N, w_dim], psi [N, num_sites] -> w [N, num_sites, w_dim], v at every site."""
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("Unsqueeze", ["psi", "two"], ["p"]),
        helper.make_node("Mul", ["p", "zero"], ["o"]),
        helper.make_node("Unsqueeze", ["v", "one"], ["r"]),
        helper.make_node("Add", ["r", "o"], ["w"]),
    ]
    constants = [
        helper.make_tensor("one", TensorProto.INT64, [1], [1]),
        helper.make_tensor("two", TensorProto.INT64, [1], [2]),
        helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]),
    ]
    return _model(nodes, {"v": "NW", "psi": "NS"}, {"w": ("NSW", TensorProto.FLOAT)}, constants)


def _model(
    nodes: list[Any], inputs: dict[str, str], outputs: dict[str, tuple[str, int]], constants: Any
) -> bytes:
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        nodes,
        "g",
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, list(dims))
            for name, dims in inputs.items()
        ],
        [
            helper.make_tensor_value_info(name, kind, list(dims))
            for name, (dims, kind) in outputs.items()
        ],
        constants,
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 18)])
    found: bytes = model.SerializeToString(deterministic=True)
    return found


def test_the_embedded_bytes_are_what_onnx_builds() -> None:
    onnx = pytest.importorskip("onnx", reason="needs onnx; the bare environment has none")
    for embedded, built in ((PIXELS, build_pixels()), (SPREAD, build_spread())):
        assert onnx.load_from_string(embedded) == onnx.load_from_string(built)
        onnx.checker.check_model(onnx.load_from_string(embedded), full_check=True)
        assert len(embedded) < 1000


@pytest.fixture(params=["cpu", "openvino"])
def pixels(request: pytest.FixtureRequest) -> Session:
    if request.param == "openvino":
        pytest.importorskip("openvino", reason="needs openvino; the bare environment has none")
    return open_session(PIXELS, request.param, name="pixels", config=SessionConfig(threads=1))


@pytest.mark.parametrize("shape", [(1, 3, 4, 4), (3, 1, 8, 8), (2, 4, 16, 16), (2, 2, 4, 8)])
def test_pixels_are_the_hosts_own(pixels: Session, shape: tuple[int, ...]) -> None:
    image = np.random.RandomState(0).randn(*shape).astype(np.float32)
    # The values at which floor goes over, and those far outside.
    image.ravel()[:7] = [-1, 1, 0, 127 / 127.5, -128 / 127.5, 1e30, -1e30]
    found = pixels.run({"image": image})
    assert found["pixels"].flags.c_contiguous
    np.testing.assert_array_equal(found["pixels"], to_uint8(image))
    np.testing.assert_array_equal(found["wrong"], np.zeros(shape[0]))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_what_is_not_finite_is_counted_by_image(pixels: Session, value: float) -> None:
    image = np.zeros((3, 3, 8, 8), np.float32)
    image[1, :, 2:4] = value
    with pytest.raises(BackendError, match="not finite"), np.errstate(over="ignore"):
        to_uint8(image)
    found = pixels.run({"image": image})
    np.testing.assert_array_equal(found["wrong"], [0, 3 * 2 * 8, 0])
    np.testing.assert_array_equal(found["pixels"][0], np.full((8, 8, 3), 128))


def test_a_vector_is_spread_over_the_sites() -> None:
    session = open_session(SPREAD, "cpu", name="spread", config=SessionConfig(threads=1))
    random = np.random.RandomState(0)
    vectors, psi = random.randn(5, 7).astype(np.float32), random.rand(5, 3).astype(np.float32)
    found = session.run({"v": vectors, "psi": psi})["w"]
    np.testing.assert_array_equal(found, np.repeat(vectors[:, None], 3, axis=1))
