"""Metrics in a report: over training where there are several, and all of them as a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from segan.runtime.pages.axis import number_text
from segan.runtime.pages.chart import Chart, Series, draw_chart
from segan.runtime.pages.markup import Cell, table
from segan.train.report.measured import Metric
from segan.train.report.run_record import RunRecord

#: The parts of a protocol that do not make values incomparable: how it was computed, not what.
_HOW_COMPUTED = ("backend", "precision")


class Measure(NamedTuple):
    """A metric and how it was taken: values of equal measures can be compared.

    Attributes:
        metric: its name.
        protocol: without the backend and the precision, as sorted JSON.
    """

    metric: str
    protocol: str


def measure_of(metric: Metric) -> Measure:
    """What was measured, for comparing."""
    protocol = {name: value for name, value in metric.protocol.items() if name not in _HOW_COMPUTED}
    return Measure(metric.metric, json.dumps(protocol, sort_keys=True))


def draw_swd(runs: Sequence[RunRecord], names: Sequence[str]) -> str:
    """The sliced Wasserstein distance over training."""
    note = "Distance of each checkpoint's images from the data; less is better. "
    note += (
        "Comparable within a run, and between runs on the same data."
        if len(runs) > 1
        else f"Over {runs[0].config.metric_images:,} images, always the same."
    )
    series = [
        Series(name, run.swd(), number)
        for number, (run, name) in enumerate(zip(runs, names, strict=True))
    ]
    return draw_chart(
        Chart(
            title="Sliced Wasserstein distance",
            series=series,
            note=note,
            from_zero=True,
            legend=False,
        )
    )


def draw_metrics(runs: Sequence[RunRecord], names: Sequence[str]) -> str:
    """A chart for each measure that some run has at two points of its training or more."""
    taken: dict[Measure, list[list[Metric]]] = {}
    for number, run in enumerate(runs):
        for metric in run.metrics:
            if metric.model.kimg is not None:
                own = taken.setdefault(measure_of(metric), [[] for _ in runs])
                own[number].append(metric)
    parts = []
    for measure, lists in taken.items():
        if max(len({metric.model.kimg for metric in own}) for own in lists) < 2:
            continue
        series = [
            _series(own, name, number)
            for number, (own, name) in enumerate(zip(lists, names, strict=True))
        ]
        first = next(metric for own in lists for metric in own)
        parts.append(
            draw_chart(
                Chart(
                    title=measure.metric,
                    series=series,
                    note=protocol_text(first),
                    from_zero=True,
                    legend=False,
                )
            )
        )
    return "".join(parts)


def _series(metrics: Sequence[Metric], name: str, number: int) -> Series:
    """One run's values; of several at the same progress the newest counts."""
    newest = {metric.model.kimg or 0.0: metric for metric in metrics}
    ordered = [newest[kimg] for kimg in sorted(newest)]
    intervals = [metric.interval for metric in ordered if metric.interval is not None]
    return Series(
        name,
        [(metric.model.kimg or 0.0, metric.value) for metric in ordered],
        number,
        intervals if len(intervals) == len(ordered) else (),
    )


def metrics_table(metrics: Sequence[Metric]) -> str:
    """Every line of metrics.jsonl with its protocol; empty without any."""
    if not metrics:
        return ""
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
    return table(("metric", "#value", "#kimg", "of a", "taken with", "when"), rows)


def value_text(metric: Metric) -> str:
    """The value, with its interval where there is one."""
    text = number_text(metric.value)
    if metric.interval is not None:
        low, high = metric.interval
        text += f" ({number_text(low)} to {number_text(high)})"
    return text


def protocol_text(metric: Metric) -> str:
    """How it was taken, in a line."""
    parts = []
    for name, stated in metric.protocol.items():
        # The detector and the data state their hashes too.
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
