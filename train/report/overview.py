"""A run's main figures and alarms, and the final figures of several runs side by side."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup

from segan.runtime.pages.axis import number_text
from segan.runtime.pages.parts import Cell, table
from segan.runtime.pages.template import render
from segan.train.report.measured import Metric, estimate_of
from segan.train.report.metrics import Measure, measure_of, protocol_text, value_text
from segan.train.report.run_record import RunRecord
from segan.train.runs.alarms import (
    Alarm,
    coordinate_alarms,
    data_alarm,
    overfitting_alarm,
    swd_alarm,
)

#: Most metrics among the main figures.
_MOST_METRICS = 3


class Tile(NamedTuple):
    """A large figure with its name and a note."""

    figure: str
    name: str
    note: str


def draw_overview(run: RunRecord) -> Markup:
    """Return the run's main figures, and the alarms at the end of its log."""
    return render(
        Path(__file__).parent,
        "overview.html",
        tiles=tiles(run),
        alarms=alarms(run),
        logged=bool(run.entries),
    )


def tiles(run: RunRecord) -> list[Tile]:
    """Return the run's main figures."""
    found = [Tile(f"{run.kimg:g}", "kimg", progress_text(run))]
    best = run.best
    if best is not None:
        found.append(Tile(number_text(best.swd or 0.0, 3), "best swd", f"at kimg {best.kimg:g}"))
    speed = _speed(run)
    if speed is not None:
        found.append(Tile(number_text(speed, 3), "kimg/s", "median over the log"))
    coords, dead = run.number("coords"), run.number("dead_coords")
    if coords is not None and dead is not None:
        alive = f"{coords - dead:.0f} of {coords:.0f}"
        found.append(Tile(alive, "coordinates alive", "at the newest checkpoint"))
    share = run.number("share_z")
    if share is not None:
        found.append(Tile(f"{share:.0%}", "of variance by z", "total effect"))
    for metric in list(newest_metrics(run).values())[:_MOST_METRICS]:
        at = "" if metric.model.kimg is None else f"at kimg {metric.model.kimg:g}"
        found.append(Tile(number_text(metric.value), metric.metric, at))
    return found


def progress_text(run: RunRecord) -> str:
    """Return in words whether the run is complete."""
    if run.complete:
        return "complete"
    if not run.entries and not run.checkpoints:
        return f"of {run.config.total_kimg:g}; nothing logged yet"
    return f"of {run.config.total_kimg:g}: running or stopped"


def alarms(run: RunRecord) -> list[Alarm]:
    """Return the alarms at the end of the log."""
    figures = {field: run.number(field) for field in ("dead_coords", "coords", "share_z")}
    others = (
        overfitting_alarm(run.number("score/real_sign")),
        swd_alarm(run.swd()),
        data_alarm(run.seconds_by_phase()),
    )
    return [*coordinate_alarms(figures), *(alarm for alarm in others if alarm is not None)]


_FINAL = (
    ("last swd", "swd"),
    ("generator loss", "loss/generator"),
    ("discriminator loss", "loss/discriminator"),
    ("R1", "loss/r1"),
    ("path length", "loss/path_length"),
    ("sign of D on real images", "score/real_sign"),
    ("information term", "loss/information"),
    ("orthonormality", "loss/orthonormality"),
    ("overlap of the Jacobian", "loss/jacobian"),
)

_CONTROL = (
    ("controlled attributes", "controlled"),
    ("disentanglement", "measured_disentanglement"),
    ("completeness", "measured_completeness"),
)


def newest_metrics(run: RunRecord) -> dict[Measure, Metric]:
    """Return the run's newest value of each measure: of its furthest checkpoint, the last."""
    found: dict[Measure, Metric] = {}
    for metric in run.metrics:
        own = found.get(measure_of(metric))
        if own is None or (metric.model.kimg or 0.0) >= (own.model.kimg or 0.0):
            found[measure_of(metric)] = metric
    return found


def compare_final(runs: Sequence[RunRecord], names: Sequence[str]) -> Markup:
    """Return a table of the runs' final values, one run per column."""
    rows: list[list[Cell]] = []

    def add(label: str, show: Callable[[RunRecord], str | None]) -> None:
        shown = [show(run) for run in runs]
        if any(value is not None for value in shown):
            rows.append([Cell(label), *(Cell(value or "–", number=True) for value in shown)])

    add("progress", lambda run: f"{run.kimg:g} of {run.config.total_kimg:g} kimg")
    if any(run.best is not None for run in runs):
        rows.append([Cell("best swd"), *_best_scores(runs)])
    add("… at kimg", lambda run: None if run.best is None else f"{run.best.kimg:g}")
    for label, field in _FINAL:
        add(label, _of(field, _shown))
    add("dead coordinates", _dead)
    for label, field in (("variance by coordinates", "share_coords"), ("variance by z", "share_z")):
        add(label, _of(field, _percent))
    newest = [newest_metrics(run) for run in runs]
    for measure, metric in {key: own for found in newest for key, own in found.items()}.items():
        protocol = protocol_text(metric)
        shown = [found.get(measure) for found in newest]
        rows.append(
            [
                Cell(f"{metric.metric} ({protocol})" if protocol else metric.metric),
                *(Cell("–" if own is None else value_text(own), number=True) for own in shown),
            ]
        )
    for label, field in _CONTROL:
        add(label, _of_control(field))
    add("kimg/s, median", lambda run: _shown(_speed(run)))
    add("hours of training", _hours)
    return table([Cell(""), *(Cell(name, number=True) for name in names)], rows)


def _best_scores(runs: Sequence[RunRecord]) -> list[Cell]:
    """Each run's best swd; the lowest is marked where the runs can be compared.

    Runs can be compared if they have the same data, resolution and number of measured images.
    """
    scores = [None if run.best is None else run.best.swd for run in runs]
    known = [score for score in scores if score is not None]
    same = {(run.data, run.config.network.resolution, run.config.metric_images) for run in runs}
    lowest = min(known) if len(same) == 1 and len(known) > 1 else None
    return [
        Cell(
            "–" if score is None else number_text(score),
            number=True,
            mark="best" if score is not None and score == lowest else "",
        )
        for score in scores
    ]


def _of_control(field: str) -> Callable[[RunRecord], str | None]:
    """Shows a figure of the control scores."""
    return lambda run: (
        None if run.control is None else _shown(estimate_of(getattr(run.control, field)).value)
    )


def _of(
    field: str, show: Callable[[float | None], str | None]
) -> Callable[[RunRecord], str | None]:
    """Shows the newest number of a field of the log."""
    return lambda run: show(run.number(field))


def _shown(value: float | None) -> str | None:
    return None if value is None else number_text(value)


def _percent(value: float | None) -> str | None:
    return None if value is None else f"{value:.1%}"


def _dead(run: RunRecord) -> str | None:
    dead, coords = run.number("dead_coords"), run.number("coords")
    return None if dead is None or coords is None else f"{dead:.0f} of {coords:.0f}"


def _speed(run: RunRecord) -> float | None:
    points = run.points("kimg_per_s")
    return statistics.median(value for _, value in points) if points else None


def _hours(run: RunRecord) -> str | None:
    seconds = sum(run.seconds_by_phase().values())
    return f"{seconds / 3600:.2f}" if seconds else None
