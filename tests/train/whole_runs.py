"""A whole run of a second, gone on with and compared: what the tests of the loop share."""

from __future__ import annotations

from pathlib import Path

import torch

from segan.train.data.dataset import ImageDataset
from segan.train.loop.resume import resume_point
from segan.train.loop.trainer import Trainer
from segan.train.loop.transfer import Source
from segan.train.runs.checkpoint import list_checkpoints
from segan.train.runs.config import TrainConfig
from segan.train.runs.folder import new_run_folder
from segan.train.runs.tensors import read_tensors

CPU = torch.device("cpu")


def train(
    runs: Path,
    config: TrainConfig,
    data: ImageDataset,
    *,
    initial: Source | None = None,
    stop_after: int | None = None,
    pictures: bool = False,
) -> Path:
    """Trains in a new folder under ``runs``; returns it."""
    run = new_run_folder(runs, config, data.name)
    trainer = Trainer(
        run, config, data, device=CPU, initial=initial, tensorboard=False, pictures=pictures
    )
    for number, _ in enumerate(trainer.steps(), 1):
        if number == stop_after:
            trainer.request_stop()
    return run


def go_on(run: Path, data: ImageDataset, checkpoint: Path | None = None) -> None:
    """Resumes a run, from its newest checkpoint or the one that is given, to its end."""
    point = resume_point(checkpoint or run)
    trainer = Trainer(
        point.run,
        point.config,
        data,
        device=CPU,
        checkpoint=point.checkpoint,
        tensorboard=False,
        pictures=False,
    )
    for _ in trainer.steps():
        pass


def assert_same_weights(one: Path, two: Path) -> None:
    """Compares all tensors of two runs' newest checkpoints, bit for bit."""
    for name in ("generator.safetensors", "training.safetensors"):
        a, b = (read_tensors(list_checkpoints(run)[-1] / name) for run in (one, two))
        assert a.keys() == b.keys()
        assert [key for key in a if not torch.equal(a[key], b[key])] == []
