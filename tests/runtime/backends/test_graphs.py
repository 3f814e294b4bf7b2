"""A bundle's graphs against its manifest, and which backend runs them."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from segan.runtime.backends import graphs
from segan.runtime.backends.choose import Choice
from segan.runtime.backends.graphs import BundleGraphs, open_graphs
from segan.runtime.backends.session import TensorSpec
from segan.runtime.bundle.reader import open_bundle
from segan.runtime.errors import BackendError, BundleError
from segan.runtime.graphs.check import Interface

TOY = Path(__file__).parents[2] / "data" / "toy.segan"


def _spec(name: str, *shape: int | None, dtype: Any = np.float32) -> TensorSpec:
    return TensorSpec(name=name, dtype=np.dtype(dtype), shape=shape)


def _check(inputs: list[TensorSpec], outputs: list[TensorSpec]) -> None:
    """Check a graph of ``z`` [N, 4] → ``w`` [N, 8]."""
    session: Any = SimpleNamespace(name="mapping", inputs=inputs, outputs=outputs)
    bundle: Any = SimpleNamespace(path=Path("a.segan"))
    wanted = Interface(inputs={"z": (4,)}, outputs={"w": (8,)}, pixels=1)
    graphs._check_graph(bundle, session, wanted)


def test_a_graph_as_the_manifest_has_it_is_taken() -> None:
    _check([_spec("z", None, 4)], [_spec("w", None, 8)])
    # Shape inference may leave sizes of an output open, but not those of an input.
    _check([_spec("z", None, 4)], [_spec("w", None, None)])


@pytest.mark.parametrize(
    "given",
    [
        _spec("z", None, 3),
        _spec("z", None, 5),
        _spec("z", None, None),
        _spec("z", None),
        _spec("z", None, 4, 1),
        _spec("z", 1, 4),
        _spec("z", None, 4, dtype=np.float16),
        _spec("z", None, 4, dtype=np.float64),
        _spec("z", None, 4, dtype=np.int64),
        _spec("x", None, 4),
    ],
    ids=str,
)
def test_another_graph_is_refused(given: TensorSpec) -> None:
    with pytest.raises(BundleError) as error:
        _check([given], [_spec("w", None, 8)])
    assert error.value.value == Path("a.segan")
    assert "mapping" in str(error.value)


@pytest.mark.parametrize("shape", [(None, 7), (None, 9), (None,), (None, 8, 1), (2, 8)])
def test_another_output_is_refused(shape: tuple[int | None, ...]) -> None:
    with pytest.raises(BundleError):
        _check([_spec("z", None, 4)], [_spec("w", *shape)])


def _npy(values: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def test_noise_is_float32_of_the_manifests_size() -> None:
    values = np.arange(6, dtype=np.float32)
    assert np.array_equal(graphs._decode_noise(_npy(values), 6), values[None])
    for wrong in (values[:5], values[None], values.astype(np.float64), values.astype("<f2")):
        with pytest.raises(ValueError, match="expected float32"):
            graphs._decode_noise(_npy(wrong), 6)
    with pytest.raises(ValueError, match="finite"):
        graphs._decode_noise(_npy(np.full(6, np.nan, np.float32)), 6)
    with pytest.raises(ValueError, match="truncated"):
        graphs._decode_noise(_npy(values)[:-4], 6)


@pytest.mark.parametrize(
    ("broken", "chosen"), [((), "one"), (("one",), "two"), (("one", "two"), "three")]
)
def test_the_first_backend_that_loads_is_taken(
    monkeypatch: pytest.MonkeyPatch, broken: tuple[str, ...], chosen: str
) -> None:
    _use_backends(monkeypatch, broken)
    found = open_graphs(open_bundle(TOY))
    assert found.choice.backend == chosen
    assert found.choice.passed_over == {name: f"{name} is broken." for name in broken}


def test_the_last_backends_error_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    _use_backends(monkeypatch, ("one", "two", "three"))
    with pytest.raises(BackendError) as error:
        open_graphs(open_bundle(TOY))
    assert error.value.problem == "three is broken"


def _use_backends(monkeypatch: pytest.MonkeyPatch, broken: tuple[str, ...]) -> None:
    """Three made-up backends, one, two and three, of which some cannot load a graph."""

    class Made(BundleGraphs):
        def __init__(self, _bundle: Any, choice: Choice, _config: Any) -> None:
            if choice.backend in broken:
                raise BackendError(f"{choice.backend} is broken")
            self.choice = choice

    names = ("one", "two", "three")
    choices = [
        Choice(backend=name, precision="fp32", graph="fp32", passed_over={}) for name in names
    ]
    monkeypatch.setattr(graphs, "candidates", lambda *_: choices)
    made = SimpleNamespace(graphs_class=lambda: Made)
    monkeypatch.setattr(graphs, "BACKENDS", dict.fromkeys(names, made))
