"""How many CPU threads each session gets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from segan.runtime.backends import onnxruntime as ort
from segan.runtime.backends import openvino
from segan.runtime.backends.cuda.session import HOST, CudaSession
from segan.runtime.backends.graphs import open_graphs
from segan.runtime.backends.onnxruntime import OnnxRuntimeSession
from segan.runtime.backends.openvino import OpenVinoSession
from segan.runtime.backends.session import SessionConfig
from segan.runtime.bundle.reader import open_bundle

TOY = Path(__file__).parents[2] / "data" / "toy.segan"
CORES = 3

needs_openvino = pytest.mark.skipif(
    OpenVinoSession.why_not() is not None, reason="openvino is not installed"
)


@pytest.fixture(autouse=True)
def cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of three cores."""
    monkeypatch.setattr(ort, "usable_cores", lambda: CORES)
    monkeypatch.setattr(openvino, "usable_cores", lambda: CORES)


@pytest.fixture
def model() -> bytes:
    return (TOY / "mapping.onnx").read_bytes()


def _threads(session: Any) -> tuple[int, int]:
    """ONNX Runtime's threads within an operator, and across operators."""
    options = session._session.get_session_options()
    return options.intra_op_num_threads, options.inter_op_num_threads


@pytest.mark.parametrize(("asked", "given"), [(None, CORES), (1, 1), (2, 2)])
def test_onnx_runtime_takes_the_cores_unless_threads_are_given(
    model: bytes, asked: int | None, given: int
) -> None:
    session = OnnxRuntimeSession(model, name="mapping", config=SessionConfig(threads=asked))
    assert _threads(session) == (given, 1)


@pytest.mark.parametrize(("asked", "given"), [(None, 1), (2, 2)])
def test_cuda_takes_one_thread_unless_threads_are_given(
    model: bytes, asked: int | None, given: int
) -> None:
    config = SessionConfig(threads=asked)
    assert _threads(CudaSession(model, name="mapping", config=config, placement=HOST)) == (given, 1)


@needs_openvino
@pytest.mark.parametrize(("asked", "given"), [(None, CORES), (1, 1), (2, 2)])
@pytest.mark.parametrize("throughput", [False, True])
def test_openvino_takes_the_cores_unless_threads_are_given(
    model: bytes, asked: int | None, given: int, throughput: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = OpenVinoSession(
        model, name="mapping", config=SessionConfig(threads=asked, throughput=throughput)
    )
    assert session._options["INFERENCE_NUM_THREADS"] == given
    # With throughput, each stream is one request on its share of the threads.
    assert session._options.get("NUM_STREAMS") == (given if throughput else None)
    compiled = session._compile(session._model)
    assert compiled._limit._value == (given if throughput else 1)
    if given == 1:  # OpenVINO itself does not exceed the machine's cores.
        assert compiled._model.get_property("INFERENCE_NUM_THREADS") == 1


@pytest.mark.parametrize(("asked", "given"), [(None, CORES), (2, 2)])
def test_of_a_bundle_synthesis_alone_has_more_than_one_thread(
    asked: int | None, given: int
) -> None:
    graphs = open_graphs(open_bundle(TOY), "cpu", config=SessionConfig(threads=asked))
    found = {name: _threads(session)[0] for name, session in graphs._sessions.items()}
    assert found == {"mapping": 1, "offsets": 1, "synthesis": given}
    graphs.close()
