"""Where a run goes on, and whether data and checkpoint fit it."""

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
from segan.train.runs.config import TrainConfig
from segan.train.runs.folder import CONFIG, changed_settings, read_config, read_log, with_changes
from segan.train.runs.tensors import matching_state, read_tensors


class ResumePoint(NamedTuple):
    """Where to go on: the run, its checkpoint (None: killed before the first), its settings.

    What a resumed run may change is as the run's config.json has it, the rest as the checkpoint.
    """

    run: Path
    checkpoint: Path | None
    config: TrainConfig


def resume_point(path: Path) -> ResumePoint:
    """Finds where a run or checkpoint can go on.

    Raises:
        CheckpointError: it is neither, damaged, away from its run, or of other settings than it.
    """
    if (path / CONFIG).exists() and not list_checkpoints(path):
        config = read_config(path)
        _check_never_saved(path, config)
        if config.initial_sha256:
            raise CheckpointError(
                f"{path} has no checkpoint, and the weights that it started with are not its "
                f"seed's but another run's (sha256 {config.initial_sha256[:16]}). Start a new run "
                "with the same --initial-checkpoint."
            )
        return ResumePoint(path, None, config)
    checkpoint = resolve_checkpoint(path)
    named = checkpoint != path and checkpoint.parent.parent == path
    run = path if named else checkpoint.resolve().parent.parent
    if not (run / CONFIG).exists():
        raise CheckpointError(
            f"{checkpoint} is not inside a run's folder, where training goes on. Put it back to "
            "RUN/checkpoints/."
        )
    config, own = read_meta(checkpoint).config, read_config(run)
    changed = changed_settings(config, own)
    if changed:
        raise CheckpointError(
            f"{checkpoint} and {run / CONFIG} are of different settings ({'; '.join(changed)}). "
            "Use a checkpoint of this run, restore its configuration, or start a new run."
        )
    return ResumePoint(run, checkpoint, with_changes(config, own))


def _check_never_saved(run: Path, config: TrainConfig) -> None:
    """Raises CheckpointError where a run without a checkpoint must once have had one.

    Beginning again would empty its log, and overwrite what it may still have elsewhere.
    """
    folder = run / "checkpoints"
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    if folder.exists() and not folder.is_dir():
        reason = f"{folder} is no folder"
    elif names := [path.name for path in found if not path.name.startswith(".")]:
        reason = f"{folder} holds {', '.join(names[:3])}, but no checkpoint that is whole"
    else:
        reached = [entry["nimg"] for entry in read_log(run)]
        due = [nimg for nimg in reached if nimg >= config.snapshot_kimg * 1000]
        # The first of these is logged before its checkpoint is written.
        if len(due) < 2:
            return
        reason = (
            f"{run} has no checkpoint, but its log reaches kimg {due[-1] / 1000:g} and it saves "
            f"every {config.snapshot_kimg:g}"
        )
    raise CheckpointError(
        f"{reason}. Put its checkpoints back to {folder}, or start a new run: beginning again here "
        "would empty its log."
    )


def check_data_fits(config: TrainConfig, dataset: ImageDataset) -> None:
    """Raises ConfigError or DataError where the data and the configuration do not fit."""
    network = config.network
    if dataset.resolution != network.resolution:
        raise DataError(
            f"{dataset.name} is {dataset.resolution}²; this run is {network.resolution}². "
            f"Convert it: segan data convert SRC OUT.zip --resolution {network.resolution}"
        )
    if dataset.img_channels != network.img_channels:
        raise DataError(
            f"{dataset.name} has {dataset.img_channels} channels; this run has "
            f"{network.img_channels}. Convert it: segan data convert SRC OUT.zip "
            f"--resolution {network.resolution} --channels {network.img_channels}"
        )
    if network.c_dim:
        if dataset.labels is None:
            raise DataError(
                f"{dataset.name} has no labels, which a conditional run needs. Convert a folder "
                "with one sub-folder for each class, or train without --cond."
            )
        if len(dataset.class_names) != network.c_dim:
            raise DataError(
                f"{dataset.name} has {len(dataset.class_names)} classes; "
                f"this run has {network.c_dim}."
            )
    if len(dataset) < config.batch_size:
        raise ConfigError(
            f"batch_size is {config.batch_size}, but {dataset.name} has {len(dataset)} images; "
            f"expected at most that. Pass --batch-size {len(dataset)}."
        )


def restore(state: TrainingState, checkpoint: Path, dataset: ImageDataset) -> None:
    """Puts a checkpoint into a fresh state of the same run.

    Raises:
        CheckpointError: it is damaged, or of another network, data set or setting.
    """
    meta = read_meta(checkpoint)
    changed = changed_settings(meta.config, state.config)
    if changed:
        raise CheckpointError(
            f"{checkpoint} was trained with other settings ({'; '.join(changed)}). "
            "Resume without changing them, or start a new run."
        )
    if meta.data_fingerprint != dataset.fingerprint:
        raise CheckpointError(
            f"{checkpoint} was trained on other data ({meta.name}) than {dataset.name}. "
            "Pass the same --data, or start a new run."
        )
    ema = read_tensors(check_file(checkpoint, meta, GENERATOR))
    state.ema.load_state_dict(
        matching_state(ema, state.ema.state_dict(), str(checkpoint / GENERATOR))
    )
    training = check_file(checkpoint, meta, TRAINING)
    load_training_tensors(state, read_tensors(training), training)
    state.cur_nimg, state.step = meta.cur_nimg, meta.step
