"""Scores as they are stored: one JSON line each, with everything that the number depends on."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from segan.runtime.bundle.shipped import is_shipped
from segan.runtime.files.atomic import make_folder, output_error
from segan.runtime.files.lock import locked
from segan.train.measure.models.model import ModelRecord

#: Name of the file in a run's folder.
SCORES = "metrics.jsonl"
#: Name of the file that holds what each slider controls.
CONTROL = "control.json"


class DetectorRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The network that features came from: its name and the sha256 of its file or weights."""

    name: str
    sha256: str


class DataRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The real images.

    Attributes:
        name: of the data set.
        fingerprint: sha256 of their pixels and labels; for moments that are kept with a detector,
            the detector's.
        images: how many were compared; None where that was not kept.
    """

    name: str
    fingerprint: str
    images: int | None


class Protocol(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a score was taken.

    Attributes:
        n: generated images, or pairs of them.
        seeds: ``0-49999``.
        psi: truncation strength; 1 = off.
        noise: ``const``, ``random`` or ``none``.
        resize: what was done to images before the detector saw them.
        detector: the network; None for a metric without one.
        backend: ``torch`` for a checkpoint, else the backend's name.
        precision: what images were computed in.
        data: the real images; None for a metric without them.
        against: the other model, in the record of a difference; absent in others.
        settings: what else the number depends on; absent where there is nothing else.
    """

    n: int
    seeds: str
    psi: float
    noise: str
    resize: str
    detector: DetectorRecord | None
    backend: str
    precision: str
    data: DataRecord | None
    against: ModelRecord | None = None
    settings: dict[str, Any] = {}


class ScoreRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One line of ``metrics.jsonl``.

    Attributes:
        metric: its name; ``NAME.difference`` for an engine's value minus its checkpoint's.
        value: the number that the metric is known for.
        values: several numbers by name, or empty.
        interval: where 95 % of the resampled values lie; None when nothing was resampled.
        intervals: the same of several numbers by name, for metrics that resample by themselves.
        protocol: how it was taken.
        model: of what.
        seconds: that it took, shared passes included.
        segan: version.
        time: when it was finished, UTC.
    """

    metric: str
    value: float
    values: dict[str, float]
    interval: tuple[float, float] | None
    intervals: dict[str, tuple[float, float]] = {}
    protocol: Protocol
    model: ModelRecord
    seconds: float
    segan: str
    time: str


def scores_file(model: str, kind: str) -> Path | None:
    """Where a model's scores are kept: in its run's folder, or beside the bundle.

    Args:
        model: path of the checkpoint's folder or the bundle.
        kind: ``checkpoint`` or ``bundle``.

    Returns:
        None for the model that ships with segan, beside which nothing is written.
    """
    path = Path(model)
    if kind == "checkpoint":
        folder = path.absolute().parent
        return (folder.parent if folder.name == "checkpoints" else folder) / SCORES
    if is_shipped(path):
        return None
    return path.with_name(f"{path.name.removesuffix('.zip').removesuffix('.segan')}.{SCORES}")


def control_file(scores: Path) -> Path:
    """Where a model's table of sliders is kept: beside its scores, ``control.json``.

    Args:
        scores: ``metrics.jsonl``, ``NAME.metrics.jsonl`` (gives ``NAME.control.json``) or another.
    """
    stem = scores.name.removesuffix(SCORES).removesuffix(".jsonl").rstrip(".")
    return scores.with_name(f"{stem}.{CONTROL}" if stem else CONTROL)


def segan_version() -> str:
    """The installed version."""
    return version("segan")


def now() -> str:
    """The time in UTC, such as ``2026-05-01T12:00:00Z``."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def append_scores(path: Path, records: Sequence[ScoreRecord]) -> None:
    """Adds lines to a file, made when it is missing.

    All lines go down in one write, under a lock; a write that fails half-way is taken back. So a
    killed process leaves no torn line, and two processes lose nothing of each other. A line that
    something else left unfinished at the end is ended first, so that ours begins a new one.

    Raises:
        OutputError: it cannot be written.
    """
    make_folder(path.absolute().parent)
    lines = b"".join(msgspec.json.encode(record) + b"\n" for record in records)
    try:
        with open(path, "a+b", buffering=0) as file, locked(path, on_wait=lambda: None):
            size = file.seek(0, os.SEEK_END)
            if size:
                file.seek(-1, os.SEEK_END)
                lines = b"\n" * (file.read(1) != b"\n") + lines
            try:
                if file.write(lines) != len(lines):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(file.fileno())
            except OSError:
                file.truncate(size)
                raise
    except OSError as error:
        raise output_error(path, error) from error


def read_scores(path: Path) -> list[ScoreRecord]:
    """The scores of a file, oldest first; lines that are none are left out, as is a missing file.

    Args:
        path: of a ``metrics.jsonl``.
    """
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        with contextlib.suppress(msgspec.DecodeError, msgspec.ValidationError):
            found.append(msgspec.json.decode(line, type=ScoreRecord))
    return found
