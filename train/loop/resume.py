"""The point where a run continues, and checks that data and checkpoint fit it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from segan.runtime.errors import CheckpointError, ConfigError, DataError
from segan.train.data.dataset import ImageDataset
from segan.train.loop.state_tensors import load_training_tensors
from segan.train.loop.step import TrainingState
from segan.train.runs.checkpoint import (
    GENERATOR,
    TRAINING,
    check_file,
    list_checkpoints,
    read_meta,
    resolve_checkpoint,
)
from segan.train.runs.config import TrainConfig, show_differences
from segan.train.runs.folder import CONFIG, changed_settings, read_config, read_log, with_changes
from segan.train.runs.tensors import matching_state, read_tensors


class ResumePoint(NamedTuple):
    """Where a run continues.

    Attributes:
        run: its folder.
        checkpoint: its checkpoint; None where it ended before the first.
        config: the checkpoint's settings, with those that a resumed run may change from the run's
            config.json.
    """

    run: Path
    checkpoint: Path | None
    config: TrainConfig


def resume_point(path: Path) -> ResumePoint:
    """Find where a run or checkpoint can continue.

    Raises:
        CheckpointError: it is neither, is damaged, lies outside its run, or differs from its run in
            its settings.
    """
    if (path / CONFIG).exists() and not list_checkpoints(path):
        config = read_config(path)
        _check_never_saved(path, config)
        if config.initial_sha256:
            raise CheckpointError(
                f"{path} has no checkpoint, and it started with the weights of another run (sha256 "
                f"{config.initial_sha256[:16]})",
                field="run",
                value=path,
                remedy="Start a new run with the same `initial_checkpoint`.",
            )
        return ResumePoint(path, None, config)
    checkpoint = resolve_checkpoint(path)
    named = checkpoint != path and checkpoint.parent.parent == path
    run = path if named else checkpoint.resolve().parent.parent
    if not (run / CONFIG).exists():
        raise CheckpointError(
            f"{checkpoint} is not inside a run's folder, where training continues",
            field="run",
            value=path,
            remedy="Put it back to RUN/checkpoints/.",
        )
    config, own = read_meta(checkpoint).config, read_config(run)
    changed = changed_settings(config, own)
    shown = "; ".join(show_differences(changed))
    if changed:
        raise CheckpointError(
            f"{checkpoint} and {run / CONFIG} have different settings ({shown})",
            field="run",
            value=path,
            remedy="Use a checkpoint of this run, restore its configuration, or start a new run.",
        )
    return ResumePoint(run, checkpoint, with_changes(config, own))


def _check_never_saved(run: Path, config: TrainConfig) -> None:
    """Raise CheckpointError where a run without a checkpoint must have had one before.

    Training from the start would empty its log.
    """
    folder = run / "checkpoints"
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    if folder.exists() and not folder.is_dir():
        problem = f"{folder} is not a folder"
    elif names := [path.name for path in found if not path.name.startswith(".")]:
        problem = f"{folder} holds {', '.join(names[:3])}, but no complete checkpoint"
    else:
        reached = [entry["nimg"] for entry in read_log(run)]
        due = [nimg for nimg in reached if nimg >= config.snapshot_kimg * 1000]
        # The first of these is logged before its checkpoint is written.
        if len(due) < 2:
            return
        problem = (
            f"{run} has no checkpoint, but its log reaches kimg {due[-1] / 1000:g} and it saves "
            f"every {config.snapshot_kimg:g}"
        )
    raise CheckpointError(
        problem,
        field="run",
        value=run,
        remedy=f"Put its checkpoints back to {folder}, or start a new run: starting again here "
        "would empty its log.",
    )


def check_data_fits(config: TrainConfig, dataset: ImageDataset) -> None:
    """Raise ConfigError or DataError where the data does not fit the configuration."""
    network = config.network

    def refuse(problem: str, expected: str, remedy: str) -> DataError:
        return DataError(
            f"{dataset.name} has {problem}",
            field="data",
            value=dataset.name,
            expected=expected,
            remedy=remedy,
        )

    size = f"--resolution {network.resolution}"
    convert = f"Convert the images with 'segan data convert' and {size}"
    if dataset.resolution != network.resolution:
        problem = f"images of {dataset.resolution}²"
        raise refuse(problem, f"{network.resolution}², as the run has", f"{convert}.")
    if dataset.img_channels != network.img_channels:
        expected = f"{network.img_channels}, as the run has"
        channels = f"{convert} --channels {network.img_channels}."
        raise refuse(f"{dataset.img_channels} channels", expected, channels)
    if network.c_dim:
        labels = "Convert a folder with one sub-folder for each class, or train without labels."
        if dataset.labels is None:
            raise refuse("no labels", f"{network.c_dim} classes, as the run has", labels)
        if len(dataset.class_names) != network.c_dim:
            problem = f"{len(dataset.class_names)} classes"
            raise refuse(problem, f"{network.c_dim}, as the run has", labels)
    if len(dataset) < config.batch_size:
        count = f"{len(dataset)} image{'' if len(dataset) == 1 else 's'}"
        raise ConfigError(
            f"`batch_size` is {config.batch_size}, but {dataset.name} contains only {count}",
            field="batch_size",
            value=config.batch_size,
            expected=f"at most {len(dataset)}",
            remedy=f"Pass `batch_size {len(dataset)}`.",
        )


def restore(state: TrainingState, checkpoint: Path, dataset: ImageDataset) -> None:
    """Load a checkpoint into a fresh state of the same run.

    Raises:
        CheckpointError: it is damaged, or has another network, data set or setting.
    """
    meta = read_meta(checkpoint)
    changed = changed_settings(meta.config, state.config)
    shown = "; ".join(show_differences(changed))
    if changed:
        raise CheckpointError(
            f"{checkpoint} was trained with other settings ({shown})",
            field="checkpoint",
            value=checkpoint,
            remedy="Resume without changing them, or start a new run.",
        )
    if meta.data_fingerprint != dataset.fingerprint:
        raise CheckpointError(
            f"{checkpoint} was trained on other data ({meta.name}) than {dataset.name}",
            field="data",
            value=dataset.name,
            remedy="Pass the same `data`, or start a new run.",
        )
    ema = read_tensors(check_file(checkpoint, meta, GENERATOR))
    state.ema.load_state_dict(
        matching_state(ema, state.ema.state_dict(), str(checkpoint / GENERATOR))
    )
    training = check_file(checkpoint, meta, TRAINING)
    load_training_tensors(state, read_tensors(training), training)
    state.cur_nimg, state.step = meta.cur_nimg, meta.step
