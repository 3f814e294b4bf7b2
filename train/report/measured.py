"""What other commands measured, read for a report: metrics, control scores, benchmarks.

Fields that a report does not show may be there or not; those that it shows must be of their type.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from segan.runtime.errors import DataError

METRICS, CONTROL, BENCHMARK = "metrics.jsonl", "control.json", "benchmark.json"

_Record = TypeVar("_Record", bound=msgspec.Struct)


class MeasuredModel(msgspec.Struct, frozen=True, kw_only=True):
    """What a metric was taken of: a checkpoint (with its kimg) or a bundle."""

    path: str = ""
    kind: str = ""
    kimg: float | None = None
    sha256: str | None = None


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """A line of metrics.jsonl.

    Attributes:
        metric: its usual name, such as ``fid50k_full``.
        value: the figure.
        interval: (low, high) of its confidence interval, or None.
        protocol: how it was taken: n, seeds, psi, noise, resize, detector, backend, and so on.
        model: of what.
        seconds: that it took.
        time: when, as written.
    """

    metric: str
    value: float
    interval: tuple[float, float] | None = None
    protocol: dict[str, Any] = {}
    model: MeasuredModel = MeasuredModel()
    seconds: float | None = None
    time: str | float | None = None


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """A figure with its confidence interval; None where it is not known."""

    value: float | None
    low: float | None = None
    high: float | None = None


class SliderControl(msgspec.Struct, frozen=True, kw_only=True):
    """What one slider controls.

    Attributes:
        slider: its name, L3N0D5.
        attribute: that it moves most.
        effect: on it, from one end of its range to the other, in standard deviations of the data.
        leakage: share of the slider's effect that is on other attributes, 0 to 1.
        dead: whether it moves nothing.
    """

    slider: str
    attribute: str | None = None
    effect: float | Estimate
    leakage: float | Estimate
    dead: bool = False


class Control(msgspec.Struct, frozen=True, kw_only=True):
    """The control scores of a generator.

    Attributes:
        sliders: one for each slider.
        measured_disentanglement: how far each slider moves one attribute only, 0 to 1.
        measured_completeness: how far each attribute is moved by one slider only, 0 to 1.
        controlled: attributes that one slider controls.
    """

    sliders: tuple[SliderControl, ...]
    measured_disentanglement: float | Estimate | None = None
    measured_completeness: float | Estimate | None = None
    controlled: float | Estimate | None = None


class BenchmarkRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of ``segan benchmark --json``; see docs/reference/files.md."""

    backend: str
    precision: str
    batch: int
    images_per_s: float
    slowest: float
    fastest: float
    p50_ms: float | None = None
    p99_ms: float | None = None
    max_error: float | None = None
    psnr_db: float | None = None
    peak_mib: float | None = None


class BenchmarkMachine(msgspec.Struct, frozen=True, kw_only=True):
    """Where it ran."""

    processor: str = "unknown processor"
    threads_used: int | None = None
    gpu: tuple[dict[str, Any], ...] = ()


class BenchmarkBundle(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured."""

    name: str = "bundle"
    resolution: int | None = None


class Benchmark(msgspec.Struct, frozen=True, kw_only=True):
    """The output of ``segan benchmark --json``."""

    rows: tuple[BenchmarkRow, ...]
    machine: BenchmarkMachine = BenchmarkMachine()
    bundle: BenchmarkBundle = BenchmarkBundle()


def read_metrics(path: Path) -> tuple[Metric, ...]:
    """The lines of a metrics.jsonl in their order; lines that a crash cut short are left out.

    Raises:
        DataError: it cannot be read, or a line lacks or mistypes a field.
    """
    found = []
    for number, line in enumerate(_read(path).splitlines(), 1):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        found.append(_typed(value, Metric, f"{path}, line {number}", "segan metrics"))
    return tuple(found)


def read_control(path: Path) -> Control | None:
    """What a control.json says of the sliders; None where it says that they were not measured.

    Their table is ``sliders``, within the record or within its own ``sliders``.

    Raises:
        DataError: naming the file and the field.
    """
    command = "segan metrics MODEL --metrics control"
    value, where = _json(path, command), str(path)
    if isinstance(value, dict) and "sliders" in value:
        if value["sliders"] is None:
            return None
        if isinstance(value["sliders"], dict):
            value, where = value["sliders"], f"{path}, in sliders"
    return _typed(value, Control, where, command)


def estimate_of(value: float | Estimate | None) -> Estimate:
    """A figure with or without an interval as one that may have one."""
    return value if isinstance(value, Estimate) else Estimate(value=value)


def read_benchmark(path: Path) -> Benchmark:
    """A benchmark's JSON. Raises: DataError naming the file and the field."""
    value = _json(path, "segan benchmark -o FILE")
    return _typed(value, Benchmark, str(path), "segan benchmark -o FILE")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror}. Give a file, or leave it out."
        ) from None


def _json(path: Path, command: str) -> Any:
    try:
        return json.loads(_read(path))
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{path} is cut short or not JSON ({error}). Write it again: {command}"
        ) from None


def _typed(value: Any, kind: type[_Record], where: str, command: str) -> _Record:
    """The value as a record; msgspec's message names the field. Raises: DataError."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise DataError(f"{where}: {error}. Write it again: {command}") from None
