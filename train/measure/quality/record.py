"""Stored scores: one JSON line each, with everything that the value depends on."""

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
from segan.runtime.files.target import FileKind, check_file, json_kind
from segan.train.measure.models.model import ModelRecord

#: Name of the file in a run's folder.
SCORES = "metrics.jsonl"
#: Name of the file that holds what each slider controls.
CONTROL = "control.json"


class DetectorRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The network that computed features: its name and the sha256 of its file or weights."""

    name: str
    sha256: str


class DataRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The real images.

    Attributes:
        name: of the data set.
        fingerprint: sha256 of their pixels and labels; the detector's sha256 for moments that are
            stored with a detector.
        images: number of compared images; None where it is unknown.
    """

    name: str
    fingerprint: str
    images: int | None


class Protocol(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a score was measured.

    Attributes:
        n: generated images, or pairs of them.
        seeds: ``0-49999``.
        psi: truncation strength; 1 = off.
        noise: ``const``, ``random`` or ``none``.
        resize: how images were resized for the detector.
        detector: the network; None for a metric without one.
        backend: ``torch`` for a checkpoint, else the backend's name.
        precision: of the computation of images.
        data: the real images; None for a metric without them.
        against: the other model, in the record of a difference; absent in others.
        settings: further settings that the value depends on; absent where there are none.
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
        value: the metric's main number.
        values: several numbers by name, or empty.
        interval: 95 % interval of the resampled values; None without resamples.
        intervals: 95 % intervals of several numbers by name, for metrics that resample themselves.
        protocol: how it was measured.
        model: that was measured.
        seconds: duration, shared passes included.
        segan: version.
        time: of completion, UTC.
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
    """Return the path of a model's scores: in its run's folder, or next to the bundle.

    Args:
        model: path of the checkpoint's folder or the bundle.
        kind: ``checkpoint`` or ``bundle``.

    Returns:
        None for the model that ships with segan, next to which nothing is written.
    """
    path = Path(model)
    if kind == "checkpoint":
        folder = path.absolute().parent
        return (folder.parent if folder.name == "checkpoints" else folder) / SCORES
    if is_shipped(path):
        return None
    return path.with_name(f"{path.name.removesuffix('.zip').removesuffix('.segan')}.{SCORES}")


def control_file(scores: Path) -> Path:
    """Return the path of a model's table of sliders: ``control.json`` next to its scores.

    Args:
        scores: ``metrics.jsonl``, ``NAME.metrics.jsonl`` (gives ``NAME.control.json``) or another.
    """
    stem = scores.name.removesuffix(SCORES).removesuffix(".jsonl").rstrip(".")
    return scores.with_name(f"{stem}.{CONTROL}" if stem else CONTROL)


def segan_version() -> str:
    """Return the installed version."""
    return version("segan")


def now() -> str:
    """Return the time in UTC, such as ``2026-05-01T12:00:00Z``."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def append_scores(path: Path, records: Sequence[ScoreRecord]) -> None:
    """Append lines to a file, which is created if missing.

    All lines are written at once, under a lock, and a failed write is undone. So a killed process
    leaves no incomplete line, and two processes lose no lines. If the file ends with an incomplete
    line of another program, a line break is written first.

    Raises:
        OutputError: the file cannot be written.
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


def is_scores(path: Path) -> bool:
    """Return whether a file is of JSON lines, to which scores may be appended."""
    with open(path, "rb") as file:
        for line in file:
            with contextlib.suppress(msgspec.DecodeError, RecursionError):
                if isinstance(msgspec.json.decode(line), dict):
                    return True
    return False


def check_out(out: Path, sources: Sequence[Path | None]) -> None:
    """Check, before minutes of measuring, that scores may be appended to a file.

    Args:
        out: the file, which may be missing.
        sources: what is measured, and what it is compared with.

    Raises:
        OutputError: it or the table of sliders beside it is something else, or is a source.
    """
    check_file(out, FileKind("a file of scores", is_scores), overwrite=True, sources=sources)
    table = json_kind("a table of sliders", "format", "sliders")
    check_file(control_file(out), table, overwrite=True, sources=sources)


def read_scores(path: Path) -> list[ScoreRecord]:
    """Return the scores of a file, oldest first; empty for a missing file.

    Args:
        path: of a ``metrics.jsonl``. Lines that are not scores are ignored.
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
