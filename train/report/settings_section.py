"""The settings of a report's runs: what differs, and all of them folded away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from segan.train.config import encode_config, flat_settings
from segan.train.report.markup import Cell, folded, table, text
from segan.train.report.named_settings import deviations
from segan.train.report.run_record import RunRecord


def draw_settings(run: RunRecord) -> str:
    """What differs from the preset, and the whole configuration."""
    config = run.config
    differing = deviations(config)
    if differing is None:
        head = f"<p>Preset {text(config.preset)}, which this segan does not know.</p>"
    elif not differing:
        head = f"<p>All of preset <b>{text(config.preset)}</b>, for these images.</p>"
    else:
        rows = [
            [Cell(own.field), Cell(_shown(own.preset)), Cell(_shown(own.value))]
            for own in differing
        ]
        head = f"<p>Preset <b>{text(config.preset)}</b>, but for:</p>" + table(
            ("setting", "preset", "this run"), rows, row_heads=True
        )
    return f"<p>Trained on {text(run.data)}.</p>{head}" + _whole(run, "The whole configuration")


def compare_settings(runs: Sequence[RunRecord], names: Sequence[str]) -> str:
    """Settings in which the runs differ, side by side, and each one's whole configuration."""
    settings = [flat_settings(run.config) for run in runs]
    rows = [
        [Cell("data"), *(Cell(run.data) for run in runs)],
        *(
            [Cell(field), *(Cell(_shown(own[field])) for own in settings)]
            for field in settings[0]
            if any(own[field] != settings[0][field] for own in settings)
        ),
    ]
    if len({run.data for run in runs}) == 1:
        rows = rows[1:]
    whole = "".join(_whole(run, name) for run, name in zip(runs, names, strict=True))
    if not rows:
        return f"<p>All settings are the same.</p>{whole}"
    return table(("setting", *names), rows, row_heads=True) + whole


def _whole(run: RunRecord, title: str) -> str:
    return folded(title, f"<pre>{text(encode_config(run.config).decode())}</pre>")


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
