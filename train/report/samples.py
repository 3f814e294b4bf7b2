"""How images change over training: the same seeds, earlier and later, of one run or several."""

from __future__ import annotations

from collections.abc import Sequence

from segan.runtime.pages.markup import folded, text
from segan.train.report.pictures import PictureFolder, common_progress, spread
from segan.train.report.run_record import RunRecord, Sheet

#: Rows of a sample sheet that a comparison shows: 16 seeds.
_COMPARED_ROWS = 2


def draw_samples(run: RunRecord, pictures: PictureFolder, count: int) -> str:
    """The first eight seeds at ``count`` moments, and whole sheets of the best and the newest."""
    if not run.samples:
        return ""
    shown = spread(run.samples, count)
    chosen = best_sheet(run)
    if chosen is not None and chosen not in shown:
        shown = sorted([*shown, chosen])
    rows = []
    for sheet in shown:
        picture = pictures.add(sheet.path, f"seeds-{_tag(sheet)}", rows=1)
        mark = "<small>best swd</small>" if sheet == chosen else ""
        alt = f"seeds 0 to 7 after {sheet.kimg:g} thousand images"
        rows.append(
            f'<div class="moment"><span>{sheet.kimg:g}{mark}</span>{picture.tag(alt)}</div>'
        )
    sheets = [run.samples[-1]]
    if chosen is not None and chosen != sheets[0]:
        sheets.insert(0, chosen)
    whole = "".join(
        _figure(
            pictures,
            sheet,
            f"samples-{_tag(sheet)}",
            f"kimg {sheet.kimg:g}" + (", the best checkpoint" if sheet == chosen else ""),
        )
        for sheet in sheets
    )
    return (
        "<p>The first eight seeds, from the first image to the last. Left: kimg.</p>"
        f'<div class="moments">{"".join(rows)}</div>'
        f'<h3>All 64 seeds</h3><div class="gallery wide">{whole}</div>'
    )


def best_sheet(run: RunRecord) -> Sheet | None:
    """The sample sheet that was drawn with the best checkpoint; its name has kimg to a tenth."""
    best = run.best
    if best is None:
        return None
    nearest = min(run.samples, key=lambda sheet: abs(sheet.kimg - best.kimg), default=None)
    return nearest if nearest is not None and abs(nearest.kimg - best.kimg) <= 0.05 else None


def compare_samples(
    runs: Sequence[RunRecord], names: Sequence[str], pictures: PictureFolder, count: int
) -> str:
    """The same seeds of all runs at the same progress, one run a column; and the newest of each."""
    if not any(run.samples for run in runs):
        return ""
    drawn = [run for run in runs if run.samples]
    shared = common_progress(drawn, count)
    lines = [(f"kimg {kimg:g}", [_sheet_at(run.samples, kimg) for run in runs]) for kimg in shared]
    newest = [run.samples[-1] if run.samples else None for run in runs]
    if not shared or any(sheet is not None and sheet.kimg != shared[-1] for sheet in newest):
        lines.append(("newest", newest))
    heads = "".join(f"<th>{text(name)}</th>" for name in names)
    body = []
    for label, sheets in lines:
        cells = []
        for number, (sheet, name) in enumerate(zip(sheets, names, strict=True)):
            if sheet is None:
                cells.append("<td>–</td>")
                continue
            file = f"run{number}-seeds-{_tag(sheet)}"
            picture = pictures.add(sheet.path, file, rows=_COMPARED_ROWS)
            at = f"<small>kimg {sheet.kimg:g}</small>" if label == "newest" else ""
            alt = f"{name}: seeds 0 to 15 after {sheet.kimg:g} thousand images"
            cells.append(f"<td>{picture.tag(alt)}{at}</td>")
        body.append(f"<tr><th>{text(label)}</th>{''.join(cells)}</tr>")
    return (
        "<p>Seeds 0 to 15 of every run, after the same number of images.</p>"
        f'<div class="scroll"><table class="compared"><thead><tr><th></th>{heads}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def draw_slider_sheets(run: RunRecord, pictures: PictureFolder, count: int) -> str:
    """The newest slider sheet, and earlier ones folded away."""
    if not run.sliders:
        return ""
    *earlier, newest = spread(run.sliders, max(2, count // 2))
    first = _figure(pictures, newest, f"sliders-{_tag(newest)}", f"kimg {newest.kimg:g}")
    rest = "".join(
        _figure(pictures, sheet, f"sliders-{_tag(sheet)}", f"kimg {sheet.kimg:g}")
        for sheet in earlier
    )
    return (
        "<h3>Every slider over its range</h3><p>One seed; each row moves one slider, all else is "
        f'held.</p><div class="gallery wide tall">{first}</div>'
        + folded("Earlier in training", f'<div class="gallery">{rest}</div>' if rest else "")
    )


def compare_slider_sheets(
    runs: Sequence[RunRecord], names: Sequence[str], pictures: PictureFolder
) -> str:
    """The newest slider sheet of every run that has sliders."""
    figures = "".join(
        _figure(
            pictures,
            run.sliders[-1],
            f"run{number}-sliders-{_tag(run.sliders[-1])}",
            f"{name}, kimg {run.sliders[-1].kimg:g}",
        )
        for number, (run, name) in enumerate(zip(runs, names, strict=True))
        if run.sliders
    )
    return f'<div class="gallery tall">{figures}</div>' if figures else ""


def _figure(pictures: PictureFolder, sheet: Sheet, name: str, caption: str) -> str:
    picture = pictures.add(sheet.path, name)
    return f"<figure>{picture.tag(caption)}<figcaption>{text(caption)}</figcaption></figure>"


def _sheet_at(sheets: Sequence[Sheet], kimg: float) -> Sheet | None:
    return next((sheet for sheet in sheets if sheet.kimg == kimg), None)


def _tag(sheet: Sheet) -> str:
    """As in the run: ``kimg0010.0``."""
    return sheet.path.stem.removesuffix("-sliders")
