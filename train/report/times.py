"""Where a run's time goes: a bar of its phases, in milliseconds an image."""

from __future__ import annotations

from collections.abc import Sequence

from segan.runtime.pages.axis import number_text
from segan.runtime.pages.chart import COLOURS
from segan.runtime.pages.markup import Cell, table, text
from segan.train.report.run_record import RunRecord

_NAMES = {
    "discriminator": "discriminator",
    "r1": "R1",
    "generator": "generator",
    "path_length": "path length",
    "average": "moving average",
    "data": "data",
    "swd": "scoring (swd)",
    "other": "other",
}


def draw_times(runs: Sequence[RunRecord], names: Sequence[str]) -> str:
    """A bar for each run, on one scale, and the same as a table; empty without logged seconds."""
    found = [_milliseconds(run) for run in runs]
    phases = [name for name in _NAMES if any(name in own for own in found)]
    phases += sorted({name for own in found for name in own} - set(_NAMES))
    if not phases:
        return ""
    longest = max(sum(own.values()) for own in found)
    bars = []
    for name, own in zip(names, found, strict=True):
        parts = "".join(
            f'<i class="b{phases.index(phase) % COLOURS}" '
            f'style="width:{100 * own[phase] / longest:.2f}%" '
            f'title="{text(_label(phase))}: {number_text(own[phase], 3)} ms an image"></i>'
            for phase in phases
            if own.get(phase)
        )
        head = f"<span>{text(name)}</span>" if len(runs) > 1 else ""
        total = (
            f"<b>{number_text(sum(own.values()), 3)} ms an image</b>"
            if own
            else "<b>not logged</b>"
        )
        bars.append(f'<div class="bar">{head}<div>{parts}</div>{total}</div>')
    legend = "".join(
        f'<span><i class="b{number % COLOURS}"></i>{text(_label(phase))}</span>'
        for number, phase in enumerate(phases)
    )
    rows = [
        [
            Cell(_label(phase)),
            *(
                Cell(f"{number_text(own[phase], 3)} ms", number=True)
                if phase in own
                else Cell("–", number=True)
                for own in found
            ),
        ]
        for phase in phases
    ]
    heads = ("phase", *(f"#{name}" for name in names)) if len(runs) > 1 else ("phase", "#an image")
    return (
        f'<div class="legend">{legend}</div><div class="bars">{"".join(bars)}</div>'
        f"<details><summary>As a table</summary>{table(heads, rows, row_heads=True)}</details>"
    )


def _milliseconds(run: RunRecord) -> dict[str, float]:
    """Of each phase, for each image."""
    images = run.entries[-1]["nimg"] if run.entries else 0
    return {name: 1000 * s / images for name, s in run.seconds_by_phase().items()} if images else {}


def _label(phase: str) -> str:
    return _NAMES.get(phase, phase.replace("_", " "))
