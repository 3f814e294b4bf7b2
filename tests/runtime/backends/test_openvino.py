from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segan.runtime import load
from segan.runtime.backends.openvino import _MOST_SIZES, _OFTEN, OpenVinoSession
from segan.runtime.backends.session import SessionConfig, TensorSpec
from segan.runtime.errors import BackendError

pytestmark = pytest.mark.skipif(
    OpenVinoSession.why_not() is not None, reason="openvino is not installed"
)

DATA = Path(__file__).parents[2] / "data" / "toy.segan"
F32 = np.dtype(np.float32)


@pytest.fixture
def mapping() -> bytes:
    return (DATA / "mapping.onnx").read_bytes()


def _session(model: bytes, **settings: Any) -> OpenVinoSession:
    return OpenVinoSession(model, name="mapping", config=SessionConfig(threads=1, **settings))


def _expected(z: np.ndarray[Any, Any]) -> Any:
    with np.load(DATA.with_suffix(".npz")) as weights:
        return np.tanh(z.astype(np.float64) @ weights["A"] + weights["b"])


def _z(rows: int) -> Any:
    return np.random.RandomState(rows).randn(rows, 8).astype(np.float32)


def test_a_graph(mapping: bytes) -> None:
    with _session(mapping) as session:
        assert (session.backend, session.precision) == ("openvino", "fp32")
        assert session.inputs == (TensorSpec(name="z", dtype=F32, shape=(None, 8)),)
        assert session.outputs == (TensorSpec(name="w", dtype=F32, shape=(None, 8)),)
        np.testing.assert_allclose(session.run({"z": _z(5)})["w"], _expected(_z(5)), atol=1e-5)
    with pytest.raises(BackendError, match="closed"):
        session.run({"z": _z(5)})


def test_a_session_that_another_thread_closes(
    mapping: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = _session(mapping)
    check = OpenVinoSession.check

    def then_close(self: OpenVinoSession, feeds: Any) -> int:
        batch = check(self, feeds)
        self.close()
        return batch

    monkeypatch.setattr(OpenVinoSession, "check", then_close)
    with pytest.raises(BackendError, match=r"the mapping session is closed\. Load the bundle"):
        session.run({"z": _z(5)})


def test_every_batch_size_also_beyond_those_kept_compiled(mapping: bytes) -> None:
    with _session(mapping) as session:
        for rows in [*range(1, _MOST_SIZES + 4), 1, 3]:
            np.testing.assert_allclose(
                session.run({"z": _z(rows)})["w"], _expected(_z(rows)), atol=1e-5
            )
        assert len(session._sized) == _MOST_SIZES
        # A size that is asked for often takes the place of one that is not.
        rare = next(iter(session._sized))
        for _ in range(_OFTEN):
            session.run({"z": _z(30)})
        assert ((30, 8),) in session._sized
        assert rare not in session._sized
        assert len(session._sized) == _MOST_SIZES


def test_results_are_the_callers_own(mapping: bytes) -> None:
    with _session(mapping) as session:
        first = session.run({"z": _z(4)})["w"]
        copy = first.copy()
        session.run({"z": -_z(4)})
        np.testing.assert_array_equal(first, copy)


@pytest.mark.parametrize("throughput", [False, True])
def test_threads_that_call_at_once_get_their_own_results(mapping: bytes, throughput: bool) -> None:
    wrong = []
    with OpenVinoSession(
        mapping, name="mapping", config=SessionConfig(threads=2, throughput=throughput)
    ) as session:

        def call(rows: int) -> None:
            for _ in range(30):
                if not np.allclose(session.run({"z": _z(rows)})["w"], _expected(_z(rows)), 0, 1e-5):
                    wrong.append(rows)

        threads = [threading.Thread(target=call, args=(rows,)) for rows in (1, 2, 3, 2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong


def test_compiled_graphs_are_kept_in_a_folder(mapping: bytes, tmp_path: Path) -> None:
    for _ in range(2):
        with _session(mapping, cache=tmp_path) as session:
            np.testing.assert_allclose(session.run({"z": _z(3)})["w"], _expected(_z(3)), atol=1e-5)
        assert list(tmp_path.rglob("*.blob"))


@pytest.mark.parametrize("data", [b"", b"garbage", b"\x08", b"PK\x03\x04"])
def test_what_is_no_model(data: bytes) -> None:
    with pytest.raises(BackendError, match="mapping graph"):
        _session(data).run({"z": _z(1)})


def test_a_model_cut_short(mapping: bytes) -> None:
    for size in range(1, len(mapping), 97):
        with pytest.raises(BackendError):
            _session(mapping[:size]).run({"z": _z(1)})


def test_bf16_on_a_processor_without_it(mapping: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "segan.runtime.backends.openvino.capabilities", lambda: ("FP32", "INT8", "BIN")
    )
    assert OpenVinoSession.unsupported() == {"bf16"}
    with pytest.raises(BackendError, match=r"does not support \(O") as error:
        _session(mapping, precision="bf16")
    assert (error.value.field, error.value.value) == ("precision", "bf16")


def test_images_of_every_toy_bundle_are_those_of_the_cpu_backend() -> None:
    for name in ("toy", "toy_plain", "toy_shifts"):
        path = DATA.with_name(f"{name}.segan")
        options: dict[str, Any] = {"psi": 0.7, "batch_size": 3}
        with load(path, "cpu") as cpu, load(path, "openvino") as openvino:
            if cpu.manifest.noise is not None:
                options["noise"] = "random"
            if cpu.manifest.c_dim:
                options["class_index"] = 1
            ours, theirs = (g.generate(range(7), **options).astype(int) for g in (openvino, cpu))
            # A pixel that lies between two steps may fall to either.
            assert np.abs(ours - theirs).max() <= 1


def test_a_library_that_is_missing_is_named(
    mapping: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    with pytest.raises(BackendError, match=r"pip install 'segan\[openvino\]'"):
        _session(mapping)
