"""The training loop: data in, ticks, sample sheets and checkpoints out; resumes exactly."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from segan.runtime.errors import CheckpointError, ConfigError, DataError, TrainingError
from segan.runtime.files import make_folder
from segan.train.checkpoint import (
    GENERATOR,
    TRAINING,
    check_file,
    list_checkpoints,
    read_meta,
    resolve_checkpoint,
    save_checkpoint,
)
from segan.train.config import TrainConfig, config_differences
from segan.train.curves import write_curves
from segan.train.dataset import ImageDataset
from segan.train.monitor import DEAD_BELOW, coordinate_effects, mean_importance, variance_shares
from segan.train.run_folder import CONFIG, RunLog, read_config, read_log
from segan.train.sample_sheets import write_sample_sheet, write_slider_sheet
from segan.train.state_tensors import load_training_tensors, training_tensors
from segan.train.step import TrainingState
from segan.train.streams import MONITOR, DataOrder, torch_random
from segan.train.tensors import matching_state, read_tensors
from segan.train.versions import versions


class Progress(NamedTuple):
    """What the loop reports after each step.

    Attributes:
        images: real images shown in this step.
        entry: the log's line, when this step ended a tick.
        checkpoint: the folder, when this step wrote a checkpoint.
    """

    images: int
    entry: dict[str, Any] | None = None
    checkpoint: Path | None = None


class Trainer:
    """Trains in a run folder, from scratch or from a checkpoint.

    Args:
        run: the run's folder.
        config: the configuration; its shapes must fit the data.
        dataset: the images.
        device: where to train.
        checkpoint: where to go on; None starts anew.
        tensorboard: whether to write TensorBoard files.
        pictures: whether to draw sample sheets and curves with every checkpoint.

    Raises:
        ConfigError: the data does not fit the configuration.
        CheckpointError: the checkpoint is damaged or of another network, data set or setting.
    """

    def __init__(
        self,
        run: Path,
        config: TrainConfig,
        dataset: ImageDataset,
        *,
        device: torch.device,
        checkpoint: Path | None = None,
        tensorboard: bool = True,
        pictures: bool = True,
    ) -> None:
        check_data_fits(config, dataset)
        self.run_folder, self.config, self.dataset, self.device = run, config, dataset, device
        self.state = TrainingState(config, device)
        if checkpoint is not None:
            self._restore(checkpoint)
        self._order = DataOrder(len(dataset), config.seed)
        self._images = torch.from_numpy(dataset.images)
        self._labels = None
        if config.network.c_dim:
            assert dataset.labels is not None
            self._labels = torch.from_numpy(dataset.labels)
        self._log = RunLog(run, self.state.cur_nimg)
        self._board = self._open_board() if tensorboard else None
        self._pictures = pictures
        self._stop = False

    def request_stop(self) -> None:
        """Makes ``steps`` save a checkpoint after the current step and end."""
        self._stop = True

    @property
    def total_nimg(self) -> int:
        """Real images that the run shows in all."""
        return round(self.config.total_kimg * 1000)

    def steps(self) -> Iterator[Progress]:
        """Trains until ``total_kimg`` or ``request_stop``; yields after every step.

        Raises:
            TrainingError: the losses are no longer finite.
            OutputError: a checkpoint, sheet or log cannot be written.
        """
        config, state = self.config, self.state
        tick_nimg, snapshot_nimg = config.kimg_per_tick * 1000, config.snapshot_kimg * 1000
        if state.cur_nimg == 0 and self._pictures:
            self._draw()
        sums: dict[str, list[torch.Tensor]] = {}
        tick_start, tick_first = time.monotonic(), state.cur_nimg
        while state.cur_nimg < self.total_nimg and not self._stop:
            before = state.cur_nimg
            for name, value in self._step().items():
                sums.setdefault(name, []).append(value)
            done = state.cur_nimg >= self.total_nimg or self._stop
            entry, checkpoint = None, None
            snapshot = done or state.cur_nimg // snapshot_nimg > before // snapshot_nimg
            if snapshot or state.cur_nimg // tick_nimg > before // tick_nimg:
                seconds = time.monotonic() - tick_start
                entry = self._tick(sums, state.cur_nimg - tick_first, seconds, snapshot)
                sums = {}
            if snapshot:
                checkpoint = self.save()
            if entry is not None:
                tick_start, tick_first = time.monotonic(), state.cur_nimg
            yield Progress(state.cur_nimg - before, entry, checkpoint)
            if self._stop and checkpoint is None:  # asked between two steps
                yield Progress(0, None, self.save())
        if self._board is not None:
            self._board.close()

    def save(self) -> Path:
        """Writes sheets, curves and a checkpoint; returns the checkpoint's folder."""
        if self._pictures:
            self._draw()
        return save_checkpoint(
            self.run_folder,
            self.state.ema.state_dict(),
            training_tensors(self.state),
            keep=self.config.keep_checkpoints,
            name=self.dataset.name,
            cur_nimg=self.state.cur_nimg,
            step=self.state.step,
            class_names=tuple(self.dataset.class_names),
            data_fingerprint=self.dataset.fingerprint,
            config=self.config,
            versions=versions(),
        )

    def _step(self) -> dict[str, torch.Tensor]:
        config, state = self.config, self.state
        random = state.step_random()
        index = torch.from_numpy(self._order.indices(state.cur_nimg, config.batch_size))
        real = self._images[index].to(self.device).float() / 127.5 - 1
        if config.mirror:
            flip = torch.rand(len(real), generator=random, device=self.device) < 0.5
            real = torch.where(flip[:, None, None, None], real.flip(3), real)
        real_labels = fake_labels = None
        if self._labels is not None:
            drawn = torch.randint(
                len(self.dataset), (config.batch_size,), generator=random, device=self.device
            )
            real_labels = self._one_hot(self._labels[index])
            fake_labels = self._one_hot(self._labels[drawn.cpu()])
        return state.train_step(real, real_labels, fake_labels, random)

    def _one_hot(self, labels: torch.Tensor) -> torch.Tensor:
        one_hot = torch.nn.functional.one_hot(labels, self.config.network.c_dim)
        return one_hot.float().to(self.device)

    def _tick(
        self, sums: dict[str, list[torch.Tensor]], images: int, seconds: float, measure: bool
    ) -> dict[str, Any]:
        """Averages the tick, adds the alarms, and logs all of it."""
        state = self.state
        entry: dict[str, Any] = {
            "nimg": state.cur_nimg,
            "step": state.step,
            "kimg": state.cur_nimg / 1000,
            "kimg_per_s": images / 1000 / max(seconds, 1e-9),
        }
        entry |= {name: float(torch.stack(values).mean()) for name, values in sums.items()}
        broken = [name for name, value in entry.items() if not math.isfinite(value)]
        if broken:
            raise TrainingError(
                f"{', '.join(broken)} became infinite or NaN by kimg {entry['kimg']:g}; "
                "the last checkpoint is kept. Resume from it with a lower learning rate or a "
                "higher r1_gamma in a new run."
            )
        importance = mean_importance(state.ema)
        if importance:
            entry["importance"] = importance
        if measure:
            entry |= self._measure()
        self._log.write(entry)
        if self._board is not None:
            for name, value in entry.items():
                if isinstance(value, float):
                    self._board.add_scalar(name, value, state.cur_nimg)
            for row, value in enumerate(importance):
                self._board.add_scalar(f"importance/subspace{row}", value, state.cur_nimg)
            self._board.flush()
        return entry

    def _measure(self) -> dict[str, Any]:
        random = torch_random(self.config.seed, MONITOR, self.state.step, self.device)
        found: dict[str, Any] = {}
        effects = coordinate_effects(self.state.ema, random)
        if effects is not None:
            found["effects"] = [
                row[: entry.dims].tolist()
                for row, entry in zip(effects, self.state.ema.table, strict=True)
            ]
            flat = [value for row in found["effects"] for value in row]
            found["coords"] = len(flat)
            found["dead_coords"] = sum(value < DEAD_BELOW for value in flat)
        shares = variance_shares(self.state.ema, random)
        if shares is not None:
            found["share_coords"], found["share_z"] = shares.coords, shares.z
        return found

    def _draw(self) -> None:
        folder = make_folder(self.run_folder / "samples")
        name = f"kimg{self.state.cur_nimg / 1000:08.1f}"
        write_sample_sheet(self.state.ema, folder / f"{name}.png")
        write_slider_sheet(self.state.ema, folder / f"{name}-sliders.png")
        write_curves(read_log(self.run_folder), self.run_folder / "curves.png")

    def _restore(self, checkpoint: Path) -> None:
        meta = read_meta(checkpoint)
        changed = [
            text
            for text in config_differences(meta.config, self.config)
            if not text.startswith(_MAY_CHANGE)
        ]
        if changed:
            raise CheckpointError(
                f"{checkpoint} was trained with other settings ({'; '.join(changed)}). "
                "Resume without changing them, or start a new run."
            )
        if meta.data_fingerprint != self.dataset.fingerprint:
            raise CheckpointError(
                f"{checkpoint} was trained on other data ({meta.name}) than {self.dataset.name}. "
                "Pass the same --data, or start a new run."
            )
        ema = read_tensors(check_file(checkpoint, meta, GENERATOR))
        self.state.ema.load_state_dict(
            matching_state(ema, self.state.ema.state_dict(), str(checkpoint / GENERATOR))
        )
        training = check_file(checkpoint, meta, TRAINING)
        load_training_tensors(self.state, read_tensors(training), training)
        self.state.cur_nimg, self.state.step = meta.cur_nimg, meta.step

    def _open_board(self) -> Any:
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(
            str(self.run_folder / "tensorboard"), purge_step=self.state.cur_nimg + 1
        )


#: Settings that a resumed run may change: they decide when it ends and what it keeps.
_MAY_CHANGE = ("total_kimg:", "keep_checkpoints:")


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


class ResumePoint(NamedTuple):
    """Where to go on: the run, its checkpoint (None: killed before the first), its settings."""

    run: Path
    checkpoint: Path | None
    config: TrainConfig


def resume_point(path: Path) -> ResumePoint:
    """Finds where a run or checkpoint can go on.

    Raises:
        CheckpointError: it is neither, or damaged.
        ConfigError: its configuration cannot be understood.
    """
    if (path / CONFIG).is_file() and not list_checkpoints(path):
        return ResumePoint(path, None, read_config(path))
    checkpoint = resolve_checkpoint(path)
    return ResumePoint(checkpoint.parent.parent, checkpoint, read_meta(checkpoint).config)
