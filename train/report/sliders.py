"""What a run's sliders do: how much each coordinate changes the image, and what it controls."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from markupsafe import Markup

from segan.runtime.pages.axis import number_text
from segan.runtime.pages.parts import Cell, table
from segan.runtime.pages.template import render
from segan.train.report.measured import Control, Estimate, estimate_of
from segan.train.report.run_record import RunRecord, finite
from segan.train.runs.alarms import DEAD_BELOW


def draw_sliders(run: RunRecord) -> Markup:
    """Return the effects of the coordinates and the control scores; empty without either."""
    effects, control = _effects(run), run.control
    if effects is None and control is None:
        return Markup()
    return render(
        Path(__file__).parent,
        "sliders.html",
        dead_below=f"{DEAD_BELOW:g}",
        effects=effects,
        control=None if control is None else _control_table(control),
        figures="" if control is None else _control_figures(control),
    )


def _effects(run: RunRecord) -> dict[str, Any] | None:
    """The newest effect of every coordinate, a row for each subspace; None without any."""
    rows = run.last("effects")
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        return None
    values = [[finite(value) for value in row] for row in rows]
    known = [value for row in values for value in row if value is not None]
    names = run.coordinate_names()
    if not known or len(names) != len(values):
        return None
    dims = max(len(row) for row in values)
    largest = max(*known, DEAD_BELOW)
    blank = {"text": "", "dead": False, "share": ""}
    return {
        "dims": dims,
        "rows": [
            {
                "name": name,
                "cells": [_effect(value, largest) for value in row] + [blank] * (dims - len(row)),
            }
            for name, row in zip(names, values, strict=True)
        ],
    }


def _effect(value: float | None, largest: float) -> dict[str, Any]:
    if value is None:
        return {"text": "–", "dead": False, "share": ""}
    if value < DEAD_BELOW:
        return {"text": number_text(value, 2), "dead": True, "share": ""}
    return {"text": f"{value:.3f}", "dead": False, "share": f"{value / largest:.3f}"}


def _control_table(control: Control) -> Markup:
    """The sliders by what they control, the strongest first."""
    ordered = sorted(
        control.sliders, key=lambda score: -abs(estimate_of(score.effect).value or 0.0)
    )
    rows = [
        [
            Cell(score.slider),
            Cell("dead" if score.dead else score.attribute or "–", mark="dead" * score.dead),
            Cell(_estimate_text(score.effect, _deviations), number=True),
            Cell(_estimate_text(score.leakage, _percent), number=True),
        ]
        for score in ordered
    ]
    header = [
        *(Cell("slider"), Cell("main attribute")),
        *(Cell("effect", number=True), Cell("leakage", number=True)),
    ]
    return table(header, rows)


def _control_figures(control: Control) -> str:
    """The figures of all sliders together, in a line; empty without any."""
    figures = (
        ("attributes controlled", control.controlled),
        ("disentanglement", control.measured_disentanglement),
        ("completeness", control.measured_completeness),
    )
    text = "; ".join(
        f"{name} {_estimate_text(value, _deviations)}"
        for name, value in figures
        if estimate_of(value).value is not None
    )
    return text[:1].upper() + text[1:]


def _estimate_text(value: float | Estimate | None, show: Callable[[float], str]) -> str:
    """A figure with its interval, as ``3.1 (2.9 to 3.3)``."""
    found = estimate_of(value)
    if found.value is None:
        return "–"
    if found.low is None or found.high is None or found.low == found.high:
        return show(found.value)
    return f"{show(found.value)} ({show(found.low)} to {show(found.high)})"


def _deviations(value: float) -> str:
    return number_text(round(value, 2), 3)


def _percent(value: float) -> str:
    return f"{value:.0%}"
