"""How TensorRT's memory and kernels end: closed meanwhile, dropped, or with the process."""

from __future__ import annotations

import gc
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from segan.runtime.backends.tensorrt.graphs import TensorRTGraphs
from segan.runtime.backends.tensorrt.session import TensorRTSession
from segan.runtime.errors import BackendError
from segan.runtime.generate.generator import load
from segan.runtime.latents.inputs import GraphInputs

TESTS = Path(__file__).parents[3]


@pytest.fixture(params=["tensorrt", "tensorrt_rtx"])
def any_card(
    request: pytest.FixtureRequest,
    fake_gpu: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Any:
    card = fake_gpu.Card(request.param)
    card.put_in(monkeypatch, tmp_path / "cache")
    return card


def _kernels(cache: Path) -> list[Path]:
    return list((cache / "engines").glob("kernels-*.cache"))


def test_a_generator_that_is_dropped(any_card: Any, toy_bundle: Path, tmp_path: Path) -> None:
    for _ in range(2):
        toy = load(toy_bundle, "tensorrt")
        toy.generate(range(9))
        toy.map(np.zeros((1, 8)))
        assert any_card.cuda.blocks
        del toy
        gc.collect()
        assert any_card.cuda.blocks == {}
    is_rtx = any_card.trt.is_rtx
    assert len(_kernels(tmp_path / "cache")) == (3 if is_rtx else 0)
    assert any_card.cuda.log.count("kernels b'compiled'") == (3 if is_rtx else 0)


def test_one_that_is_dropped_with_a_batch_on_its_way(any_card: Any, toy_bundle: Path) -> None:
    toy = load(toy_bundle, "tensorrt")
    batches = toy.generate_batches(range(9), batch_size=2)
    next(batches)
    ring: list[Any] = [toy, batches]
    ring.append(ring)
    del toy, batches, ring
    gc.collect()
    assert any_card.cuda.blocks == {}


def test_one_that_is_dropped_within_a_batch_of_another(any_card: Any, toy_bundle: Path) -> None:
    toy = load(toy_bundle, "tensorrt")
    toy.generate([1])
    with any_card.device.begin(1):
        with any_card.device.begin(1):
            del toy
            gc.collect()
        # A graph may be being captured.
        assert any_card.cuda.blocks
    assert any_card.cuda.blocks == {}


def test_one_that_is_dropped_while_another_thread_hangs(
    any_card: Any, toy_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("segan.runtime.backends.tensorrt.device._PATIENCE", 0.01)
    toy = load(toy_bundle, "tensorrt")
    toy.generate([1])
    held, done = threading.Event(), threading.Event()

    def hang() -> None:
        with any_card.device.begin(1):
            held.set()
            done.wait(20)

    thread = threading.Thread(target=hang)
    thread.start()
    held.wait(20)
    del toy
    gc.collect()
    assert any_card.cuda.blocks
    done.set()
    thread.join()
    assert any_card.cuda.blocks == {}


def test_a_forked_process_gives_nothing_back(
    any_card: Any, toy_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = load(toy_bundle, "tensorrt")
    toy.generate([1])
    before = set(any_card.cuda.blocks)
    monkeypatch.setattr(any_card.device, "_process", -1)
    del toy
    gc.collect()
    assert set(any_card.cuda.blocks) == before


@pytest.mark.parametrize("kind", ["tensorrt", "tensorrt_rtx"])
def test_the_end_of_the_process(kind: str, toy_bundle: Path, tmp_path: Path) -> None:
    code = f"""
        import atexit, pathlib, sys
        sys.path.insert(0, {str(TESTS)!r})
        import fake_gpu, pytest
        card = fake_gpu.Card({kind!r})
        # Registered first, so that it comes last.
        atexit.register(lambda: print("left", len(card.cuda.blocks)))
        from segan.runtime.generate.generator import load
        card.put_in(pytest.MonkeyPatch(), pathlib.Path({str(tmp_path / "cache")!r}))
        toy = load({str(toy_bundle)!r}, "tensorrt")
        toy.generate([1, 2])
        batches = toy.generate_batches(range(9), batch_size=2)
        next(batches)
        print("held", len(card.cuda.blocks) > 0)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    held, left = done.stdout.split("\n")[:2]
    assert held == "held True"
    # What the batch on its way holds for itself ends with the process: up and down, results.
    assert left in ("left 3", "left 6"), done.stdout
    assert "Traceback" not in done.stderr
    assert "ignored" not in done.stderr
    assert len(_kernels(tmp_path / "cache")) == (3 if kind == "tensorrt_rtx" else 0)


def test_a_session_that_another_thread_closes(
    any_card: Any, toy_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = (toy_bundle / "mapping.onnx").read_bytes()
    session = TensorRTSession(model, name="mapping")
    check = TensorRTSession.check

    def then_close(self: TensorRTSession, feeds: Any) -> int:
        batch = check(self, feeds)
        self.close()
        return batch

    monkeypatch.setattr(TensorRTSession, "check", then_close)
    with pytest.raises(BackendError, match=r"the mapping session is closed\. Load the bundle"):
        session.run({"z": np.zeros((9, 8), np.float32)})
    assert any_card.cuda.blocks == {}


def test_a_bundle_that_another_thread_closes(
    any_card: Any, toy_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = load(toy_bundle, "tensorrt")
    pieces: Callable[..., Any] = TensorRTGraphs._pieces

    def then_close(self: TensorRTGraphs, inputs: GraphInputs) -> Any:
        found = pieces(self, inputs)
        self.close()
        return found

    monkeypatch.setattr(TensorRTGraphs, "_pieces", then_close)
    with pytest.raises(BackendError, match=r"closed\. Load it again"):
        toy.generate([1])
    assert any_card.cuda.blocks == {}
