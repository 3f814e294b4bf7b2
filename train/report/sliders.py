"""What a run's sliders do: how far each moves the image, what it controls, and the sheets."""

from __future__ import annotations

from collections.abc import Callable

from segan.runtime.pages.axis import number_text
from segan.runtime.pages.markup import Cell, table, text
from segan.train.report.measured import Control, Estimate, estimate_of
from segan.train.report.run_record import RunRecord, finite

#: As in segan.train.loop.watch.monitor, which imports torch.
DEAD_BELOW = 0.01


def draw_effects(run: RunRecord) -> str:
    """The newest effect of every coordinate, a row for each subspace, darker where it is larger."""
    rows = run.last("effects")
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        return ""
    values = [[finite(value) for value in row] for row in rows]
    known = [value for row in values for value in row if value is not None]
    names = run.coordinate_names()
    if not known or len(names) != len(values):
        return ""
    widest = max(len(row) for row in values)
    largest = max(*known, DEAD_BELOW)
    lines = []
    for name, row in zip(names, values, strict=True):
        cells = []
        for value in row:
            if value is None:
                cells.append("<td>–</td>")
            elif value < DEAD_BELOW:
                cells.append(f'<td class="dead">{number_text(value, 2)}</td>')
            else:
                cells.append(f'<td class="heat" style="--v:{value / largest:.3f}">{value:.3f}</td>')
        cells += ["<td></td>"] * (widest - len(row))
        lines.append(f"<tr><th>{text(name)}</th>{''.join(cells)}</tr>")
    heads = "".join(f'<th class="number">D{dim}</th>' for dim in range(widest))
    return (
        "<h3>How far each coordinate moves the image</h3>"
        "<p>Root mean square over pixels in [−1, 1] when it goes from −1 to 1, at the newest "
        f"checkpoint. Below {DEAD_BELOW:g} it is dead.</p>"
        f'<div class="scroll"><table class="effects"><thead><tr><th></th>{heads}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def draw_control(control: Control | None) -> str:
    """The sliders by what they control, the strongest first; empty without scores."""
    if control is None:
        return ""
    ordered = sorted(
        control.sliders, key=lambda score: -abs(estimate_of(score.effect).value or 0.0)
    )
    rows = [
        [
            Cell(score.slider),
            Cell("dead" if score.dead else score.attribute or "–", mark="dead" * score.dead),
            Cell(_spelled(score.effect, _deviations), number=True),
            Cell(_spelled(score.leakage, _percent), number=True),
        ]
        for score in ordered
    ]
    figures = [
        f"{name} {_spelled(value, _deviations)}"
        for name, value in (
            ("attributes controlled", control.controlled),
            ("disentanglement", control.measured_disentanglement),
            ("completeness", control.measured_completeness),
        )
        if estimate_of(value).value is not None
    ]
    about = f"{'; '.join(figures)}." if figures else ""
    note = (
        "Effect: change of the main attribute from one end of the slider to the other, in standard "
        "deviations of the data. Leakage: the share of the slider's effect on other attributes. "
    )
    return f"<h3>What each slider controls</h3><p>{text(note + about)}</p>" + table(
        ("slider", "main attribute", "#effect", "#leakage"), rows, row_heads=True
    )


def _spelled(value: float | Estimate | None, show: Callable[[float], str]) -> str:
    """The figure with its interval, as ``3.1 (2.9 to 3.3)``."""
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
