"""The reports of a run, in addition to its checkpoints: log, TensorBoard, sheets and curves."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from segan.runtime.files.atomic import make_folder
from segan.train.data.dataset import ImageDataset
from segan.train.loop.step import TrainingState
from segan.train.loop.streams import MONITOR, torch_random
from segan.train.loop.watch.curves import write_curves
from segan.train.loop.watch.monitor import coordinate_effects, mean_importance, variance_shares
from segan.train.loop.watch.score import CheckpointScore
from segan.train.loop.watch.sheets import write_sample_sheet, write_slider_sheet
from segan.train.loop.watch.tensorboard import Board
from segan.train.runs.alarms import DEAD_BELOW
from segan.train.runs.checkpoint import SCORE
from segan.train.runs.config import TrainConfig
from segan.train.runs.folder import RunLog, read_log


class Reports:
    """Measures the generator and writes the reports.

    Args:
        run: the run's folder.
        config: the run's settings.
        dataset: the images, for the score.
        device: where to measure.
        cur_nimg: real images shown so far; later entries of an existing log are dropped.
        tensorboard: whether to write TensorBoard files.
        pictures: whether to draw sample sheets and curves.

    Raises:
        OutputError: the folder cannot be written; all methods raise it too.

    Attributes:
        scores: of the last measurement, until a checkpoint takes them.
    """

    def __init__(
        self,
        run: Path,
        config: TrainConfig,
        dataset: ImageDataset,
        device: torch.device,
        cur_nimg: int,
        *,
        tensorboard: bool,
        pictures: bool,
    ) -> None:
        self._run, self._config, self._device = run, config, device
        self._score = CheckpointScore(config, dataset, device) if config.metric_images else None
        self.scores: dict[str, float] = {}
        self._log = RunLog(run, cur_nimg)
        self._board = Board(run, cur_nimg) if tensorboard else None
        self._pictures = pictures

    def tick(
        self,
        state: TrainingState,
        sums: Mapping[str, Sequence[torch.Tensor]],
        images: int,
        seconds: dict[str, float],
        *,
        measure: bool,
        score: bool,
    ) -> dict[str, Any]:
        """Log the averages of a tick, with effects of coordinates and the score.

        Args:
            state: at the end of the tick.
            sums: statistics of every step, by name.
            images: real images shown in the tick.
            seconds: by phase, including ``tick``; the time of the score is added.
            measure: whether to measure effects of coordinates and shares of variance.
            score: whether to compute the score as well.

        Returns:
            The line of the log.
        """
        entry: dict[str, Any] = {
            "nimg": state.cur_nimg,
            "step": state.step,
            "kimg": state.cur_nimg / 1000,
            "kimg_per_s": images / 1000 / max(seconds["tick"], 1e-9),
        }
        entry |= {name: float(torch.stack(list(values)).mean()) for name, values in sums.items()}
        importance = mean_importance(state.ema)
        if importance:
            entry["importance"] = importance
        if measure:
            entry |= self._measure(state)
        if measure and score and self._score is not None:
            start = time.perf_counter()
            entry[SCORE] = self.scores[SCORE] = self._score.measure(state.ema)
            seconds[SCORE] = time.perf_counter() - start
        entry |= {f"seconds/{name}": value for name, value in seconds.items()}
        self._log.write(entry)
        if self._board is not None:
            self._board.write(entry)
        return entry

    def draw(self, state: TrainingState) -> None:
        """Draw the sheets and the curves."""
        if not self._pictures:
            return
        folder = make_folder(self._run / "samples")
        name = f"kimg{state.cur_nimg / 1000:08.1f}"
        write_sample_sheet(state.ema, folder / f"{name}.png")
        write_slider_sheet(state.ema, folder / f"{name}-sliders.png")
        write_curves(read_log(self._run), self._run / "curves.png")

    def close(self) -> None:
        """Write and close the TensorBoard files."""
        if self._board is not None:
            self._board.close()

    def _measure(self, state: TrainingState) -> dict[str, Any]:
        random = torch_random(self._config.seed, MONITOR, state.step, self._device)
        found: dict[str, Any] = {}
        effects = coordinate_effects(state.ema, random)
        if effects is not None:
            found["effects"] = [
                row[: entry.dims].tolist()
                for row, entry in zip(effects, state.ema.table, strict=True)
            ]
            flat = [value for row in found["effects"] for value in row]
            found["coords"] = len(flat)
            found["dead_coords"] = sum(value < DEAD_BELOW for value in flat)
        shares = variance_shares(state.ema, random)
        if shares is not None:
            found["share_coords"], found["share_z"] = shares.coords, shares.z
        return found
