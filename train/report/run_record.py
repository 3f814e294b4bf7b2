"""A run as a report needs it, read from the run's folder."""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from segan.runtime.errors import CheckpointError
from segan.runtime.pages.axis import Point
from segan.train.report.measured import (
    CONTROL,
    METRICS,
    Control,
    Metric,
    read_control,
    read_metrics,
)
from segan.train.runs.checkpoint import SCORE, list_checkpoints, read_meta
from segan.train.runs.config import TrainConfig
from segan.train.runs.folder import CONFIG, DATA, read_config, read_log

_SHEET = re.compile(r"kimg(\d+(?:\.\d+)?)(-sliders)?\.png")


class SavedCheckpoint(NamedTuple):
    """A checkpoint that still exists; swd is None if it was not measured."""

    path: Path
    kimg: float
    swd: float | None


class Sheet(NamedTuple):
    """A picture that training drew, and when."""

    kimg: float
    path: Path


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One run.

    Attributes:
        path: the run's folder.
        config: its settings.
        data: what it was trained on, in words.
        entries: lines of its log, oldest first.
        checkpoints: those that still exist, oldest first.
        samples: sample sheets, earliest first.
        sliders: slider sheets, earliest first; none in mode 0.
        metrics: lines of its metrics.jsonl.
        control: its control scores; None for none.
    """

    path: Path
    config: TrainConfig
    data: str
    entries: tuple[Mapping[str, Any], ...]
    checkpoints: tuple[SavedCheckpoint, ...]
    samples: tuple[Sheet, ...]
    sliders: tuple[Sheet, ...]
    metrics: tuple[Metric, ...]
    control: Control | None

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.resolve().name

    @property
    def kimg(self) -> float:
        """The progress in thousand images."""
        last = self.entries[-1]["nimg"] / 1000 if self.entries else 0.0
        return max([last, *(saved.kimg for saved in self.checkpoints)])

    @property
    def complete(self) -> bool:
        """Whether the run reached its length."""
        return self.kimg >= self.config.total_kimg

    @property
    def best(self) -> SavedCheckpoint | None:
        """The checkpoint with the lowest swd, the oldest of equal ones; None without scores."""
        scored = [saved for saved in self.checkpoints if saved.swd is not None]
        return min(scored, key=lambda saved: saved.swd or 0.0, default=None)

    def points(self, field: str) -> list[Point]:
        """Return (kimg, value) of the log's lines with a finite number in ``field``."""
        found = []
        for entry in self.entries:
            value = finite(entry.get(field))
            if value is not None:
                found.append((entry["nimg"] / 1000, value))
        return found

    def swd(self) -> list[Point]:
        """Return (kimg, sliced Wasserstein distance) of the log and of existing checkpoints."""
        kept = {saved.kimg: saved.swd for saved in self.checkpoints if saved.swd is not None}
        return sorted((kept | dict(self.points(SCORE))).items())

    def number(self, field: str) -> float | None:
        """Return the field's newest finite number, or None."""
        points = self.points(field)
        return points[-1][1] if points else None

    def last(self, field: str) -> Any:
        """Return the field's newest value, or None."""
        return next((entry[field] for entry in reversed(self.entries) if field in entry), None)

    def seconds_by_phase(self) -> dict[str, float]:
        """Return the seconds of each phase, and of all else as ``other``, over the whole log."""
        sums: dict[str, float] = {}
        for entry in self.entries:
            for field, value in entry.items():
                number = finite(value)
                if field.startswith("seconds/") and number is not None:
                    name = field.removeprefix("seconds/")
                    sums[name] = sums.get(name, 0.0) + number
        # A tick consists of its data and its step, whose phases are logged one by one, and little
        # else. Scoring and saving follow the tick.
        total = sums.pop("tick", 0.0)
        sums.pop("step", None)
        named = sum(value for name, value in sums.items() if name != SCORE)
        other = max(0.0, total - named)
        return sums | ({"other": other} if sums else {})

    def coordinate_names(self) -> list[str]:
        """Return the subspaces' names in table order, such as L0N0."""
        table = self.config.subspace.table(self.config.network)
        return [f"L{entry.layer}N{entry.index}" for entry in table]


def finite(value: object) -> float | None:
    """Return the value as a float if it is a finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def read_run(run: Path) -> RunRecord:
    """Read the folder of a run, complete or not.

    Raises:
        CheckpointError: the folder is not a run, or its config.json is damaged.
        DataError: metrics.jsonl or control.json is damaged.
    """
    if not run.is_dir():
        raise CheckpointError(
            f"{run} {'is a file' if run.exists() else 'does not exist'}",
            field="runs",
            value=run,
            expected="the folder of a run, such as runs/00000-faces-mode2-tiny",
        )
    parent = run.resolve().parent.parent
    if not (run / CONFIG).exists() and (parent / CONFIG).exists():
        raise CheckpointError(
            f"{run} is inside a run",
            field="runs",
            value=run,
            expected="the folder of a run",
            remedy=f"Pass {parent}.",
        )
    config = read_config(run)
    samples, sliders = _sheets(run)
    return RunRecord(
        path=run,
        config=config,
        data=_data(run),
        entries=tuple(read_log(run)),
        checkpoints=_checkpoints(run),
        samples=samples,
        sliders=sliders,
        metrics=read_metrics(run / METRICS) if (run / METRICS).exists() else (),
        control=read_control(run / CONTROL) if (run / CONTROL).exists() else None,
    )


def _checkpoints(run: Path) -> tuple[SavedCheckpoint, ...]:
    found = []
    for path in list_checkpoints(run):
        # Damaged checkpoints, and those that training removes meanwhile, are left out.
        with contextlib.suppress(CheckpointError):
            meta = read_meta(path)
            found.append(
                SavedCheckpoint(path, meta.cur_nimg / 1000, finite(meta.scores.get(SCORE)))
            )
    return tuple(found)


def _sheets(run: Path) -> tuple[tuple[Sheet, ...], tuple[Sheet, ...]]:
    """Sample sheets and slider sheets, earliest first."""
    samples: list[Sheet] = []
    sliders: list[Sheet] = []
    folder = run / "samples"
    for path in folder.iterdir() if folder.is_dir() else ():
        match = _SHEET.fullmatch(path.name)
        if match:
            (sliders if match[2] else samples).append(Sheet(float(match[1]), path))
    return tuple(sorted(samples)), tuple(sorted(sliders))


def _data(run: Path) -> str:
    """The data in words, from data.json; "unknown" if the file is missing or damaged."""
    try:
        record = json.loads((run / DATA).read_bytes())
        if "path" in record:
            return str(record["path"])
        faces = record["faces"]
        text = f"{int(faces['faces']):,} built-in faces of {int(faces['resolution'])}²"
        return text + (f", by {faces['labels']}" if faces.get("labels") else "")
    except (OSError, ValueError, KeyError, TypeError):
        return "unknown"
