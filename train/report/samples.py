"""How images change over training: the same seeds, earlier and later, of one run or several."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from segan.runtime.pages.template import render
from segan.train.report.pictures import PictureFolder, common_progress, spread
from segan.train.report.run_record import RunRecord, Sheet

_HERE = Path(__file__).parent
#: Rows of a sample sheet that a comparison shows: 16 seeds.
_COMPARED_ROWS = 2


def draw_samples(run: RunRecord, pictures: PictureFolder, count: int) -> Markup:
    """Return the first eight seeds at ``count`` moments, and the best and the newest sheet."""
    if not run.samples:
        return Markup()
    shown = spread(run.samples, count)
    best = best_sheet(run)
    if best is not None and best not in shown:
        shown = sorted([*shown, best])
    moments = [
        {
            "kimg": f"{sheet.kimg:g}",
            "best": sheet == best,
            "picture": pictures.add(sheet.path, f"seeds-{_tag(sheet)}", rows=1),
        }
        for sheet in shown
    ]
    newest = run.samples[-1]
    sheets = [newest] if best is None or best == newest else [best, newest]
    whole = [
        _figure(
            pictures,
            sheet,
            f"samples-{_tag(sheet)}",
            f"kimg {sheet.kimg:g}" + (", the best checkpoint" if sheet == best else ""),
        )
        for sheet in sheets
    ]
    return render(_HERE, "moments.html", moments=moments, whole=whole)


def best_sheet(run: RunRecord) -> Sheet | None:
    """Return the sample sheet drawn with the best checkpoint; its name has kimg to a tenth."""
    best = run.best
    if best is None:
        return None
    nearest = min(run.samples, key=lambda sheet: abs(sheet.kimg - best.kimg), default=None)
    return nearest if nearest is not None and abs(nearest.kimg - best.kimg) <= 0.05 else None


def compare_samples(
    runs: Sequence[RunRecord], names: Sequence[str], pictures: PictureFolder, count: int
) -> Markup:
    """Return the same seeds of all runs at the same progress, and the newest of each run.

    Each run is a column.
    """
    if not any(run.samples for run in runs):
        return Markup()
    drawn = [run for run in runs if run.samples]
    shared = common_progress(drawn, count)
    lines = [(f"kimg {kimg:g}", [_sheet_at(run.samples, kimg) for run in runs]) for kimg in shared]
    newest = [run.samples[-1] if run.samples else None for run in runs]
    if not shared or any(sheet is not None and sheet.kimg != shared[-1] for sheet in newest):
        lines.append(("newest", newest))

    def cell(number: int, sheet: Sheet | None, title: str) -> dict[str, Any] | None:
        if sheet is None:
            return None
        file = f"run{number}-seeds-{_tag(sheet)}"
        return {
            "picture": pictures.add(sheet.path, file, rows=_COMPARED_ROWS),
            "alt": f"{names[number]}: seeds 0 to 15 after {sheet.kimg:g} thousand images",
            "note": f"kimg {sheet.kimg:g}" if title == "newest" else "",
        }

    rows = [
        {"title": title, "cells": [cell(number, sheet, title) for number, sheet in enumerate(own)]}
        for title, own in lines
    ]
    return render(_HERE, "compared_samples.html", names=names, rows=rows)


def draw_slider_sheets(run: RunRecord, pictures: PictureFolder, count: int) -> Markup:
    """Return the newest slider sheet, and earlier ones folded away."""
    if not run.sliders:
        return Markup()
    *earlier, newest = (
        _figure(pictures, sheet, f"sliders-{_tag(sheet)}", f"kimg {sheet.kimg:g}")
        for sheet in spread(run.sliders, max(2, count // 2))
    )
    title = "Every slider over its range"
    return render(_HERE, "slider_sheets.html", title=title, sheets=[newest], earlier=earlier)


def compare_slider_sheets(
    runs: Sequence[RunRecord], names: Sequence[str], pictures: PictureFolder
) -> Markup:
    """Return the newest slider sheet of every run that has sliders."""
    sheets = [
        _figure(
            pictures,
            run.sliders[-1],
            f"run{number}-sliders-{_tag(run.sliders[-1])}",
            f"{name}, kimg {run.sliders[-1].kimg:g}",
        )
        for number, (run, name) in enumerate(zip(runs, names, strict=True))
        if run.sliders
    ]
    if not sheets:
        return Markup()
    return render(_HERE, "slider_sheets.html", title="", sheets=sheets, earlier=())


def _figure(pictures: PictureFolder, sheet: Sheet, name: str, caption: str) -> dict[str, Any]:
    return {"picture": pictures.add(sheet.path, name), "caption": caption}


def _sheet_at(sheets: Sequence[Sheet], kimg: float) -> Sheet | None:
    return next((sheet for sheet in sheets if sheet.kimg == kimg), None)


def _tag(sheet: Sheet) -> str:
    """As in the run: ``kimg0010.0``."""
    return sheet.path.stem.removesuffix("-sliders")
