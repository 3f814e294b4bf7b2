"""The plot at the top of an atlas: effect against locality, a dot for each slider, as SVG."""

from __future__ import annotations

import html
import math

from segan.runtime.atlas.figures import DEAD_BELOW
from segan.runtime.atlas.record import Atlas

_WIDTH, _HEIGHT = 820, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 90, 14, 40
_RADIUS = 9
#: Effects that are marked on the logarithmic axis.
_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2)
#: Hues from coarse layers to fine ones, in degrees.
_FIRST_HUE, _LAST_HUE = 12, 268


def layer_colour(number: int, count: int) -> str:
    """The colour of the number-th of so many layers."""
    share = number / max(1, count - 1)
    return f"hsl({_FIRST_HUE + share * (_LAST_HUE - _FIRST_HUE):.0f} 52% 46%)"


def overview_plot(atlas: Atlas) -> str:
    """The SVG; effect is logarithmic, and dead sliders lie at its left end.

    Names stand beside dots where they do not meet another dot or name.
    """
    layers = sorted({entry.slider.layer for entry in atlas.sliders})
    alive = [entry.figures for entry in atlas.sliders if not entry.figures.dead]
    first = max(DEAD_BELOW, 0.8 * min((f.effect for f in alive), default=DEAD_BELOW))
    last = max(1.15 * max((f.effect for f in alive), default=0.1), 2 * first)
    floor = math.floor(min((f.locality for f in alive), default=0.0) * 20) / 20
    floor = min(max(0.0, floor - 0.05), 0.9)
    plot_width, plot_height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def place(effect: float, locality: float) -> tuple[float, float]:
        along = math.log(max(effect, first) / first) / math.log(last / first)
        up = (max(locality, floor) - floor) / (1 - floor)
        return _LEFT + plot_width * along, _TOP + plot_height * (1 - up)

    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="group" '
        'aria-label="Effect against locality of every slider">'
    ]
    for effect in _TICKS:
        if first <= effect <= last:
            x, _ = place(effect, 1)
            parts.append(
                f'<path class="plot-grid" d="M{x:.1f} {_TOP}v{plot_height}"/>'
                f'<text class="plot-text" x="{x:.1f}" y="{_HEIGHT - 22}" text-anchor="middle">'
                f"{effect:g}</text>"
            )
    for number in range(5):
        locality = floor + (1 - floor) * number / 4
        _, y = place(first, locality)
        parts.append(
            f'<path class="plot-grid" d="M{_LEFT} {y:.1f}h{plot_width}"/>'
            f'<text class="plot-text" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">'
            f"{locality:.2f}</text>"
        )
    parts.append(
        f'<text class="plot-text" x="{_LEFT + plot_width}" y="{_HEIGHT - 6}" text-anchor="end">'
        "effect, logarithmic →</text>"
        f'<text class="plot-text" x="{_LEFT + 4}" y="{_TOP + 10}">↑ locality</text>'
    )
    dots = [
        (entry, *place(entry.figures.effect, entry.figures.locality)) for entry in atlas.sliders
    ]
    # (left, top, right, bottom) of what names may not cover.
    taken = [(x - _RADIUS, y - _RADIUS, x + _RADIUS, y + _RADIUS) for _, x, y in dots]
    labels: dict[int, str] = {}
    for entry, x, y in dots:
        name = entry.name or (entry.proposal.name + "?" if entry.proposal else "")
        box = (x + _RADIUS + 1, y - 7, x + _RADIUS + 6 + 6.2 * len(name), y + 7)
        if not name or box[2] > _WIDTH or any(_meet(box, other) for other in taken):
            continue
        taken.append(box)
        labels[entry.rank] = (
            f'<text class="plot-name" x="{x + _RADIUS + 4:.1f}" y="{y + 4:.1f}">'
            f"{html.escape(name)}</text>"
        )
    # The best lie on top.
    for entry, x, y in reversed(dots):
        colour = layer_colour(layers.index(entry.slider.layer), len(layers))
        called = html.escape(f"{entry.rank}. {entry.name or entry.slider}")
        parts.append(
            f'<a class="plot-dot" href="#{entry.slider}" aria-label="{called}"><title>{called}'
            f'</title><circle cx="{x:.1f}" cy="{y:.1f}" r="{_RADIUS}" fill="{colour}"/>'
            f'<text x="{x:.1f}" y="{y + 3.5:.1f}">{entry.rank}</text>'
            f"{labels.get(entry.rank, '')}</a>"
        )
    return "".join([*parts, "</svg>"])


def _meet(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
