"""Where a run's time goes: a bar of its phases, in milliseconds per image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from segan.runtime.pages.axis import number_text
from segan.runtime.pages.chart import COLOURS
from segan.runtime.pages.parts import Cell, table
from segan.runtime.pages.template import render
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


def draw_times(runs: Sequence[RunRecord], names: Sequence[str]) -> Markup:
    """Return a bar for each run, on one scale, and a table; empty without logged times."""
    times = [_milliseconds(run) for run in runs]
    known = [name for name in _NAMES if any(name in own for own in times)]
    known += sorted({name for own in times for name in own} - set(_NAMES))
    if not known:
        return Markup()
    phases = {
        name: {"label": _label(name), "colour": number % COLOURS}
        for number, name in enumerate(known)
    }
    longest = max(sum(own.values()) for own in times)
    bars = [
        {
            "name": name,
            "parts": [
                {
                    "phase": phases[phase],
                    "percent": f"{100 * own[phase] / longest:.2f}",
                    "text": _text(own[phase]),
                }
                for phase in known
                if own.get(phase)
            ],
            "total": f"{_text(sum(own.values()))} per image" if own else "not logged",
        }
        for name, own in zip(names, times, strict=True)
    ]
    return render(
        Path(__file__).parent,
        "times.html",
        phases=list(phases.values()),
        bars=bars,
        table=_table(known, times, names if len(runs) > 1 else ["per image"]),
    )


def _table(
    phases: Sequence[str], times: Sequence[dict[str, float]], titles: Sequence[str]
) -> Markup:
    header = [Cell("phase"), *(Cell(title, number=True) for title in titles)]
    rows = [
        [
            Cell(_label(phase)),
            *(Cell(_text(own[phase]) if phase in own else "–", number=True) for own in times),
        ]
        for phase in phases
    ]
    return table(header, rows)


def _milliseconds(run: RunRecord) -> dict[str, float]:
    """Time of each phase, per image."""
    images = run.entries[-1]["nimg"] if run.entries else 0
    return {name: 1000 * s / images for name, s in run.seconds_by_phase().items()} if images else {}


def _text(milliseconds: float) -> str:
    return f"{number_text(milliseconds, 3)} ms"


def _label(phase: str) -> str:
    return _NAMES.get(phase, phase.replace("_", " "))
