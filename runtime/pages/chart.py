"""Line charts as SVG within the page, whose style sheet colours them for light and dark.

Eight colours that people with any colour vision tell apart (Okabe and Ito 2008, Color Universal
Design); lines past the eighth repeat the colours with dashes.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from markupsafe import Markup

from segan.runtime.pages.axis import Axis, Frame, Point, axis_of, number_text, span_axis
from segan.runtime.pages.template import render_shared

COLOURS = 8
#: ``stroke-dasharray`` of the first eight lines, the next eight, and so on.
DASHES = ("", "7 3", "2 3", "9 3 2 3")

_FRAME = Frame(width=480, height=250, left=52, right=14, top=10, bottom=34)
#: More points than this are thinned to the extremes of that many stretches.
_MOST_POINTS = 600
#: A line of at most this many points marks them with dots.
_DOTS = 40


class Series(NamedTuple):
    """One line.

    Attributes:
        label: for the legend.
        points: (x, y), x ascending.
        style: number of its colour, and past the colours of its dashes.
        intervals: (low, high) for each point, or empty.
    """

    label: str
    points: Sequence[Point]
    style: int = 0
    intervals: Sequence[Point] = ()

    @property
    def colour(self) -> int:
        """The number of the line's colour in the style sheet."""
        return self.style % COLOURS

    @property
    def dashes(self) -> str:
        """The line's ``stroke-dasharray``; empty for a solid line."""
        return DASHES[self.style // COLOURS % len(DASHES)]


@dataclass(frozen=True, kw_only=True)
class Chart:
    """What is drawn.

    Attributes:
        title: the heading.
        series: the lines; those without points are left out.
        note: a sentence under the title on what the chart shows.
        from_zero: whether the y axis shows 0.
        y_range: least and largest value that the y axis always shows.
        may_log: whether the y axis may be logarithmic.
        legend: whether the lines are named above the chart.
    """

    title: str
    series: Sequence[Series]
    note: str = ""
    from_zero: bool = False
    y_range: Point | None = None
    may_log: bool = False
    legend: bool = True


def draw_chart(chart: Chart) -> Markup:
    """Return the chart as an HTML figure; empty where no series has points."""
    drawn = [
        series if series.intervals else series._replace(points=thinned(series.points))
        for series in chart.series
        if series.points
    ]
    if not drawn:
        return Markup()
    x_axis, y_axis = _axes(chart, drawn)
    return render_shared(
        "chart.html",
        chart=chart,
        frame=_FRAME,
        x_axis=x_axis,
        y_axis=y_axis,
        series=drawn,
        lines=[_line(series, x_axis, y_axis) for series in drawn],
        hover=[_hover(series, x_axis, y_axis) for series in drawn],
        spoken="; ".join(
            f"{series.label} ends at {number_text(series.points[-1][1])}" for series in drawn
        ),
    )


def draw_charts(charts: Sequence[Chart], labels: Sequence[str] = ()) -> Markup:
    """Return charts side by side, without those that have no points; empty if none is left.

    Args:
        charts: what is drawn.
        labels: names of the first lines' styles, for one legend above all charts.
    """
    drawn = [figure for chart in charts if (figure := draw_chart(chart))]
    if not drawn:
        return Markup()
    series = [Series(label, (), style) for style, label in enumerate(labels)]
    return render_shared("charts.html", charts=drawn, series=series)


def thinned(points: Sequence[Point]) -> list[Point]:
    """Return at most about 600 points: each stretch keeps its lowest and its highest."""
    if len(points) <= _MOST_POINTS:
        return list(points)
    stretches = _MOST_POINTS // 2
    kept: list[Point] = [points[0]]
    inner = points[1:-1]
    for number in range(stretches):
        part = inner[number * len(inner) // stretches : (number + 1) * len(inner) // stretches]
        ends = {min(part, key=lambda point: point[1]), max(part, key=lambda point: point[1])}
        kept += sorted(ends)
    kept.append(points[-1])
    return kept


def _axes(chart: Chart, drawn: Sequence[Series]) -> tuple[Axis, Axis]:
    xs = [x for series in drawn for x, _ in series.points]
    ys = [y for series in drawn for _, y in series.points]
    ys += list(itertools.chain(*(pair for series in drawn for pair in series.intervals)))
    if chart.y_range is not None:
        ys += chart.y_range
    # A single point is drawn in the middle of the x axis.
    alone = min(xs) == max(xs)
    x_axis = span_axis(0.0, 2 * xs[0] or 1.0) if alone else span_axis(min(0.0, *xs), max(xs))
    return x_axis, axis_of(ys, from_zero=chart.from_zero, may_log=chart.may_log)


def _line(series: Series, x_axis: Axis, y_axis: Axis) -> dict[str, Any]:
    """A series in the drawing's units."""
    places = [(_FRAME.x(x_axis, x), _FRAME.y(y_axis, y)) for x, y in series.points]
    return {
        "colour": series.colour,
        "dashes": series.dashes,
        "path": " ".join(f"{x},{y}" for x, y in places) if len(places) > 1 else "",
        "dots": places if len(places) <= _DOTS else (),
        "whiskers": [
            (x, _FRAME.y(y_axis, high), _FRAME.y(y_axis, low))
            for (x, _), (low, high) in zip(places, series.intervals, strict=False)
        ],
    }


def _hover(series: Series, x_axis: Axis, y_axis: Axis) -> dict[str, Any]:
    """What the page's script needs to show values under the pointer."""
    return {
        "label": series.label,
        "style": series.colour,
        "points": [
            (_FRAME.x(x_axis, x), _FRAME.y(y_axis, y), number_text(x), number_text(y))
            for x, y in series.points
        ],
    }
