"""The new run that a refused ``segan train --resume`` can be: the run's weights, other settings."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from segan.cli.train_settings import SETTINGS
from segan.runtime.commands import command
from segan.runtime.errors import CheckpointError, ConfigError, SeganError

#: Options whose layers have other shapes, or that only the resumed run has.
_NOT_WITH_WEIGHTS = ("preset", "architecture")
_OF_RESUMING = ("resume", "runs", "initial_checkpoint", "as_json", "device")


@contextlib.contextmanager
def offering_a_new_run(resume: Path | None, given: Mapping[str, Any]) -> Iterator[None]:
    """Within it, errors of a resumed run with other data or settings name the new run to start.

    Args:
        resume: the run or checkpoint; None = no run is resumed.
        given: the options that the user wrote, by name.
    """
    try:
        yield
    except (ConfigError, CheckpointError) as error:
        places = {SETTINGS.get(name, name) for name in given}
        if resume is not None and error.field in places:
            with contextlib.suppress(SeganError):
                words = new_run_words(resume, given, click.get_current_context().command)
                shown = command("train", *words)
                error.remedy = f"{error.remedy} A new run with its weights: {shown}".strip()
        raise


def new_run_words(resume: Path, given: Mapping[str, Any], train: click.Command) -> list[object]:
    """Return the options of a new run that has the weights, data and settings of another.

    Args:
        resume: the run or checkpoint whose weights it takes.
        given: options by name, in place of the run's own.
        train: the command, which knows how options are written.

    Raises:
        SeganError: there is no such run: it has no checkpoint, or a value is out of its range, or
            its layers would have other shapes.
    """
    from segan.train.runs.checkpoint import read_meta, resolve_checkpoint
    from segan.train.runs.config import flat_settings
    from segan.train.runs.presets import preset
    from segan.train.runs.settings import replace_settings

    checkpoint = resolve_checkpoint(resume)
    config = read_meta(checkpoint).config
    for name in _NOT_WITH_WEIGHTS:
        if name in given:
            raise ConfigError(field=name, value=given[name], expected="the run's own")
    network = config.network
    shape: dict[str, Any] = {"img_channels": network.img_channels, "c_dim": network.c_dim}
    base = preset(config.preset, resolution=network.resolution, **shape)
    usual, own = flat_settings(base), flat_settings(config)
    chosen: dict[str, Any] = {"initial_checkpoint": resume}
    chosen |= _data(checkpoint.parent.parent) if "data" not in given else {}
    if config.preset != "tiny":
        chosen["preset"] = config.preset
    if network.c_dim:
        chosen["cond"] = True
    for name, place in SETTINGS.items():
        if name not in ("preset", "cond", "resolution") and own[place] != usual[place]:
            chosen[name] = own[place]
    chosen |= {name: value for name, value in given.items() if name not in _OF_RESUMING}
    settings = {SETTINGS[name]: value for name, value in chosen.items() if name in SETTINGS}
    for place in ("preset", "network.c_dim", "network.resolution"):
        settings.pop(place, None)
    if settings.get("compute.precision") == "auto":
        settings.pop("compute.precision")
    replace_settings(base, settings)  # refuses a value that is out of its range
    return _written(chosen, train)


def _data(run: Path) -> dict[str, Any]:
    """The options of the run's data."""
    from segan.train.runs.folder import DATA

    try:
        record = json.loads((run / DATA).read_bytes())
        if "path" in record:
            path = Path(record["path"])
            here = Path.cwd()
            return {"data": path.relative_to(here) if path.is_relative_to(here) else path}
        found = record["faces"]
        return {"faces": int(found["faces"]), "resolution": int(found["resolution"])}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _written(chosen: Mapping[str, Any], train: click.Command) -> list[object]:
    words: list[object] = []
    for option in train.params:
        if option.name not in chosen or not isinstance(option, click.Option):
            continue
        value, name = chosen[option.name], max(option.opts, key=len)
        if option.is_flag:
            words += [name] if value else []
        elif value is not None:
            words += [name, f"{value:g}" if isinstance(value, float) else value]
    return words
