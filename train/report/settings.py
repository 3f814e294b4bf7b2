"""The settings of a report's runs: names by what differs, differences, whole configurations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from segan.runtime.errors import ConfigError
from segan.runtime.pages.parts import Cell, table
from segan.runtime.pages.template import render
from segan.train.report.run_record import RunRecord
from segan.train.runs.config import TrainConfig, encode_config, flat_settings
from segan.train.runs.presets import preset

#: Settings that do not distinguish experiments.
_HOW_LONG = ("total_kimg", "kimg_per_tick", "snapshot_kimg", "keep_checkpoints", "metric_images")

#: Settings that _distinctions names in their own words.
_NAMED_APART = ("subspace.mode", "subspace.kind", "network.resolution", "network.c_dim", "preset")

#: Most differences in a run's name.
_MOST = 4


class Deviation(NamedTuple):
    """A setting whose value is not the preset's."""

    field: str
    preset: Any
    value: Any


def deviations(config: TrainConfig) -> list[Deviation] | None:
    """Return the settings that differ from the preset for the same data; None if it is unknown."""
    network = config.network
    try:
        base = preset(
            config.preset,
            resolution=network.resolution,
            img_channels=network.img_channels,
            c_dim=network.c_dim,
        )
    except ConfigError:
        return None
    before = flat_settings(base)
    return [
        Deviation(field, before[field], value)
        for field, value in flat_settings(config).items()
        if before[field] != value
    ]


def run_names(runs: Sequence[RunRecord]) -> list[str]:
    """Return a name for each run by what distinguishes it, as ``mode 2 eigen, seed 1``.

    All names differ.
    """
    parts = [_distinctions(run) for run in runs]
    missing = object()
    differing = [
        field
        for field in dict.fromkeys(field for own in parts for field in own)
        if any(own.get(field, missing) != parts[0].get(field, missing) for own in parts)
    ]
    names = []
    for run, own in zip(runs, parts, strict=True):
        # A field that only other runs change from the preset is looked up in the settings.
        settings = flat_settings(run.config)
        words = [own.get(field) or _words(field, settings.get(field)) for field in differing]
        names.append(", ".join(words[:_MOST]))
    numbers = [f"run {run.name.partition('-')[0]}" for run in runs]  # as in 00003-faces-mode2
    labels = numbers if len(set(numbers)) == len(runs) else [run.name for run in runs]
    return _distinct(
        [
            name if name and names.count(name) == 1 else f"{name}, {label}".removeprefix(", ")
            for name, label in zip(names, labels, strict=True)
        ]
    )


def _distinct(names: list[str]) -> list[str]:
    """The names, with a number behind those that occur before."""
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return found


def _distinctions(run: RunRecord) -> dict[str, str]:
    """What may distinguish the run: words by field."""
    config = run.config
    network, subspace = config.network, config.subspace
    parts = {
        "preset": f"preset {config.preset}",
        "network.resolution": f"{network.resolution}²",
        "mode": f"mode {subspace.mode}" + (f" {subspace.kind}" if subspace.mode else ""),
        "network.c_dim": f"{network.c_dim} classes" if network.c_dim else "no classes",
        "data": run.data.rpartition("/")[2].partition(" of ")[0],
        "seed": f"seed {config.seed}",
    }
    for deviation in deviations(config) or ():
        field = deviation.field
        if field not in (*_HOW_LONG, *_NAMED_APART, "seed"):
            parts[field] = _words(field, deviation.value)
    return parts


def _words(field: str, value: Any) -> str:
    """``subspace.dims``, 4 → ``dims 4``; ``mirror``, False → ``no mirror``."""
    name = field.replace("compute.", "").replace("subspace.", "").replace("network.", "")
    name = name.replace(".", " ").replace("_", " ")
    if isinstance(value, bool):
        return name if value else f"no {name}"
    return f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"


def draw_settings(run: RunRecord) -> Markup:
    """Return what differs from the preset, and the whole configuration."""
    preset_name, differing = run.config.preset, deviations(run.config)
    differences = Markup()
    if differing is None:
        basis = f"Preset {preset_name}, which this version of segan does not have."
    elif not differing:
        basis = f"All settings are those of preset {preset_name} for these images."
    else:
        basis = f"Preset {preset_name}, except for:"
        rows = [[own.field, _value_text(own.preset), _value_text(own.value)] for own in differing]
        differences = _table(["setting", "preset", "this run"], rows)
    return _render(
        [f"Trained on {run.data}.", basis], differences, [run], ["The whole configuration"]
    )


def compare_settings(runs: Sequence[RunRecord], names: Sequence[str]) -> Markup:
    """Return the settings that differ between runs, and each run's whole configuration."""
    settings = [flat_settings(run.config) for run in runs]
    rows = [
        [field, *(_value_text(own[field]) for own in settings)]
        for field in settings[0]
        if any(own[field] != settings[0][field] for own in settings)
    ]
    if len({run.data for run in runs}) > 1:
        rows.insert(0, ["data", *(run.data for run in runs)])
    if not rows:
        return _render(["All settings are the same."], Markup(), runs, names)
    return _render([], _table(["setting", *names], rows), runs, names)


def _render(
    lines: Sequence[str], differences: Markup, runs: Sequence[RunRecord], titles: Sequence[str]
) -> Markup:
    return render(
        Path(__file__).parent,
        "settings.html",
        lines=lines,
        differences=differences,
        configurations=[
            {"title": title, "text": encode_config(run.config).decode()}
            for run, title in zip(runs, titles, strict=True)
        ],
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    return table([Cell(title) for title in header], [[Cell(text) for text in row] for row in rows])


def _value_text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
