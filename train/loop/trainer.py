"""The training loop: steps, ticks of the log, sample sheets and checkpoints."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import torch

from segan.runtime.errors import ConfigError, OutputError, TrainingError
from segan.runtime.files.atomic import make_folder
from segan.train.data.dataset import ImageDataset
from segan.train.loop.data_feed import Batch, DataFeed
from segan.train.loop.guard import LossGuard, check_finite, device_error
from segan.train.loop.processes.agreement import check_same_state
from segan.train.loop.processes.world import ALONE, World
from segan.train.loop.resume import check_data_fits, restore
from segan.train.loop.state_tensors import training_tensors
from segan.train.loop.step import TrainingState
from segan.train.loop.streams import DataOrder
from segan.train.loop.transfer import Source, Transfer, take_weights
from segan.train.loop.watch.reports import Reports
from segan.train.runs.checkpoint import list_checkpoints, save_checkpoint, set_newer_aside
from segan.train.runs.config import TrainConfig
from segan.train.runs.versions import versions


class Progress(NamedTuple):
    """The report of a step.

    Attributes:
        images: real images shown in this step.
        entry: the line of the log that ends with this step, by field (``kimg``, ``loss/generator``,
            ``score/real_sign``, ``swd`` …); None at other steps, and in all processes but the
            first.
        checkpoint: the checkpoint's folder, if this step wrote one; None as for ``entry``.
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
        checkpoint: the checkpoint to continue from; None starts from the beginning.
        initial: another run's checkpoint, with whose weights a new run starts; it needs a
            configuration from ``starting_from``. None = weights from the seed.
        tensorboard: whether to write TensorBoard files.
        pictures: whether to draw sample sheets and curves with every checkpoint.
        world: the processes that train together. Each makes a Trainer and runs ``steps``; the first
            one writes the files.

    Raises:
        ConfigError: the data does not fit the configuration.
        CheckpointError: the checkpoint is damaged, or has another network, data set or setting.
        RankError: the processes start from different weights, or one is gone.

    Attributes:
        run_folder: as ``run``.
        config: as given.
        dataset: as given.
        state: networks, moving average, optimisers and counters, such as ``state.cur_nimg``.
        checkpoint: as given.
        transfer: what was taken from ``initial``; None without one.
        stopped: whether ``request_stop``, in any process, has ended ``steps``.
        aside: new paths of the checkpoints that are newer than ``checkpoint``; in the first
            process.
    """

    transfer: Transfer | None

    def __init__(
        self,
        run: Path,
        config: TrainConfig,
        dataset: ImageDataset,
        *,
        device: torch.device,
        checkpoint: Path | None = None,
        initial: Source | None = None,
        tensorboard: bool = True,
        pictures: bool = True,
        world: World = ALONE,
    ) -> None:
        self.run_folder, self.config, self.dataset, self.device = run, config, dataset, device
        self.world = world
        self.checkpoint, self.transfer = checkpoint, None
        self.state = world.together(lambda: self._open(checkpoint, initial))
        self._check_same()
        self._feed = DataFeed(
            dataset,
            DataOrder(len(dataset), config.seed),
            batch_size=config.batch_size,
            start=self.state.cur_nimg,
            device=device,
            part=self.state.share.numpy(),
        )
        self._labels = None
        if config.network.c_dim:
            assert dataset.labels is not None
            self._labels = torch.from_numpy(dataset.labels).to(device)
        #: Positions of this process's images in the batch.
        self._share = self.state.share.to(device)
        self._guard = LossGuard(device)
        self._seconds: dict[str, float] = defaultdict(float)
        self.aside = world.first(self._prepare_folder) or []
        self._reports = world.first(
            lambda: Reports(
                run,
                config,
                dataset,
                device,
                self.state.cur_nimg,
                tensorboard=tensorboard,
                pictures=pictures,
            )
        )
        self._stop = self.stopped = False

    def _open(self, checkpoint: Path | None, initial: Source | None) -> TrainingState:
        check_data_fits(self.config, self.dataset)
        state = TrainingState(self.config, self.device, self.world)
        if checkpoint is not None:
            restore(state, checkpoint, self.dataset)
        elif initial is not None:
            names = tuple(self.dataset.class_names) if self.config.network.c_dim else ()
            self.transfer = take_weights(state, initial, names)
        elif self.config.initial_sha256:
            raise ConfigError(
                f"the run starts with weights of sha256 {self.config.initial_sha256[:16]}, which "
                "are missing",
                field="initial",
                value=None,
                remedy="Give their checkpoint.",
            )
        return state

    def _prepare_folder(self) -> list[Path]:
        """Make the checkpoints' folder, and move newer checkpoints aside."""
        make_folder(self.run_folder / "checkpoints")
        return set_newer_aside(self.run_folder, self.state.cur_nimg)

    def request_stop(self) -> None:
        """End ``steps`` after the current step, with a checkpoint, in all processes."""
        self._stop = True

    @property
    def total_nimg(self) -> int:
        """Total number of real images that the run shows."""
        return round(self.config.total_kimg * 1000)

    def steps(self) -> Iterator[Progress]:
        """Train until ``total_kimg`` or ``request_stop``; yield a report after every step.

        Raises:
            TrainingError: a loss exceeds 1e6 or is not finite.
            RankError: the processes' weights differ, or another process is gone.
            DeviceError: too little memory, or ``compute.compile`` without a compiler.
            OutputError: a checkpoint, sheet or log cannot be written.
        """
        try:
            yield from self._steps()
            if self._reports is not None:
                self._reports.close()
        except (TrainingError, OutputError) as error:
            self._raise_with_way_on(error)
        except (MemoryError, RuntimeError) as error:
            failure = device_error(error, self.config, self.state.largest_part)
            if failure is None:
                raise
            self._raise_with_way_on(failure)
        finally:
            self._feed.close()

    def _steps(self) -> Iterator[Progress]:
        config, state = self.config, self.state
        tick_nimg, snapshot_nimg = config.kimg_per_tick * 1000, config.snapshot_kimg * 1000
        if self.transfer is not None:
            # With this checkpoint the run can be resumed without the other one.
            yield Progress(0, None, self.save())
        elif state.cur_nimg == 0:
            self.world.first(self._draw)
        sums: dict[str, list[torch.Tensor]] = {}
        tick_start, tick_first = time.monotonic(), state.cur_nimg
        saved = state.cur_nimg
        while state.cur_nimg < self.total_nimg:
            if self.world.any(self._stop):
                self.stopped = True
                if state.cur_nimg > saved:
                    self._guard.check()
                    entry = None
                    if sums:  # of an incomplete tick
                        self._seconds["tick"] = time.monotonic() - tick_start
                        entry = self._tick(sums, state.cur_nimg - tick_first, measure=True)
                    yield Progress(0, entry, self.save())
                return
            before = state.cur_nimg
            stats = self._step()
            self._guard.add(state.step, stats)
            for name, value in stats.items():
                sums.setdefault(name, []).append(value)
            done = state.cur_nimg >= self.total_nimg
            entry, checkpoint = None, None
            snapshot = done or state.cur_nimg // snapshot_nimg > before // snapshot_nimg
            if snapshot or state.cur_nimg // tick_nimg > before // tick_nimg:
                self._guard.check()
                self._check_same()
                self._seconds["tick"] = time.monotonic() - tick_start
                entry = self._tick(sums, state.cur_nimg - tick_first, snapshot)
                sums = {}
            if snapshot:
                checkpoint, saved = self.save(), state.cur_nimg
            if entry is not None:
                tick_start, tick_first = time.monotonic(), state.cur_nimg
            yield Progress(state.cur_nimg - before, entry, checkpoint)

    def save(self) -> Path | None:
        """Write a checkpoint, then sheets and curves; the first process writes.

        Returns:
            The checkpoint's folder; None in the other processes.

        Raises:
            TrainingError: the state holds NaN or infinity; nothing was written.
            RankError: the processes' states differ; nothing was written.
            OutputError: something cannot be written.
        """
        self._check_same()
        ema, training = self.state.ema.state_dict(), training_tensors(self.state)
        check_finite(
            training | {f"ema.{name}": value for name, value in ema.items()}, self.state.step
        )
        return self.world.first(lambda: self._write(ema, training))

    def _write(self, ema: dict[str, torch.Tensor], training: dict[str, torch.Tensor]) -> Path:
        assert self._reports is not None
        scores, self._reports.scores = self._reports.scores, {}
        checkpoint = save_checkpoint(
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
            ranks=self.world.size,
        )
        self._reports.draw(self.state)  # after the checkpoint, in case it fails
        return checkpoint

    def _draw(self) -> None:
        if self._reports is not None:
            self._reports.draw(self.state)

    def _step(self) -> dict[str, torch.Tensor]:
        """Train on the next batch; time its loading and the step."""
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
        """Real images, their labels, and labels for the fakes.

        All draws are for the whole batch, the same in every process.
        """
        config = self.config
        real = batch.images.float() / 127.5 - 1
        if config.mirror:
            flip = torch.rand(config.batch_size, generator=random, device=self.device) < 0.5
            real = torch.where(flip[self._share, None, None, None], real.flip(3), real)
        if self._labels is None or batch.labels is None:
            return real, None, None
        drawn = torch.randint(
            len(self.dataset), (config.batch_size,), generator=random, device=self.device
        )
        return real, self._one_hot(batch.labels), self._one_hot(self._labels[drawn])

    def _one_hot(self, labels: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.one_hot(labels, self.config.network.c_dim).float()

    def _check_same(self) -> None:
        if self.world.size > 1:
            ema = {f"ema.{name}": value for name, value in self.state.ema.state_dict().items()}
            check_same_state(self.world, training_tensors(self.state) | ema, self.state.step)

    def _tick(
        self, sums: dict[str, list[torch.Tensor]], images: int, measure: bool
    ) -> dict[str, Any] | None:
        """Log the tick, in the first process; restart the clocks."""
        seconds = {**self._seconds, **self.state.clock.take()}
        self._seconds.clear()

        def write() -> dict[str, Any]:
            assert self._reports is not None
            # A run that is being stopped does not wait for the score.
            return self._reports.tick(
                self.state, sums, images, seconds, measure=measure, score=not self._stop
            )

        return self.world.first(write)

    def _raise_with_way_on(self, error: TrainingError | OutputError) -> NoReturn:
        """Raise the error with the newest checkpoint, and the command that continues from it."""
        checkpoints = list_checkpoints(self.run_folder)
        remedy = error.remedy
        if type(error) is TrainingError:
            # The losses are those of the whole batch, so every process stops here.
            self.world.reported_by(0, error)
            remedy += (
                " Start a new run with a lower `learning_rate` or a higher `r1_gamma`: with the "
                "same settings the same happens again."
            )
        if not checkpoints:
            remedy += " No checkpoint was written before that."
        else:
            remedy += (
                f" The last good checkpoint is {checkpoints[-1]}; continue from it: "
                f"{self.world.place.resume_command(self.run_folder)}"
            )
        completed = type(error)(
            error.problem,
            field=error.field,
            value=error.value,
            expected=error.expected,
            remedy=remedy.strip(),
        )
        completed.is_reported = error.is_reported
        raise completed from error
