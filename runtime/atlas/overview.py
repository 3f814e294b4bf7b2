"""The plot at the top of an atlas: effect against locality, a dot for each slider, as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from segan.runtime.atlas.record import Atlas, AtlasSlider
from segan.runtime.pages.axis import Axis, Frame, log_span_axis
from segan.runtime.pages.template import render
from segan.runtime.readings.effects import DEAD_BELOW

_FRAME = Frame(width=820, height=300, left=44, right=90, top=14, bottom=40)
_RADIUS = 9
#: Width of a character of a name, and half the height of its line, in the drawing's units.
_CHARACTER, _HALF_LINE = 6.2, 7
#: Hues from coarse layers to fine ones, in degrees.
_FIRST_HUE, _LAST_HUE = 12, 268


class Box(NamedTuple):
    """A rectangle of the drawing; the top is less than the bottom."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Box) -> bool:
        """Whether two rectangles have an area in common."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )


def layer_colour(number: int, count: int) -> str:
    """Return the colour of the number-th of ``count`` layers."""
    share = number / max(1, count - 1)
    return f"hsl({_FIRST_HUE + share * (_LAST_HUE - _FIRST_HUE):.0f} 52% 46%)"


def overview_plot(atlas: Atlas) -> Markup:
    """Return the SVG. The effect axis is logarithmic; dead sliders are drawn at its left end.

    A name is placed next to its dot unless it would cover another dot or name.
    """
    layers = sorted({entry.slider.layer for entry in atlas.sliders})
    x_axis, y_axis = _axes(atlas)
    places = [_place(entry, x_axis, y_axis) for entry in atlas.sliders]
    names = [_short_name(entry) for entry in atlas.sliders]
    labelled = place_labels(places, names)
    dots: list[dict[str, Any]] = [
        {
            "slider": entry.slider,
            "rank": entry.rank,
            "title": f"{entry.rank}. {entry.name or entry.slider}",
            "colour": layer_colour(layers.index(entry.slider.layer), len(layers)),
            "x": x,
            "y": y,
            "name": name if shown else "",
        }
        for entry, (x, y), name, shown in zip(atlas.sliders, places, names, labelled, strict=True)
    ]
    return render(
        Path(__file__).parent,
        "overview.html",
        frame=_FRAME,
        x_axis=x_axis,
        y_axis=y_axis,
        radius=_RADIUS,
        dots=dots[::-1],  # the best is drawn last, over the others
    )


def place_labels(places: Sequence[tuple[float, float]], names: Sequence[str]) -> list[bool]:
    """Return which dots get their name: those where it covers no dot and no earlier name.

    Args:
        places: the dots' centres.
        names: a name for each dot, or empty.
    """
    taken = [Box(x - _RADIUS, y - _RADIUS, x + _RADIUS, y + _RADIUS) for x, y in places]
    shown = []
    for (x, y), name in zip(places, names, strict=True):
        left = x + _RADIUS + 1
        box = Box(left, y - _HALF_LINE, left + 5 + _CHARACTER * len(name), y + _HALF_LINE)
        free = box.right <= _FRAME.width and not any(box.meets(other) for other in taken)
        shown.append(bool(name) and free)
        if shown[-1]:
            taken.append(box)
    return shown


def _axes(atlas: Atlas) -> tuple[Axis, Axis]:
    alive = [entry.figures for entry in atlas.sliders if not entry.figures.dead]
    first = max(DEAD_BELOW, 0.8 * min((f.effect for f in alive), default=DEAD_BELOW))
    last = max(1.15 * max((f.effect for f in alive), default=0.1), 2 * first)
    floor = math.floor(min((f.locality for f in alive), default=0.0) * 20) / 20
    floor = round(min(max(0.0, floor - 0.05), 0.9), 2)
    ticks = tuple(round(floor + (1 - floor) * number / 4, 4) for number in range(5))
    return log_span_axis(first, last), Axis(floor, 1.0, ticks)


def _place(entry: AtlasSlider, x_axis: Axis, y_axis: Axis) -> tuple[float, float]:
    """A dot's centre; values below an axis lie at its beginning."""
    figures = entry.figures
    return (
        _FRAME.x(x_axis, max(figures.effect, x_axis.low)),
        _FRAME.y(y_axis, max(figures.locality, y_axis.low)),
    )


def _short_name(entry: AtlasSlider) -> str:
    return entry.name or (f"{entry.proposal.name}?" if entry.proposal else "")
