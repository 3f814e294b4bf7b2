"""The training loop: data in, ticks, sample sheets and checkpoints out; resumes exactly."""

from __future__ import annotations

import shlex
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import torch

from segan.runtime.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    OutputError,
    TrainingError,
)
from segan.runtime.files import make_folder
from segan.train.board import Board
from segan.train.checkpoint import (
    GENERATOR,
    SCORE,
    TRAINING,
    check_file,
    list_checkpoints,
    read_meta,
    resolve_checkpoint,
    save_checkpoint,
)
from segan.train.config import TrainConfig
from segan.train.curves import write_curves
from segan.train.data_feed import Batch, DataFeed
from segan.train.dataset import ImageDataset
from segan.train.loss_guard import LossGuard, check_finite
from segan.train.monitor import DEAD_BELOW, coordinate_effects, mean_importance, variance_shares
from segan.train.run_folder import CONFIG, RunLog, changed_settings, read_config, read_log
from segan.train.sample_sheets import write_sample_sheet, write_slider_sheet
from segan.train.scoring import CheckpointScore
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
        self._feed = DataFeed(
            dataset,
            DataOrder(len(dataset), config.seed),
            batch_size=config.batch_size,
            start=self.state.cur_nimg,
            device=device,
        )
        self._labels = None
        if config.network.c_dim:
            assert dataset.labels is not None
            self._labels = torch.from_numpy(dataset.labels).to(device)
        self._guard = LossGuard(device)
        self._score = CheckpointScore(config, dataset, device) if config.metric_images else None
        self._scores: dict[str, float] = {}
        self._seconds: dict[str, float] = defaultdict(float)
        self._log = RunLog(run, self.state.cur_nimg)
        self._board = Board(run, self.state.cur_nimg) if tensorboard else None
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
            TrainingError: the losses exploded or are no longer finite.
            OutputError: a checkpoint, sheet or log cannot be written.
        """
        try:
            yield from self._steps()
            if self._board is not None:
                self._board.close()
        except (TrainingError, OutputError) as error:
            self._say_how_to_go_on(error)
        finally:
            self._feed.close()

    def _steps(self) -> Iterator[Progress]:
        config, state = self.config, self.state
        tick_nimg, snapshot_nimg = config.kimg_per_tick * 1000, config.snapshot_kimg * 1000
        if state.cur_nimg == 0 and self._pictures:
            self._draw()
        sums: dict[str, list[torch.Tensor]] = {}
        tick_start, tick_first = time.monotonic(), state.cur_nimg
        while state.cur_nimg < self.total_nimg and not self._stop:
            before = state.cur_nimg
            stats = self._step()
            self._guard.add(state.step, stats)
            for name, value in stats.items():
                sums.setdefault(name, []).append(value)
            done = state.cur_nimg >= self.total_nimg or self._stop
            entry, checkpoint = None, None
            snapshot = done or state.cur_nimg // snapshot_nimg > before // snapshot_nimg
            if snapshot or state.cur_nimg // tick_nimg > before // tick_nimg:
                self._guard.check()
                self._seconds["tick"] = time.monotonic() - tick_start
                entry = self._tick(sums, state.cur_nimg - tick_first, snapshot)
                sums = {}
            if snapshot:
                checkpoint = self.save()
            if entry is not None:
                tick_start, tick_first = time.monotonic(), state.cur_nimg
            yield Progress(state.cur_nimg - before, entry, checkpoint)
            if self._stop and checkpoint is None:  # asked between two steps
                self._guard.check()
                yield Progress(0, None, self.save())

    def save(self) -> Path:
        """Writes sheets, curves and a checkpoint; returns the checkpoint's folder.

        Raises:
            TrainingError: the state holds a NaN or infinite number; nothing was written.
            OutputError: something cannot be written.
        """
        ema, training = self.state.ema.state_dict(), training_tensors(self.state)
        check_finite(
            training | {f"ema.{name}": value for name, value in ema.items()}, self.state.step
        )
        if self._pictures:
            self._draw()
        scores, self._scores = self._scores, {}
        return save_checkpoint(
            self.run_folder,
            ema,
            training,
            keep=self.config.keep_checkpoints,
            name=self.dataset.name,
            cur_nimg=self.state.cur_nimg,
            step=self.state.step,
            class_names=tuple(self.dataset.class_names),
            data_fingerprint=self.dataset.fingerprint,
            config=self.config,
            versions=versions(),
            scores=scores,
        )

    def _step(self) -> dict[str, torch.Tensor]:
        """Feeds a batch to the networks, and takes the time of both."""
        random = self.state.step_random()
        start = time.perf_counter()
        real, real_labels, fake_labels = self._prepare(self._feed.next(), random)
        ready = time.perf_counter()
        stats = self.state.train_step(real, real_labels, fake_labels, random)
        self._seconds["data"] += ready - start
        self._seconds["step"] += time.perf_counter() - ready
        return stats

    def _prepare(
        self, batch: Batch, random: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """What ``train_step`` takes: real images, their labels, and labels for the fakes."""
        config = self.config
        real = batch.images.float() / 127.5 - 1
        if config.mirror:
            flip = torch.rand(len(real), generator=random, device=self.device) < 0.5
            real = torch.where(flip[:, None, None, None], real.flip(3), real)
        if self._labels is None or batch.labels is None:
            return real, None, None
        drawn = torch.randint(
            len(self.dataset), (config.batch_size,), generator=random, device=self.device
        )
        return real, self._one_hot(batch.labels), self._one_hot(self._labels[drawn])

    def _one_hot(self, labels: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.one_hot(labels, self.config.network.c_dim).float()

    def _tick(
        self, sums: dict[str, list[torch.Tensor]], images: int, measure: bool
    ) -> dict[str, Any]:
        """Averages the tick, adds the alarms and the score, and logs all of it."""
        state = self.state
        entry: dict[str, Any] = {
            "nimg": state.cur_nimg,
            "step": state.step,
            "kimg": state.cur_nimg / 1000,
            "kimg_per_s": images / 1000 / max(self._seconds["tick"], 1e-9),
        }
        entry |= {name: float(torch.stack(values).mean()) for name, values in sums.items()}
        importance = mean_importance(state.ema)
        if importance:
            entry["importance"] = importance
        if measure:
            entry |= self._measure()
        seconds = self._seconds | state.clock.take()
        entry |= {f"seconds/{name}": value for name, value in seconds.items()}
        self._seconds.clear()
        self._log.write(entry)
        if self._board is not None:
            self._board.write(entry)
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
        if self._score is not None and not self._stop:  # who stops the run does not want to wait
            start = time.perf_counter()
            found[SCORE] = self._scores[SCORE] = self._score.measure(self.state.ema)
            self._seconds[SCORE] = time.perf_counter() - start
        return found

    def _say_how_to_go_on(self, error: TrainingError | OutputError) -> NoReturn:
        """Raises the error with the newest whole checkpoint, and the command that takes it up."""
        checkpoints = list_checkpoints(self.run_folder)
        text = f"{error} "
        if isinstance(error, TrainingError):
            text += (
                "Start a new run with a lower --learning-rate or a higher --r1-gamma: with the "
                "same settings the same happens again. "
            )
        if not checkpoints:
            text += "No checkpoint was written before that."
        else:
            last = checkpoints[-1]
            text += (
                f"The last good checkpoint is {last}; go on from it: "
                f"segan train --resume {shlex.quote(str(self.run_folder))}"
            )
        raise type(error)(text) from error

    def _draw(self) -> None:
        folder = make_folder(self.run_folder / "samples")
        name = f"kimg{self.state.cur_nimg / 1000:08.1f}"
        write_sample_sheet(self.state.ema, folder / f"{name}.png")
        write_slider_sheet(self.state.ema, folder / f"{name}-sliders.png")
        write_curves(read_log(self.run_folder), self.run_folder / "curves.png")

    def _restore(self, checkpoint: Path) -> None:
        meta = read_meta(checkpoint)
        changed = changed_settings(meta.config, self.config)
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
        CheckpointError: it is neither, damaged, away from its run, or of other settings than it.
        ConfigError: its configuration cannot be understood.
    """
    if (path / CONFIG).is_file() and not list_checkpoints(path):
        return ResumePoint(path, None, read_config(path))
    checkpoint = resolve_checkpoint(path)
    named = checkpoint != path and checkpoint.parent.parent == path
    run = path if named else checkpoint.resolve().parent.parent
    if not (run / CONFIG).is_file():
        raise CheckpointError(
            f"{checkpoint} is not inside a run's folder, where training goes on. Put it back to "
            "RUN/checkpoints/."
        )
    config = read_meta(checkpoint).config
    changed = changed_settings(config, read_config(run))
    if changed:
        raise CheckpointError(
            f"{checkpoint} and {run / CONFIG} are of different settings ({'; '.join(changed)}). "
            "Use a checkpoint of this run, restore its configuration, or start a new run."
        )
    return ResumePoint(run, checkpoint, config)
