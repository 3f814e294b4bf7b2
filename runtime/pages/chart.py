"""Line charts as SVG within the page: its style sheet colours them, so they follow light and dark.

Eight colours that people with any colour vision tell apart (Okabe and Ito 2008, Color Universal
Design), and past eight lines, or for a second meaning, dashes.
"""

from __future__ import annotations

import html
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from segan.runtime.pages.axis import Axis, Point, axis_of, number_text, span_axis

COLOURS = 8
#: ``stroke-dasharray`` of the first eight lines, the next eight, and so on.
DASHES = ("", "7 3", "2 3", "9 3 2 3")

_WIDTH, _HEIGHT = 480, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 10, 34
#: More points than this are thinned to the extremes of that many stretches.
_MOST_POINTS = 600
#: Up to so many points are marked with dots.
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


@dataclass(frozen=True, kw_only=True)
class Chart:
    """What is drawn.

    Attributes:
        title: the line above it.
        series: its lines; those without points are left out.
        note: a sentence on what it shows, under the title.
        from_zero: whether the y axis shows 0.
        y_range: least and largest value that the y axis shows whatever the values are.
        may_log: whether the y axis may be logarithmic.
        legend: whether its lines are named above it.
    """

    title: str
    series: Sequence[Series]
    note: str = ""
    from_zero: bool = False
    y_range: Point | None = None
    may_log: bool = False
    legend: bool = True


def draw_chart(chart: Chart) -> str:
    """The chart as an HTML figure; empty where no series has points."""
    drawn = [
        series._replace(points=thinned(series.points)) if not series.intervals else series
        for series in chart.series
        if series.points
    ]
    if not drawn:
        return ""
    x_axis, y_axis = _axes(chart, drawn)
    log = " <small>logarithmic</small>" if y_axis.log else ""
    note = f"<p>{html.escape(chart.note)}</p>" if chart.note else ""
    legend = ""
    if chart.legend and len(drawn) > 1:
        legend = draw_legend([(series.label, series.style) for series in drawn])
    spoken = "; ".join(
        f"{series.label} ends at {number_text(series.points[-1][1])}" for series in drawn
    )
    label = html.escape(f"{chart.title}: {spoken}", quote=True)
    return (
        f'<figure class="chart"><figcaption><h3>{html.escape(chart.title)}{log}</h3>{note}{legend}'
        f'</figcaption><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}" '
        f"data-chart='{_for_script(drawn, x_axis, y_axis)}'>"
        f"{_grid(x_axis, y_axis)}"
        f"{''.join(_line(series, x_axis, y_axis) for series in drawn)}</svg></figure>"
    )


def draw_legend(entries: Sequence[tuple[str, int]]) -> str:
    """Names beside samples of their lines."""
    parts = [
        f'<span><svg viewBox="0 0 26 10" aria-hidden="true"><line x1="1" y1="5" x2="25" y2="5" '
        f"{_stroke(style)}/></svg>{html.escape(label)}</span>"
        for label, style in entries
    ]
    return f'<div class="legend">{"".join(parts)}</div>'


def thinned(points: Sequence[Point]) -> list[Point]:
    """At most about 600 points: each stretch keeps its lowest and highest, so no peak is lost."""
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
    # One point, at the run's end, stands in the middle.
    alone = min(xs) == max(xs)
    x_axis = span_axis(0.0, 2 * xs[0] or 1.0) if alone else span_axis(min(0.0, *xs), max(xs))
    return x_axis, axis_of(ys, from_zero=chart.from_zero, may_log=chart.may_log)


def _x(axis: Axis, value: float) -> float:
    return _LEFT + axis.place(value) * (_WIDTH - _LEFT - _RIGHT)


def _y(axis: Axis, value: float) -> float:
    return _HEIGHT - _BOTTOM - axis.place(value) * (_HEIGHT - _TOP - _BOTTOM)


def _grid(x_axis: Axis, y_axis: Axis) -> str:
    parts = []
    for tick in y_axis.ticks:
        y = _y(y_axis, tick)
        parts.append(
            f'<line class="grid" x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH - _RIGHT}" y2="{y:.1f}"/>'
            f'<text x="{_LEFT - 7}" y="{y + 3.5:.1f}" text-anchor="end">{number_text(tick)}</text>'
        )
    base = _HEIGHT - _BOTTOM
    for tick in x_axis.ticks:
        x = _x(x_axis, tick)
        parts.append(
            f'<line class="tick" x1="{x:.1f}" y1="{base}" x2="{x:.1f}" y2="{base + 4}"/>'
            f'<text x="{x:.1f}" y="{base + 16}" text-anchor="middle">{number_text(tick)}</text>'
        )
    parts.append(
        f'<line class="base" x1="{_LEFT}" y1="{base}" x2="{_WIDTH - _RIGHT}" y2="{base}"/>'
        f'<text class="unit" x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 4}" text-anchor="end">kimg</text>'
    )
    return "".join(parts)


def _line(series: Series, x_axis: Axis, y_axis: Axis) -> str:
    places = [(_x(x_axis, x), _y(y_axis, y)) for x, y in series.points]
    stroke = _stroke(series.style)
    parts = []
    for (x, _), (low, high) in zip(places, series.intervals, strict=False):
        top, bottom = _y(y_axis, high), _y(y_axis, low)
        parts.append(
            f'<line x1="{x:.1f}" y1="{top:.1f}" x2="{x:.1f}" y2="{bottom:.1f}" '
            f"{_stroke(series.style, 'whisker')}/>"
        )
    if len(places) > 1:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{path}" {stroke}/>')
    if len(places) <= _DOTS:
        colour = series.style % COLOURS
        parts += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6" class="f{colour}"/>' for x, y in places
        ]
    return "".join(parts)


def _stroke(style: int, also: str = "") -> str:
    if also:  # a short line, which dashes would hide
        return f'class="s{style % COLOURS} {also}"'
    dash = DASHES[style // COLOURS % len(DASHES)]
    text = f'class="s{style % COLOURS}"'
    return text + (f' stroke-dasharray="{dash}"' if dash else "")


def _for_script(drawn: Sequence[Series], x_axis: Axis, y_axis: Axis) -> str:
    """What the page's script needs to show values under the pointer, as an attribute's text."""
    lines = [
        {
            "label": series.label,
            "style": series.style % COLOURS,
            "points": [
                [
                    round(_x(x_axis, x), 1),
                    round(_y(y_axis, y), 1),
                    number_text(x),
                    number_text(y),
                ]
                for x, y in series.points
            ],
        }
        for series in drawn
    ]
    text = json.dumps(lines, separators=(",", ":"), ensure_ascii=False)
    return html.escape(text, quote=False).replace("'", "&#39;")
