from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from segan.runtime.backends.choose import candidates, check_backend, open_session
from segan.runtime.backends.onnxruntime import OnnxRuntimeSession
from segan.runtime.backends.registry import BACKENDS
from segan.runtime.backends.session import Session, SessionConfig, TensorSpec
from segan.runtime.errors import BackendError, ConfigError

DATA = Path(__file__).parents[2] / "data" / "toy.segan"
F32 = np.dtype(np.float32)

#: Of the input x of ``Doubling``.
X = "x float32 [N, 3] with N of 1 or more"


class Doubling(Session):
    """y = 2 x, with a noise input that is only checked."""

    def __init__(self, result: dict[str, NDArray[Any]] | None = None) -> None:
        self.name, self.backend, self.precision = "doubling", "test", "fp32"
        self.inputs = (
            TensorSpec(name="noise", dtype=F32, shape=(None, 2)),
            TensorSpec(name="x", dtype=F32, shape=(None, 3)),
        )
        self.outputs = (TensorSpec(name="y", dtype=F32, shape=(None, 3)),)
        self.result = result
        self.closed = 0

    def _run(self, feeds: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        return self.result or {"y": 2 * feeds["x"]}

    def _close(self) -> None:
        self.closed += 1


def _zeros(*shape: int) -> NDArray[np.float32]:
    return np.zeros(shape, np.float32)


@pytest.mark.parametrize("rows", [1, 4])
def test_noise_may_have_one_row_or_a_row_for_each_image(rows: int) -> None:
    found = Doubling().run({"x": _zeros(4, 3) + 1, "noise": _zeros(rows, 2)})
    np.testing.assert_array_equal(found["y"], np.full((4, 3), 2))


@pytest.mark.parametrize(
    ("feeds", "field", "value", "expected"),
    [
        ({}, "feeds", "", "noise, x"),
        ({"x": _zeros(4, 3)}, "feeds", "x", "noise, x"),
        ({"x": _zeros(4, 3), "noise": _zeros(1, 2), "c": _zeros(1)}, "feeds", "c, noise, x", None),
        ({"x": _zeros(4, 2), "noise": _zeros(1, 2)}, "x", "float32 [4, 2]", X),
        ({"x": _zeros(3), "noise": _zeros(1, 2)}, "x", "float32 [3]", X),
        ({"x": _zeros(0, 3), "noise": _zeros(1, 2)}, "x", "float32 [0, 3]", X),
        ({"x": np.zeros((4, 3)), "noise": _zeros(1, 2)}, "x", "float64 [4, 3]", X),
        ({"x": _zeros(4, 3), "noise": _zeros(2, 2)}, "noise", 2, "4, as the other inputs have"),
    ],
)
def test_wrong_inputs(
    feeds: dict[str, NDArray[Any]],
    field: str,
    value: object,
    expected: str | None,
    raises_error: Callable[..., Any],
) -> None:
    data = {"field": field, "value": value}
    with raises_error(ConfigError, **data, **({} if expected is None else {"expected": expected})):
        Doubling().run(feeds)


def test_a_backend_that_returns_another_shape_is_caught() -> None:
    feeds = {"x": _zeros(4, 3), "noise": _zeros(1, 2)}
    for wrong in (_zeros(3, 3), _zeros(4, 2), _zeros(12)):
        with pytest.raises(BackendError, match="output y has shape"):
            Doubling({"y": wrong}).run(feeds)


def test_closing_twice_is_allowed_and_running_then_is_not() -> None:
    with Doubling() as session:
        pass
    session.close()
    assert session.closed == 1
    with pytest.raises(BackendError, match="closed"):
        session.run({})


def test_the_backends_are_listed_for_an_unknown_name() -> None:
    with pytest.raises(ConfigError) as error:
        check_backend("gpu")
    assert (error.value.field, error.value.value) == ("backend", "gpu")
    assert error.value.expected == "one of auto, tensorrt, cuda, openvino, cpu"
    with pytest.raises(ConfigError) as error:
        open_session(b"", "cup", name="x")
    assert error.value.remedy == "Did you mean 'cpu'?"
    assert candidates("auto")[-1].backend == "cpu"
    assert all(check_backend(name) == name for name in BACKENDS)


# ONNX Runtime.


@pytest.fixture
def mapping() -> bytes:
    return (DATA / "mapping.onnx").read_bytes()


def test_a_graph_on_onnx_runtime(mapping: bytes) -> None:
    session = open_session(mapping, "cpu", name="mapping", config=SessionConfig(threads=1))
    assert (session.backend, session.precision) == ("cpu", "fp32")
    assert session.inputs == (TensorSpec(name="z", dtype=F32, shape=(None, 8)),)
    assert session.outputs == (TensorSpec(name="w", dtype=F32, shape=(None, 8)),)
    z = np.random.RandomState(0).randn(5, 8).astype(np.float32)
    with np.load(DATA.with_suffix(".npz")) as weights:
        expected = np.tanh(z.astype(np.float64) @ weights["A"] + weights["b"])
    np.testing.assert_allclose(session.run({"z": z})["w"], expected, atol=1e-6)
    session.close()
    with pytest.raises(BackendError, match="closed"):
        session.run({"z": z})


def test_any_strides_are_taken(mapping: bytes) -> None:
    session = OnnxRuntimeSession(mapping, name="mapping", config=SessionConfig(threads=1))
    z = np.random.RandomState(0).randn(8, 10).astype(np.float32)
    found = session.run({"z": z.T[::2]})["w"]
    np.testing.assert_array_equal(found, session.run({"z": z.T[::2].copy()})["w"])


@pytest.mark.parametrize("threads", [0, -1])
def test_threads_out_of_range(mapping: bytes, threads: int) -> None:
    with pytest.raises(ConfigError) as error:
        OnnxRuntimeSession(mapping, name="mapping", config=SessionConfig(threads=threads))
    assert (error.value.field, error.value.value) == ("threads", threads)


@pytest.mark.parametrize("data", [b"", b"garbage", b"\x08", b"\x80" * 20, b"PK\x03\x04"])
def test_bytes_that_are_no_model(data: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BackendError, match="the mapping graph") as caught:
        OnnxRuntimeSession(data, name="mapping")
    assert "ONNXRuntimeError" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_model_cut_short_anywhere(mapping: bytes) -> None:
    for size in range(0, len(mapping) - 1, 9):
        with pytest.raises(BackendError):
            OnnxRuntimeSession(mapping[:size], name="mapping", config=SessionConfig(threads=1))


def test_an_error_while_running(capfd: pytest.CaptureFixture[str]) -> None:
    # Its Reshape to [-1, 18] cannot take coords of another size, once our own check is passed.
    session = OnnxRuntimeSession(
        (DATA / "offsets.onnx").read_bytes(), name="offsets", config=SessionConfig(threads=1)
    )
    feeds = {"w": _zeros(2, 8, 8), "psi": _zeros(2, 8), "coords": _zeros(2, 3, 5)}
    session.inputs = tuple(
        TensorSpec(name=name, dtype=F32, shape=value.shape) for name, value in feeds.items()
    )
    with pytest.raises(BackendError, match="failed in the offsets graph"):
        session.run(feeds)
    assert capfd.readouterr() == ("", "")


def test_without_onnxruntime_the_message_says_what_to_install(
    mapping: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(BackendError, match="pip install onnxruntime"):
        OnnxRuntimeSession(mapping, name="mapping")


def test_half_an_onnxruntime_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys
    from types import ModuleType

    # Uninstalling one of two packages that share the folder leaves such a module.
    monkeypatch.setitem(sys.modules, "onnxruntime", ModuleType("onnxruntime"))
    with pytest.raises(BackendError, match=r"is incomplete.*--force-reinstall"):
        OnnxRuntimeSession(b"", name="mapping")


def test_an_error_of_a_bundles_graph_names_the_bundle_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from segan.runtime.backends.graphs import open_graphs
    from segan.runtime.bundle.reader import open_bundle

    def fail(self: object, *_: object, **__: object) -> None:
        raise BackendError("it is torn", field="backend", value="cpu", remedy="Mend it.")

    monkeypatch.setattr(OnnxRuntimeSession, "__init__", fail)
    for _ in range(2):
        with pytest.raises(BackendError) as error:
            open_graphs(open_bundle(DATA), "cpu")
        assert error.value.problem == f"{DATA}: it is torn"
        assert (error.value.field, error.value.value) == ("backend", "cpu")
        assert error.value.remedy == "Mend it."
