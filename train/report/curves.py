"""Which curves of the log a report draws, for one run and for several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from segan.runtime.pages.axis import Point
from segan.runtime.pages.chart import Chart, Series, draw_chart
from segan.train.report.run_record import RunRecord, finite


class Panel(NamedTuple):
    """A chart of some of the log's fields.

    Attributes:
        title: of the chart.
        fields: of the log, with their labels.
        note: what it shows, and when to look twice.
        from_zero: whether 0 is shown.
        y_range: that is shown whatever the values are.
        may_log: whether the axis may be logarithmic.
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
        "Averages over each tick. Neither has to fall; neither may run away.",
        may_log=True,
    ),
    Panel(
        "Scores of the discriminator",
        {"score/real": "real images", "score/fake": "generated images"},
        "D's mean output: above 0 it takes an image for real.",
    ),
    Panel(
        "Overfitting of the discriminator",
        {"score/real_sign": "sign of D on real images", "augment/p": "augmentation probability"},
        "A mean sign that stays near 1: D knows the data by heart.",
        y_range=(0.0, 1.0),
    ),
    Panel(
        "Regularisers",
        {"loss/r1": "R1", "loss/path_length": "path length", "loss/jacobian": "overlap"},
        "Penalties as they enter the losses; overlap: of the coordinates' Jacobian, unweighted.",
        from_zero=True,
        may_log=True,
    ),
    Panel(
        "Information term",
        {"loss/information": "E(a − â)²"},
        "Error with which coordinates are read off images; 1 is a blind guess.",
        y_range=(0.0, 1.0),
    ),
    Panel(
        "Orthonormality",
        {"loss/orthonormality": "Σ ‖UᵀU − I‖²"},
        "How far the bases are from orthonormal; it stays small.",
        from_zero=True,
        may_log=True,
    ),
    Panel(
        "Dead coordinates",
        {"dead_coords": "dead coordinates"},
        "Sliders that move the image by less than 0.01 rms.",
        y_range=(0.0, 1.0),
    ),
    Panel(
        "Share of the images' variance",
        {"share_coords": "coordinates", "share_z": "z"},
        "Total effects, so together 1 or more. z below 0.05 is dying.",
        y_range=(0.0, 1.0),
    ),
    Panel(
        "Speed",
        {"kimg_per_s": "kimg/s"},
        "Thousand images a second, measuring and saving left out.",
        from_zero=True,
    ),
)

_IMPORTANCE = "Importance"
_IMPORTANCE_NOTE = "Mean |L| of each subspace. One that falls to 0 has no say."


def draw_curves(run: RunRecord) -> str:
    """All curves of one run: a colour for each field."""
    parts = []
    for panel in PANELS:
        series = [
            Series(label, run.points(field), number)
            for number, (field, label) in enumerate(panel.fields.items())
        ]
        parts.append(draw_chart(_chart(panel, panel.title, series)))
        if panel.title == "Orthonormality":
            parts.append(_draw_importance(run))
    return "".join(parts)


def compare_curves(runs: Sequence[RunRecord], names: Sequence[str]) -> str:
    """The curves of several runs on the same axes: a chart for each field, a colour for each run.

    The legend is the page's, as it is the same for all.
    """
    parts = []
    for panel in PANELS:
        for field, label in panel.fields.items():
            series = [
                Series(name, run.points(field), number)
                for number, (run, name) in enumerate(zip(runs, names, strict=True))
            ]
            title = panel.title if len(panel.fields) == 1 else f"{panel.title}: {label}"
            parts.append(draw_chart(_chart(panel, title, series, legend=False)))
        if panel.title == "Orthonormality":
            series = [
                Series(name, [(x, sum(row) / len(row)) for x, row in _importance(run)], number)
                for number, (run, name) in enumerate(zip(runs, names, strict=True))
            ]
            parts.append(
                draw_chart(
                    Chart(
                        title=f"{_IMPORTANCE}: mean of all subspaces",
                        series=series,
                        note=_IMPORTANCE_NOTE,
                        from_zero=True,
                        legend=False,
                    )
                )
            )
    return "".join(parts)


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


def _draw_importance(run: RunRecord) -> str:
    names, rows = run.coordinate_names(), _importance(run)
    series = [
        Series(name, [(x, row[number]) for x, row in rows if number < len(row)], number)
        for number, name in enumerate(names)
    ]
    return draw_chart(
        Chart(title=_IMPORTANCE, series=series, note=_IMPORTANCE_NOTE, from_zero=True)
    )


def _importance(run: RunRecord) -> list[tuple[float, list[float]]]:
    """(kimg, mean |L| of each subspace) wherever the log has all of them."""
    found = []
    for entry in run.entries:
        values = entry.get("importance")
        if isinstance(values, list) and values:
            numbers = [finite(value) for value in values]
            row = [number for number in numbers if number is not None]
            if len(row) == len(numbers):
                found.append((entry["nimg"] / 1000, row))
    return found
