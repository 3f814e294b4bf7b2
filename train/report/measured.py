"""Results of other commands that a report shows: metrics, control scores, benchmarks.

Only the fields that a report shows are checked.
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
    """The checkpoint (with its kimg) or bundle that a metric was measured on."""

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
        protocol: how it was measured: n, seeds, psi, noise, resize, detector, backend and others.
        model: what it was measured on.
        seconds: how long that took.
        time: when it was measured, as text or in seconds since 1970.
    """

    metric: str
    value: float
    interval: tuple[float, float] | None = None
    protocol: dict[str, Any] = {}
    model: MeasuredModel = MeasuredModel()
    seconds: float | None = None
    time: str | float | None = None


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """A figure with its confidence interval; None for unknown."""

    value: float | None
    low: float | None = None
    high: float | None = None


class SliderControl(msgspec.Struct, frozen=True, kw_only=True):
    """What one slider controls.

    Attributes:
        slider: its name, L3N0D5.
        attribute: the one that it changes most.
        effect: change of that attribute from one end of the slider's range to the other, in
            standard deviations of the data.
        leakage: share of the slider's effect that is on other attributes, 0 to 1.
        dead: whether it changes nothing.
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
        measured_disentanglement: how far each slider changes only one attribute, 0 to 1.
        measured_completeness: how far each attribute is changed by only one slider, 0 to 1.
        controlled: number of attributes that one slider controls.
    """

    sliders: tuple[SliderControl, ...]
    measured_disentanglement: float | Estimate | None = None
    measured_completeness: float | Estimate | None = None
    controlled: float | Estimate | None = None


class BenchmarkRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of a benchmark; see docs/reference/files.md."""

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
    """The machine that a benchmark ran on."""

    processor: str = "unknown processor"
    threads_used: int | None = None
    gpu: tuple[dict[str, Any], ...] = ()


class BenchmarkBundle(msgspec.Struct, frozen=True, kw_only=True):
    """The bundle that a benchmark measured."""

    name: str = "bundle"
    resolution: int | None = None


class Benchmark(msgspec.Struct, frozen=True, kw_only=True):
    """The output of ``segan benchmark``."""

    rows: tuple[BenchmarkRow, ...]
    machine: BenchmarkMachine = BenchmarkMachine()
    bundle: BenchmarkBundle = BenchmarkBundle()


def read_metrics(path: Path) -> tuple[Metric, ...]:
    """Read the lines of a metrics.jsonl in their order, without lines that are truncated.

    Raises:
        DataError: the file cannot be read, or a line lacks or mistypes a field.
    """
    found = []
    for number, line in enumerate(_read(path).splitlines(), 1):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        found.append(_typed(value, Metric, path, f"line {number}", "'segan metrics'"))
    return tuple(found)


def read_control(path: Path) -> Control | None:
    """Read what a control.json says of the sliders; None if they were not measured.

    The table of sliders is the record's ``sliders``, or ``sliders`` within that.

    Raises:
        DataError: the file cannot be read, or lacks or mistypes a field.
    """
    command = "'segan metrics' with --metrics control"
    value, place = _json(path, command), ""
    if isinstance(value, dict) and "sliders" in value:
        if value["sliders"] is None:
            return None
        if isinstance(value["sliders"], dict):
            value, place = value["sliders"], "in sliders"
    return _typed(value, Control, path, place, command)


def read_benchmark(path: Path) -> Benchmark:
    """Read the file of a benchmark.

    Raises:
        DataError: the file cannot be read, or lacks or mistypes a field.
    """
    command = "'segan benchmark' with -o"
    return _typed(_json(path, command), Benchmark, path, "", command)


def estimate_of(value: float | Estimate | None) -> Estimate:
    """Return a figure with or without an interval as an Estimate."""
    return value if isinstance(value, Estimate) else Estimate(value=value)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror}",
            field="path",
            value=path,
            remedy="Give another file, or leave it out.",
        ) from None


def _json(path: Path, command: str) -> Any:
    try:
        return json.loads(_read(path))
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{path} is truncated or not JSON ({error})",
            field="path",
            value=path,
            remedy=f"Write it again with {command}.",
        ) from None


def _typed(value: Any, kind: type[_Record], path: Path, place: str, command: str) -> _Record:
    """The value as a record. Raises: DataError, which names the field as msgspec does."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        where = f"{path}, {place}" if place else str(path)
        message = str(error).replace("`", "'")  # backticks enclose settings in errors
        raise DataError(
            f"{where}: {message}",
            field="path",
            value=path,
            remedy=f"Write it again with {command}.",
        ) from None
