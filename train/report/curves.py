"""The charts of the training log, for one run and for several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from segan.runtime.pages.axis import Point
from segan.runtime.pages.chart import Chart, Series
from segan.train.report.run_record import RunRecord, finite
from segan.train.runs.alarms import DEAD_BELOW, REAL_SIGN_ABOVE, Z_SHARE_BELOW


class Panel(NamedTuple):
    """A chart of some of the log's fields.

    Attributes:
        title: of the chart.
        fields: of the log, with their labels.
        note: what the chart shows, and which values need attention.
        from_zero: whether the y axis shows 0.
        y_range: least and largest value that the y axis always shows.
        may_log: whether the y axis may be logarithmic.
    """

    title: str
    fields: dict[str, str]
    note: str
    from_zero: bool = False
    y_range: Point | None = None
    may_log: bool = False


PANELS = (
    Panel(
        "Losses",
        {"loss/generator": "generator", "loss/discriminator": "discriminator"},
        "Averages over each tick. The losses need not fall, but must not diverge.",
        may_log=True,
    ),
    Panel(
        "Scores of the discriminator",
        {"score/real": "real images", "score/fake": "generated images"},
        "Mean output of D: above 0, D classifies an image as real.",
    ),
    Panel(
        "Overfitting of the discriminator",
        {"score/real_sign": "sign of D on real images", "augment/p": "augmentation probability"},
        f"A mean sign that stays above {REAL_SIGN_ABOVE:g} means that D overfits.",
        y_range=(0.0, 1.0),
    ),
    Panel(
        "Regularisers",
        {"loss/r1": "R1", "loss/path_length": "path length", "loss/jacobian": "overlap"},
        "Penalties as they enter the losses. Overlap: of the coordinates' Jacobian, unweighted.",
        from_zero=True,
        may_log=True,
    ),
    Panel(
        "Information term",
        {"loss/information": "E(a − â)²"},
        "Error of the coordinates predicted from images; 1 is a random guess.",
        y_range=(0.0, 1.0),
    ),
    Panel(
        "Orthonormality",
        {"loss/orthonormality": "Σ ‖UᵀU − I‖²"},
        "Distance of the bases from orthonormal ones; should stay small.",
        from_zero=True,
        may_log=True,
    ),
    Panel(
        "Dead coordinates",
        {"dead_coords": "dead coordinates"},
        f"Coordinates that change the image by less than {DEAD_BELOW:g} rms.",
        y_range=(0.0, 1.0),
    ),
    Panel(
        "Share of the images' variance",
        {"share_coords": "coordinates", "share_z": "z"},
        f"Total effects, so their sum is 1 or more. Below {Z_SHARE_BELOW:g}, z has little effect.",
        y_range=(0.0, 1.0),
    ),
    Panel(
        "Speed",
        {"kimg_per_s": "kimg/s"},
        "Thousand images per second, without measuring and saving.",
        from_zero=True,
    ),
)

#: The panel after which the importance of the subspaces is drawn.
_BEFORE_IMPORTANCE = "Orthonormality"


def run_charts(run: RunRecord) -> list[Chart]:
    """Return all charts of one run: a colour for each field."""
    charts = []
    for panel in PANELS:
        series = [
            Series(label, run.points(field), number)
            for number, (field, label) in enumerate(panel.fields.items())
        ]
        charts.append(_chart(panel, panel.title, series))
        if panel.title == _BEFORE_IMPORTANCE:
            rows = _importance(run)
            series = [
                Series(name, [(x, row[number]) for x, row in rows if number < len(row)], number)
                for number, name in enumerate(run.coordinate_names())
            ]
            charts.append(_importance_chart("Importance", series))
    return charts


def compared_charts(runs: Sequence[RunRecord], names: Sequence[str]) -> list[Chart]:
    """Return the charts of several runs: one for each field, a colour for each run.

    All charts share one legend, which they leave to the page.
    """
    charts = []
    for panel in PANELS:
        for field, label in panel.fields.items():
            series = [
                Series(name, run.points(field), number)
                for number, (run, name) in enumerate(zip(runs, names, strict=True))
            ]
            title = panel.title if len(panel.fields) == 1 else f"{panel.title}: {label}"
            charts.append(_chart(panel, title, series, legend=False))
        if panel.title == _BEFORE_IMPORTANCE:
            series = [
                Series(name, [(x, sum(row) / len(row)) for x, row in _importance(run)], number)
                for number, (run, name) in enumerate(zip(runs, names, strict=True))
            ]
            title = "Importance: mean over the subspaces"
            charts.append(_importance_chart(title, series, legend=False))
    return charts


def _chart(panel: Panel, title: str, series: Sequence[Series], *, legend: bool = True) -> Chart:
    return Chart(
        title=title,
        series=series,
        note=panel.note,
        from_zero=panel.from_zero,
        y_range=panel.y_range,
        may_log=panel.may_log,
        legend=legend,
    )


def _importance_chart(title: str, series: Sequence[Series], *, legend: bool = True) -> Chart:
    note = "Mean |L| of each subspace. A subspace near 0 has no effect."
    return Chart(title=title, series=series, note=note, from_zero=True, legend=legend)


def _importance(run: RunRecord) -> list[tuple[float, list[float]]]:
    """(kimg, mean |L| of each subspace) of the log's lines that have all of them."""
    found = []
    for entry in run.entries:
        values = entry.get("importance")
        if isinstance(values, list) and values:
            numbers = [finite(value) for value in values]
            row = [number for number in numbers if number is not None]
            if len(row) == len(numbers):
                found.append((entry["nimg"] / 1000, row))
    return found
