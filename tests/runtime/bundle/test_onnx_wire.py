from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from segan.runtime.backends.onnxruntime import OnnxRuntimeSession
from segan.runtime.backends.session import SessionConfig
from segan.runtime.bundle.onnx_wire import MalformedModelError, has_external_data
from segan.runtime.errors import BackendError

DATA = Path(__file__).parents[2] / "data" / "toy.segan"


def _field(number: int, value: bytes | int) -> bytes:
    """One protobuf field, as the encoding's description says (protobuf.dev)."""

    def varint(x: int) -> bytes:
        return bytes([x]) if x < 128 else bytes([x & 127 | 128]) + varint(x >> 7)

    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def _tensor(*, external: bool) -> bytes:
    """TensorProto k, float32 [4]: dims 1, data_type 2, name 8, raw_data 9 or external_data 13."""
    head = _field(1, 4) + _field(2, 1) + _field(8, b"k")
    if not external:
        return head + _field(9, np.arange(4, dtype="<f4").tobytes())
    entry = _field(1, b"location") + _field(2, b"secret.bin")
    return head + _field(13, entry) + _field(14, 1)


def _value_info(name: bytes) -> bytes:
    dims = _field(1, _field(2, b"N")) + _field(1, _field(1, 4))
    return _field(1, name) + _field(2, _field(1, _field(1, 1) + _field(2, dims)))


def _model(graph: bytes) -> bytes:
    return _field(1, 8) + _field(7, graph) + _field(8, _field(1, b"") + _field(2, 18))


def _add(*, external: bool) -> bytes:
    """Y = x + k, with k in the model or in the file secret.bin."""
    node = _field(1, b"x") + _field(1, b"k") + _field(2, b"y") + _field(4, b"Add")
    graph = _field(1, node) + _field(2, b"g") + _field(5, _tensor(external=external))
    return _model(graph + _field(11, _value_info(b"x")) + _field(12, _value_info(b"y")))


def test_the_model_made_by_hand_is_a_model() -> None:
    session = OnnxRuntimeSession(_add(external=False), name="add", config=SessionConfig(threads=1))
    x = np.ones((2, 4), np.float32)
    np.testing.assert_array_equal(session.run({"x": x})["y"], [[1, 2, 3, 4]] * 2)


def test_weights_in_another_file_are_refused_even_when_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret.bin").write_bytes(np.arange(4, dtype="<f4").tobytes())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BackendError, match="the add graph has weights in another file"):
        OnnxRuntimeSession(_add(external=True), name="add")


@pytest.mark.parametrize("external", [False, True])
def test_tensors_are_found_wherever_they_hide(external: bool) -> None:
    tensor = _tensor(external=external)
    attribute = _field(5, tensor)
    subgraph = _field(6, _field(5, tensor))
    places = {
        "initializer": _model(_field(5, tensor)),
        "sparse values": _model(_field(15, _field(1, tensor))),
        "constant node": _model(_field(1, _field(5, attribute))),
        "list of tensors": _model(_field(1, _field(5, _field(10, tensor)))),
        "branch of an If": _model(_field(1, _field(5, subgraph))),
        "list of graphs": _model(_field(1, _field(5, _field(11, _field(5, tensor))))),
        "function": _field(25, _field(7, _field(5, attribute))),
    }
    for place, model in places.items():
        assert has_external_data(model) is external, place


@pytest.mark.parametrize("name", ["mapping", "offsets", "synthesis"])
def test_the_toy_graphs_hold_their_weights(name: str) -> None:
    assert not has_external_data((DATA / f"{name}.onnx").read_bytes())


def test_damaged_bytes_give_an_answer_or_one_kind_of_error() -> None:
    whole = (DATA / "offsets.onnx").read_bytes()
    rng = random.Random(0)
    for _ in range(300):
        data = bytearray(whole[: rng.randrange(len(whole))])
        for _ in range(rng.randrange(4)):
            if data:
                data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            has_external_data(bytes(data))
        except MalformedModelError:
            continue
