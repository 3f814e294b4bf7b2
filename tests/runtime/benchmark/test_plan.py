from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segan.runtime.backends import choose
from segan.runtime.backends.choose import Choice
from segan.runtime.backends.session import SessionConfig
from segan.runtime.benchmark import ceiling
from segan.runtime.benchmark import rounds as benchmark_rounds
from segan.runtime.benchmark.plan import MAX_BATCH, BenchmarkConfig, RowResult, plan
from segan.runtime.benchmark.record import benchmark_record
from segan.runtime.benchmark.rounds import run_benchmark
from segan.runtime.benchmark.worker import Round, Task
from segan.runtime.errors import BackendError, BundleError, ConfigError
from segan.runtime.graphs.check import check_model
from segan.runtime.machine.memory import peak_memory, used_device_memory
from segan.runtime.machine.worker import Worker

#: One thread and the shortest rounds: figures without meaning, but figures.
QUICK = {"seconds": 0.01, "rounds": 2, "threads": 1}

#: The backends, as messages list them.
ALL = "tensorrt, cuda, openvino, cpu"

SMALL = ceiling.Shape(channels=8, resolution=6, depth=2, batch=3)


@pytest.fixture
def small_ceilings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies of little; the convolutions, in processes of their own, stay large."""
    monkeypatch.setattr(ceiling, "_COPY_BYTES", 1 << 16)


# The convolutions that are the ceiling.


def _convolved(x: Any, weight: Any) -> Any:
    """3 × 3, zero padding, in float64: the sum over the nine shifted images."""
    height, width = x.shape[2:]
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    return sum(
        np.einsum(
            "oi,nihw->nohw",
            weight[:, :, down, right],
            padded[:, :, down : down + height, right : right + width],
        )
        for down in range(3)
        for right in range(3)
    )


def _expected(x: Any, shape: ceiling.Shape) -> Any:
    random = np.random.RandomState(0)
    c, r = shape.channels, shape.resolution
    weight = random.standard_normal((c, c, 3, 3)) / np.sqrt(9 * c)
    h = x.astype(np.float64) + random.standard_normal((1, c, r, r))
    for _ in range(shape.depth):
        h = _convolved(h, weight)
    return h.mean(axis=(2, 3), keepdims=True)


@pytest.mark.parametrize(("graph", "tolerance"), [("fp32", 1e-5), ("fp16", 5e-3)])
def test_the_model_written_by_hand_convolves(graph: Any, tolerance: float) -> None:
    model = ceiling.convolution_model(SMALL, graph)
    assert check_model(bytes(model)) == model
    x = np.random.RandomState(5).standard_normal((3, 8, 1, 1)).astype(np.float32)
    config = SessionConfig(threads=1)
    with choose.open_session(model, "cpu", name="convolution", config=config) as session:
        found = session.run({"x": x})["y"]
    np.testing.assert_allclose(found, _expected(x, SMALL), atol=tolerance)


@pytest.mark.parametrize("backend", ["cpu", "openvino"])
def test_the_int8_model_runs(backend: str) -> None:
    if choose.why_not(backend):
        pytest.skip(f"{backend} does not work here")
    model = ceiling.convolution_model(SMALL, "int8")
    config = SessionConfig(threads=1, precision="int8")
    with choose.open_session(model, backend, name="convolution", config=config) as session:
        found = session.run({"x": np.zeros((3, 8, 1, 1), np.float32)})["y"]
    assert np.isfinite(found).all()
    assert np.ptp(found[0]) > 0


@pytest.mark.parametrize("graph", ["fp32", "fp16", "bf16", "int8"])
def test_every_model_is_valid_onnx(graph: Any) -> None:
    onnx = pytest.importorskip("onnx", reason="needs onnx; the bare environment has none")
    model = onnx.load_from_string(ceiling.convolution_model(SMALL, graph))
    onnx.checker.check_model(model, full_check=True)
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    assert len(convolutions) == SMALL.depth


def test_operations_are_counted_as_the_field_does() -> None:
    # Two a multiply-add: 9 taps, 8 channels in and out, 36 pixels, 3 images, 2 layers.
    assert SMALL.flops == 2 * 9 * 8 * 8 * 36 * 3 * 2


def test_a_ceiling_is_measured_on_the_shape_that_was_fastest() -> None:
    tiny = ceiling.Shape(channels=1, resolution=1, depth=1, batch=1)
    config = SessionConfig(threads=1)
    found = ceiling.ConvolutionCeiling("cpu", "fp32", config, (tiny, SMALL))
    assert found.shape == SMALL  # one multiply-add a run is slow, whatever the machine
    assert found.measure(0.01) > 0
    found.close()


def test_a_ceiling_that_cannot_be_had_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ceiling, "convolution_model", lambda shape, graph: b"no model")
    with pytest.raises(BackendError, match="convolution graph is not an ONNX model"):
        ceiling.ConvolutionCeiling("cpu", "fp32", SessionConfig(threads=1), (SMALL,))


@pytest.mark.usefixtures("small_ceilings")
def test_copies_are_measured() -> None:
    assert ceiling.measure_host_copy(repeats=2) > 0
    if used_device_memory() is None:
        with pytest.raises(BackendError, match="NVIDIA"):
            ceiling.measure_device_copy()


def test_peak_memory_covers_what_was_held() -> None:
    held = np.ones(1 << 24, np.uint8)
    peak = peak_memory()
    assert peak is None or peak > held.nbytes


# What runs, and what does not.


def _pairs(found: Any) -> list[tuple[str, str]]:
    return [(entry.backend, entry.precision) for entry in found]


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """only("cpu", "openvino") lets these backends work, and no others."""

    def choose_only(*names: str) -> None:
        def why_not(backend: str) -> BackendError | None:
            return None if backend in names else BackendError(f"no {backend} here")

        monkeypatch.setattr(choose, "why_not", why_not)
        monkeypatch.setattr("segan.runtime.benchmark.plan.why_not", why_not)

    return choose_only


def test_everything_that_works_is_planned_and_the_rest_has_a_reason(
    only: Callable[..., None],
) -> None:
    only("cpu", "openvino")
    choices, not_run = plan(BenchmarkConfig(), ("fp32",))
    assert _pairs(choices) == [("openvino", "fp32"), ("openvino", "bf16"), ("cpu", "fp32")]
    reasons = {(entry.backend, entry.precision): entry.problem for entry in not_run}
    assert reasons["cuda", "fp16"] == "no cuda here."
    assert "segan export --int8" in reasons["cpu", "int8"]
    assert {name for name, _ in reasons} == {"tensorrt", "cuda", "openvino", "cpu"}
    assert all(entry.batches == (1, 16) for entry in not_run)


def test_graphs_that_are_there_are_used(only: Callable[..., None]) -> None:
    only("cpu")
    choices, _ = plan(BenchmarkConfig(backends=("cpu", "cpu")), ("fp32", "fp16", "int8"))
    assert _pairs(choices) == [("cpu", "fp32"), ("cpu", "fp16"), ("cpu", "int8")]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"precisions": ("fp16",)}, "segan export --fp16"),
        ({"backends": ("cpu",), "precisions": ("int8", "fp32")}, "segan export --int8"),
        ({"backends": ("openvino",), "precisions": ("fp16",)}, "does not support"),
        ({"backends": ("cpu", "openvino"), "precisions": ("bf16",)}, None),
    ],
)
def test_a_precision_that_the_bundle_lacks_is_wrong_use(
    config: Any, words: str | None, only: Callable[..., None]
) -> None:
    only("cpu", "openvino")
    if words is None:
        choices, not_run = plan(BenchmarkConfig(**config), ("fp32",))
        assert _pairs(choices) == [("openvino", "bf16")]
        assert _pairs(not_run) == [("cpu", "bf16")]
        return
    with pytest.raises(ConfigError, match=words):
        plan(BenchmarkConfig(**config), ("fp32",))


@pytest.mark.parametrize(
    ("fields", "field", "value", "data"),
    [
        ({"backends": ("openvin",)}, "backend", "openvin", {"remedy": "'openvino'"}),
        ({"backends": ("auto",)}, "backends", "auto", {"expected": f"one or more of {ALL}"}),
        ({"backends": ()}, "backends", (), {"expected": f"one or more of {ALL}"}),
        ({"precisions": ("fp23",)}, "precision", "fp23", {"remedy": "'fp32'"}),
        (
            {"precisions": ("auto",)},
            "precisions",
            "auto",
            {"expected": "one or more of fp32, fp16, bf16, int8"},
        ),
        ({"batches": ()}, "batches", (), {}),
        ({"batches": (0,)}, "batches", 0, {"expected": f"1 to {MAX_BATCH}"}),
        ({"batches": (MAX_BATCH + 1,)}, "batches", 4097, {"expected": "1 to 4096"}),
        ({"seconds": 0.0}, "seconds", 0.0, {}),
        ({"seconds": float("nan")}, "seconds", float("nan"), {}),
        ({"rounds": 0}, "rounds", 0, {"expected": "1 to 1000"}),
        ({"threads": 0}, "threads", 0, {"expected": "1 or more"}),
    ],
)
def test_settings_out_of_range_are_refused(
    fields: Any, field: str, value: object, data: Any, raises_error: Callable[..., Any]
) -> None:
    with raises_error(ConfigError, field=field, value=value, **data):
        BenchmarkConfig(**fields)


# The measurement.


@pytest.mark.usefixtures("small_ceilings")
def test_rows_hold_what_was_measured(toy_bundle: Path) -> None:
    config = BenchmarkConfig(backends=("cpu",), batches=(3, 1), **QUICK)  # type: ignore[arg-type]
    steps: list[int] = []
    done: list[None] = []
    result = run_benchmark(
        toy_bundle, config, on_start=steps.append, on_step=lambda: done.append(None)
    )
    assert steps == [len(done)]
    record = json.loads(json.dumps(benchmark_record(result, config), allow_nan=False))
    assert [(row["precision"], row["batch"]) for row in record["rows"]] == [
        ("fp32", 1),
        ("fp32", 3),
    ]
    for row in record["rows"]:
        assert row["backend"] == "cpu"
        assert 0 < row["slowest"] <= row["images_per_s"] <= row["fastest"]
        assert 0 < row["p50_ms"] <= row["p99_ms"]
        assert row["max_error"] < 1e-5  # the reference itself, in other batches
        assert row["psnr_db"] > 100
        assert row["max_error_uint8"] <= 1
        assert row["load_s"] > 0
        assert row["file_mib"] == pytest.approx(
            (toy_bundle / "synthesis.onnx").stat().st_size / 2**20, abs=0.01
        )
        assert row["of_ceiling"] is None  # its graph has no convolutions
        assert row["callers"] == 1
        if sys.platform == "linux":
            assert 10 < row["peak_mib"] < 2000
    machine = record["machine"]
    assert machine["threads_used"] == 1
    assert machine["copy_gb_per_s"] > 0
    assert [entry["backend"] for entry in machine["ceilings"]] == ["cpu"]
    assert machine["ceilings"][0]["gflop_per_s"] > 0
    assert "channels" in machine["ceilings"][0]["convolution"]
    assert {entry["precision"] for entry in record["not_run"]} == {"fp16", "int8"}
    assert record["bundle"]["gmac_per_image"] is None
    assert record["reference"]["problem"] is None


def test_the_bound_is_the_ceiling_over_two_operations_a_multiply_add() -> None:
    row = RowResult(
        choice=Choice(backend="cpu", precision="fp32", graph="fp32"),
        batch=1,
        callers=1,
        load_s=1.0,
        first_batch_s=1.0,
        rates=[30.0, 10.0, 20.0],
        latencies_s=[0.1] * 99 + [0.2],
        peak_bytes=None,
        device_bytes=None,
        file_bytes=1,
        max_error=None,
        psnr_db=None,
        max_error_uint8=None,
        ceiling=200e9,
        macs=10**9,
    )
    assert row.images_per_s == 20
    assert row.bound == 100
    assert row.of_ceiling == pytest.approx(0.2)
    assert row.percentile_ms(50) == pytest.approx(100)
    assert 100 < row.percentile_ms(99.5) < 200


@pytest.mark.usefixtures("small_ceilings")
def test_conditional_bundles_and_shifts_are_measured_too(toy_bundle_zip: Path) -> None:
    config = BenchmarkConfig(backends=("cpu",), batches=(2,), **QUICK)  # type: ignore[arg-type]
    (row,) = run_benchmark(toy_bundle_zip, config).rows
    assert row.max_error is not None
    assert row.max_error < 1e-5


@pytest.mark.usefixtures("small_ceilings")
def test_several_callers(toy_bundle: Path) -> None:
    config = BenchmarkConfig(
        backends=("cpu",), batches=(1,), seconds=0.01, rounds=1, threads=2, throughput=True
    )
    (row,) = run_benchmark(toy_bundle, config).rows
    assert row.callers == 2
    assert len(row.latencies_s) >= 2


class _Worker(Worker):
    """A worker of ``run_benchmark`` that keeps what it was asked to measure."""

    def __init__(self) -> None:
        super().__init__("segan.runtime.benchmark.worker", task="measured it", failure=BackendError)
        self.measured: Task | None = None

    def ask(self, request: Any, answer: type[Any], on_step: Any = None) -> Any:
        if isinstance(request, Task):
            self.measured = request
        return super().ask(request, answer, on_step)

    def measures_row(self) -> bool:
        return self.measured is not None and self.measured.kind == "row"


class _Dying(_Worker):
    """A worker whose row of batch 2 ends in the middle, as when a library crashes."""

    def ask(self, request: Any, answer: type[Any], on_step: Any = None) -> Any:
        if isinstance(request, Round) and self.measures_row():
            assert self.measured is not None
            if self.measured.batch == 2:
                self.kill()
        return super().ask(request, answer, on_step)


@pytest.mark.usefixtures("small_ceilings")
def test_a_process_that_dies_does_not_end_the_table(
    toy_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark_rounds, "start_worker", _Dying)
    config = BenchmarkConfig(backends=("cpu",), batches=(1, 2), **QUICK)  # type: ignore[arg-type]
    result = run_benchmark(toy_bundle, config)
    assert [row.batch for row in result.rows] == [1]
    (dead,) = (entry for entry in result.not_run if entry.precision == "fp32")
    assert dead.batches == (2,)
    assert "the process that measured it ended" in dead.problem


@pytest.mark.usefixtures("small_ceilings")
def test_rows_that_do_not_fit_side_by_side_run_after_each_other(
    toy_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running: list[int] = []
    config = BenchmarkConfig(backends=("cpu",), batches=(1, 2), **QUICK)  # type: ignore[arg-type]

    class Counting(_Worker):
        def ask(self, request: Any, answer: type[Any], on_step: Any = None) -> Any:
            found = super().ask(request, answer, on_step)
            if isinstance(request, Task):
                assert request.threads == config.threads == 1
            if isinstance(request, Task) and request.kind == "row":
                running.append(request.batch)
                assert len(running) == 1
            return found

        def close(self) -> None:
            super().close()
            if self.measures_row():
                assert self.measured is not None
                running.remove(self.measured.batch)

    monkeypatch.setattr(benchmark_rounds, "start_worker", Counting)
    monkeypatch.setattr(
        benchmark_rounds, "describe_memory", lambda: {"total": 1 << 30, "available": 1 << 20}
    )
    result = run_benchmark(toy_bundle, config)
    assert [row.batch for row in result.rows] == [1, 2]


@pytest.mark.usefixtures("small_ceilings")
def test_without_a_reference_the_rates_are_still_there(
    toy_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoReference(_Worker):
        def ask(self, request: Any, answer: type[Any], on_step: Any = None) -> Any:
            if isinstance(request, Task) and request.kind == "reference":
                raise BackendError("there is none")
            return super().ask(request, answer, on_step)

    monkeypatch.setattr(benchmark_rounds, "start_worker", NoReference)
    config = BenchmarkConfig(backends=("cpu",), batches=(1,), **QUICK)  # type: ignore[arg-type]
    result = run_benchmark(toy_bundle, config)
    assert result.reference_problem == "there is none."
    assert result.rows[0].max_error is None
    assert result.rows[0].rates


def test_a_missing_or_damaged_bundle_is_said(tmp_path: Path, toy_bundle: Path) -> None:
    with pytest.raises(BundleError):
        run_benchmark(tmp_path / "none.segan", BenchmarkConfig())
    (toy_bundle / "synthesis.onnx").write_bytes(b"")
    with pytest.raises(BundleError):
        run_benchmark(toy_bundle, BenchmarkConfig(backends=("cpu",)))


def test_a_request_of_an_unknown_kind_ends_the_worker() -> None:
    with pytest.raises(BackendError, match=r"exit status 1: .*kind"), _Worker() as worker:
        worker.ask(Task(kind="other", backend="cpu", precision="fp32"), str)  # type: ignore[arg-type]
