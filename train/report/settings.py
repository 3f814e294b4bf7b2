"""The settings of a report's runs: what differs, and all of them folded away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from segan.runtime.errors import ConfigError
from segan.runtime.pages.markup import Cell, folded, table, text
from segan.train.report.run_record import RunRecord
from segan.train.runs.config import TrainConfig, encode_config, flat_settings
from segan.train.runs.presets import preset

#: Settings that do not make another experiment.
_HOW_LONG = ("total_kimg", "kimg_per_tick", "snapshot_kimg", "keep_checkpoints", "metric_images")

#: Settings that follow from the data and the mode, named in their own words.
_NAMED_APART = ("subspace.mode", "subspace.kind", "network.resolution", "network.c_dim", "preset")

#: Most differences in a run's name.
_MOST = 4


class Deviation(NamedTuple):
    """A setting that is not the preset's."""

    field: str
    preset: Any
    value: Any


def deviations(config: TrainConfig) -> list[Deviation] | None:
    """Settings that differ from the preset for the same data; None for an unknown preset."""
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
    """A name for each run by what sets it apart, as ``mode 2 eigen, seed 1``; all differ."""
    parts = [_parts(run) for run in runs]
    fields = [field for own in parts for field in own]
    missing = object()
    telling = [
        field
        for field in dict.fromkeys(fields)
        if any(own.get(field, missing) != parts[0].get(field, missing) for own in parts)
    ]
    # A field that one run leaves at its preset is named in the others: look it up there.
    names = []
    for run, own in zip(runs, parts, strict=True):
        settings = flat_settings(run.config)
        words = [own.get(field) or _words(field, settings.get(field)) for field in telling[:_MOST]]
        names.append(", ".join(words))
    numbers = _numbers(runs)
    labels = numbers if len(set(numbers)) == len(runs) else [run.name for run in runs]
    return _distinct(
        [
            name if name and names.count(name) == 1 else f"{name}, {label}".removeprefix(", ")
            for name, label in zip(names, labels, strict=True)
        ]
    )


def _numbers(runs: Sequence[RunRecord]) -> list[str]:
    """The numbers that the folders' names begin with, as ``run 00003``."""
    return [f"run {run.name.partition('-')[0]}" for run in runs]


def _distinct(names: list[str]) -> list[str]:
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return found


def _parts(run: RunRecord) -> dict[str, str]:
    """What the run could be named by: field → words."""
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
