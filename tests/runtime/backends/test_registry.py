"""The table of backends, and what one more entry of it suffices for."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from segan.runtime import load
from segan.runtime.backends.choose import candidates
from segan.runtime.backends.graphs import BundleGraphs
from segan.runtime.backends.onnxruntime import OnnxRuntimeSession
from segan.runtime.backends.registry import BACKENDS, Backend
from segan.runtime.backends.session import Precision, Session
from segan.runtime.benchmark.plan import BenchmarkConfig, plan
from segan.runtime.doctor import describe_backends
from segan.runtime.errors import BackendError, ConfigError

TOY = Path(__file__).parents[2] / "data" / "toy.segan"


@pytest.mark.parametrize("name", BACKENDS)
def test_an_entry_is_whole(name: str) -> None:
    entry = BACKENDS[name]
    assert issubclass(entry.session_class(), Session)
    assert issubclass(entry.graphs_class(), BundleGraphs)
    assert set(entry.preferred) <= set(entry.reads)
    assert entry.reads["fp32"] == "fp32", "every bundle has an fp32 graph"
    assert entry.packages


class Made(OnnxRuntimeSession):
    """A backend that lacks fp16 on this machine, or works nowhere."""

    missing = False

    @staticmethod
    def why_not() -> BackendError | None:
        return BackendError("backend 'made' needs a licence") if Made.missing else None

    @staticmethod
    def unsupported() -> frozenset[Precision]:
        return frozenset({"fp16"})


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("made_backend")
    module.Made = Made  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "made_backend", module)
    entry = Backend(
        session="made_backend:Made",
        reads={"fp32": "fp32", "fp16": "fp16"},
        preferred=("fp32",),
        packages=("made",),
    )
    monkeypatch.setitem(BACKENDS, "made", entry)
    monkeypatch.setattr(Made, "missing", False)


def test_one_entry_makes_a_backend(made: None) -> None:
    assert candidates()[-1].backend == "made"
    with load(TOY, "made", threads=1) as ours, load(TOY, "cpu", threads=1) as cpu:
        assert ours.backend == "made"
        np.testing.assert_array_equal(ours.generate([1, 2]), cpu.generate([1, 2]))
    assert describe_backends()["made"] == {"works": True, "problem": None, "precisions": ["fp32"]}
    choices, not_run = plan(BenchmarkConfig(backends=("made",)), ("fp32",))
    assert [(choice.backend, choice.precision) for choice in choices] == [("made", "fp32")]
    assert [entry.precision for entry in not_run] == ["fp16"]
    with pytest.raises(ConfigError) as error:
        load(TOY, "mad")
    assert error.value.remedy == "Did you mean 'made'?"


def test_what_it_lacks_is_said(made: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Made, "missing", True)
    with pytest.raises(BackendError, match="needs a licence"):
        load(TOY, "made")
    assert describe_backends()["made"]["problem"] == "backend 'made' needs a licence."
