"""Metrics in a report: charts over training, and a table of all values."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from markupsafe import Markup

from segan.runtime.pages.axis import number_text
from segan.runtime.pages.chart import Chart, Series
from segan.runtime.pages.parts import Cell, table
from segan.train.report.measured import Metric
from segan.train.report.run_record import RunRecord

#: Parts of a protocol that say how a value was computed; they do not affect comparability.
_HOW_COMPUTED = ("backend", "precision")


class Measure(NamedTuple):
    """A metric and its protocol: values of equal measures can be compared.

    Attributes:
        metric: its name.
        protocol: without the backend and the precision, as sorted JSON.
    """

    metric: str
    protocol: str


def measure_of(metric: Metric) -> Measure:
    """Return what was measured."""
    protocol = {name: value for name, value in metric.protocol.items() if name not in _HOW_COMPUTED}
    return Measure(metric.metric, json.dumps(protocol, sort_keys=True))


def swd_chart(runs: Sequence[RunRecord], names: Sequence[str]) -> Chart:
    """Return the sliced Wasserstein distance over training."""
    note = "Distance of each checkpoint's images from the data; lower is better. "
    note += (
        "Comparable within a run, and between runs on the same data."
        if len(runs) > 1
        else f"Measured on the same {runs[0].config.metric_images:,} images."
    )
    series = [
        Series(name, run.swd(), number)
        for number, (run, name) in enumerate(zip(runs, names, strict=True))
    ]
    return _chart("Sliced Wasserstein distance", series, note)


def metric_charts(runs: Sequence[RunRecord], names: Sequence[str]) -> list[Chart]:
    """Return a chart for each measure that some run has at two or more points of its training."""
    taken: dict[Measure, list[list[Metric]]] = {}
    for number, run in enumerate(runs):
        for metric in run.metrics:
            if metric.model.kimg is not None:
                own = taken.setdefault(measure_of(metric), [[] for _ in runs])
                own[number].append(metric)
    charts = []
    for measure, lists in taken.items():
        if max(len({metric.model.kimg for metric in own}) for own in lists) < 2:
            continue
        series = [
            _series(own, name, number)
            for number, (own, name) in enumerate(zip(lists, names, strict=True))
        ]
        first = next(metric for own in lists for metric in own)
        charts.append(_chart(measure.metric, series, protocol_text(first)))
    return charts


def _chart(title: str, series: Sequence[Series], note: str) -> Chart:
    return Chart(title=title, series=series, note=note, from_zero=True, legend=False)


def _series(metrics: Sequence[Metric], name: str, number: int) -> Series:
    """One run's values; the newest of several at the same progress."""
    newest = {metric.model.kimg or 0.0: metric for metric in metrics}
    ordered = [newest[kimg] for kimg in sorted(newest)]
    intervals = [metric.interval for metric in ordered if metric.interval is not None]
    return Series(
        name,
        [(metric.model.kimg or 0.0, metric.value) for metric in ordered],
        number,
        intervals if len(intervals) == len(ordered) else (),
    )


def metrics_table(metrics: Sequence[Metric]) -> Markup:
    """Return a table of every line of metrics.jsonl; empty without any."""
    if not metrics:
        return Markup()
    rows = [
        (
            Cell(metric.metric),
            Cell(value_text(metric), number=True),
            Cell("–" if metric.model.kimg is None else f"{metric.model.kimg:g}", number=True),
            Cell(metric.model.kind or "–"),
            Cell(protocol_text(metric)),
            Cell(_time(metric.time)),
        )
        for metric in metrics
    ]
    header = [
        *(Cell("metric"), Cell("value", number=True), Cell("kimg", number=True)),
        *(Cell("model"), Cell("protocol"), Cell("time")),
    ]
    return table(header, rows)


def value_text(metric: Metric) -> str:
    """Return the value, with its confidence interval if there is one."""
    text = number_text(metric.value)
    if metric.interval is not None:
        low, high = metric.interval
        text += f" ({number_text(low)} to {number_text(high)})"
    return text


def protocol_text(metric: Metric) -> str:
    """Return a metric's protocol in one line."""
    parts = []
    for name, stated in metric.protocol.items():
        # The detector and the data are records of a name and a hash.
        value = stated.get("name") if isinstance(stated, dict) else stated
        if value is None or value == "":
            continue
        if name == "n":
            parts.append(f"{value:,} images" if isinstance(value, int) else f"{value} images")
        elif name == "psi":
            parts.append(f"ψ {value:g}" if isinstance(value, int | float) else f"ψ {value}")
        elif name in ("backend", "precision", "detector"):
            parts.append(str(value))
        else:
            parts.append(f"{name} {value}")
    return ", ".join(parts)


def _time(value: str | float | None) -> str:
    if isinstance(value, float | int):
        try:
            return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M")
        except (OverflowError, ValueError, OSError):
            return str(value)
    return (value or "–")[:16].replace("T", " ")
