"""Scores beside the rates of ``segan benchmark``: the same seeds on every backend."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from segan.train.measure.quality.engine_scores import EngineScores


def open_scores(
    bundle: Path,
    names: tuple[str, ...],
    data: Path | None,
    detectors: tuple[str, ...],
    threads: int | None,
) -> EngineScores:
    """Everything that can be checked before anything is measured.

    Raises:
        SeganError: an unknown metric, data or a detector that does not fit.
    """
    from segan.train.measure.quality.registry import check_names, parse_metric

    checked = check_names(name for text in names for name in text.split(","))

    from segan.cli.metrics import torch_device
    from segan.train.data.dataset import open_dataset
    from segan.train.measure.models.open import Compute
    from segan.train.measure.quality.detector_files import read_detector_options
    from segan.train.measure.quality.engine_scores import EngineScores

    metrics = [parse_metric(name) for name in checked]
    kinds = [metric.detector for metric in metrics if metric.detector is not None]
    return EngineScores(
        bundle,
        metrics,
        None if data is None else open_dataset(data),
        Compute(threads=threads, device=torch_device("auto")),
        given=read_detector_options(detectors, kinds),
    )


def add_scores(rows: list[dict[str, Any]], scores: EngineScores) -> None:
    """Adds ``metrics`` to each row; rows of one backend and precision share theirs."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        key = (row["backend"], row["precision"])
        if key not in found:
            click.echo(f"scoring {key[0]} {key[1]} ...", err=True)
            found[key] = scores.measure(*key)
        row["metrics"] = found[key]
