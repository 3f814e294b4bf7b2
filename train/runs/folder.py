"""The folder of a run: its number and name, its configuration and its log."""

from __future__ import annotations

import contextlib
import json
import os
import re
from pathlib import Path
from typing import Any

import msgspec

from segan.runtime.errors import CheckpointError, ConfigError
from segan.runtime.files.atomic import make_folder, output_error, write_atomic
from segan.train.runs.config import TrainConfig, config_differences, decode_config, encode_config

CONFIG, DATA, LOG = "config.json", "data.json", "log.jsonl"
#: Settings that a resumed run may change: when it ends, what it keeps, and how a batch is divided.
MAY_CHANGE = ("total_kimg", "keep_checkpoints", "compute.micro_batch")


def new_run_folder(
    runs: Path, config: TrainConfig, data_name: str, source: dict[str, Any] | None = None
) -> Path:
    """Make ``RUNS/00000-DATA-modeM-PRESET`` with the next free number.

    Args:
        runs: folder of all runs.
        config: written to config.json, last, so that a folder with a config.json is complete.
        data_name: for the folder's name.
        source: the origin of the data, written to data.json for resuming.

    Raises:
        OutputError: it cannot be written.
    """
    make_folder(runs)
    kind = "" if config.subspace.kind == "eigen" else f"-{config.subspace.kind}"
    safe = re.sub(r"[^A-Za-z0-9_.]+", "_", data_name)[:40] or "data"
    label = f"{safe}-mode{config.subspace.mode}{kind}-{config.preset}"
    number = 0
    for path in runs.iterdir():
        match = re.match(r"(\d{5,})-", path.name)
        if match:
            number = max(number, int(match[1]) + 1)
    while True:
        folder = runs / f"{number:05d}-{label}"
        try:
            folder.mkdir()
        except FileExistsError:  # another process took the number
            number += 1
            continue
        except OSError as error:
            raise output_error(folder, error) from error
        break
    if source is not None:
        write_atomic(folder / DATA, json.dumps(source, indent=2).encode() + b"\n")
    write_config(folder, config)
    return folder


def read_config(run: Path) -> TrainConfig:
    """Read the run's config.json.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    path = run / CONFIG
    remedy = "Restore it, or start a new run."
    try:
        return decode_config(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(
            f"{run} is not a training run ({CONFIG} is missing)",
            field="run",
            value=run,
            remedy="Give a folder under runs/.",
        ) from None
    except OSError as error:
        problem = f"{path} cannot be read: {error.strerror}"
        raise CheckpointError(problem, field="run", value=run, remedy=remedy) from None
    except ConfigError as error:
        raise CheckpointError(
            f"{path}: {error.problem}",
            field=error.field,
            value=error.value,
            expected=error.expected,
            remedy=f"{error.remedy} {remedy}".strip(),
        ) from None


def write_config(run: Path, config: TrainConfig) -> None:
    """Replace the run's config.json. Raises: OutputError."""
    write_atomic(run / CONFIG, encode_config(config))


def with_changes(config: TrainConfig, changed: TrainConfig) -> TrainConfig:
    """Return ``config`` with the settings that a resumed run may change from ``changed``."""
    replace = msgspec.structs.replace
    return replace(
        config,
        total_kimg=changed.total_kimg,
        keep_checkpoints=changed.keep_checkpoints,
        compute=replace(config.compute, micro_batch=changed.compute.micro_batch),
    )


def changed_settings(old: TrainConfig, new: TrainConfig) -> dict[str, tuple[Any, Any]]:
    """Return the settings that differ but may not, by place: values in ``old`` and ``new``."""
    found = config_differences(old, new)
    return {place: values for place, values in found.items() if place not in MAY_CHANGE}


class RunLog:
    """``log.jsonl``: one JSON object for each tick.

    Args:
        run: the run's folder.
        cur_nimg: lines past this progress are dropped, since a resumed run writes them again.
    """

    def __init__(self, run: Path, cur_nimg: int) -> None:
        self.path = run / LOG
        kept = [line for line in read_log(run) if line["nimg"] <= cur_nimg]
        write_atomic(self.path, b"".join(json.dumps(line).encode() + b"\n" for line in kept))

    def write(self, entry: dict[str, Any]) -> None:
        """Append a line, completely or not at all. Raises: OutputError."""
        size = None
        try:
            with open(self.path, "ab") as file:
                size = file.tell()
                file.write(json.dumps(entry).encode() + b"\n")
        except OSError as error:
            if size is not None:
                with contextlib.suppress(OSError):
                    os.truncate(self.path, size)
            raise output_error(self.path, error) from error


def read_log(run: Path) -> list[dict[str, Any]]:
    """Return the log's entries; damaged lines, as a crash leaves them, are left out."""
    try:
        text = (run / LOG).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    entries = []
    for line in text.splitlines():
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, dict) and isinstance(entry.get("nimg"), int):
            entries.append(entry)
    return entries
