"""What test_distributed.py runs in two processes: a program, started once for each rank.

    RANK=… WORLD_SIZE=2 MASTER_ADDR=… MASTER_PORT=… python rank_scenarios.py FOLDER PORT

Each scenario leaves what it found in FOLDER/rank<r>.json, or tensors beside it. For the last one
the processes part and meet again, at PORT.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec
import numpy as np
import torch

from segan.runtime.errors import ConfigError, DataError, OutputError, SeganError
from segan.train.data.dataset import ImageDataset, build_dataset
from segan.train.loop import trainer as loop
from segan.train.loop.processes.agreement import check_same_start
from segan.train.loop.processes.launch import find_place
from segan.train.loop.processes.world import ALONE, World, joined
from segan.train.loop.step import TrainingState
from segan.train.loop.trainer import Trainer
from segan.train.networks.config import ComputeConfig, NetworkConfig, SubspaceConfig
from segan.train.runs.config import AugmentConfig, TrainConfig
from segan.train.runs.folder import new_run_folder, read_log
from segan.train.runs.tensors import write_tensors

CPU = torch.device("cpu")
BATCH, STEPS = 16, 4


def data() -> ImageDataset:
    random = np.random.RandomState(5)
    images = random.randint(0, 256, (40, 3, 8, 8)).astype(np.uint8)
    return build_dataset("squares", images, np.arange(40) % 2, ("even", "odd"))


def config(mode: int = 2, kind: str = "eigen", c_dim: int = 0, **changes: Any) -> TrainConfig:
    network = NetworkConfig(
        resolution=8, z_dim=8, w_dim=8, c_dim=c_dim, mapping_layers=2, channel_max=8
    )
    settings: dict[str, Any] = {
        "network": network,
        "subspace": msgspec.convert({"mode": mode, "kind": kind, "dims": 3}, SubspaceConfig),
        "batch_size": BATCH,
        "r1_interval": 2,
        "pl_interval": 2,
        "total_kimg": BATCH * 8 / 1000,
        "kimg_per_tick": BATCH * 2 / 1000,
        "snapshot_kimg": BATCH * 4 / 1000,
        "keep_checkpoints": 0,
        "metric_images": 16,
    }
    return TrainConfig(**settings | changes)


ADA = AugmentConfig(mode="ada", probability=0.3, target=-0.9, speed_kimg=0.2)
APART = SubspaceConfig(mode=2, dims=3, jacobian_weight=5.0, jacobian_interval=2)
SHARED = SubspaceConfig(mode=2, dims=3, shared_coords=0.5)
#: The settings whose gradients are compared.
SETTINGS = {
    "plain": config(),
    "feature maps": config(mode=1),
    "diagonal": config(mode=2, kind="diagonal"),
    "labels, ada": config(c_dim=2, augment=ADA),
    "labels, ada, micro-batches": config(
        c_dim=2, augment=ADA, compute=ComputeConfig(micro_batch=4)
    ),
    "coordinates shared": config(subspace=SHARED),
    "coordinates apart": config(subspace=APART),
    "coordinates apart, micro-batches": config(
        subspace=APART, compute=ComputeConfig(micro_batch=4)
    ),
}


class Recording(TrainingState):
    """Keeps the gradients with which each phase of each step ended."""

    gradients: list[torch.Tensor]

    @contextlib.contextmanager
    def _update(self, optimizer: torch.optim.Adam) -> Iterator[None]:
        with super()._update(optimizer):
            yield
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.gradients.append(
            torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])
        )


@contextlib.contextmanager
def in_float64() -> Iterator[None]:
    """Networks, latents and noise are made in float64 inside."""
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def gradients(settings: TrainConfig, world: World = ALONE) -> dict[str, torch.Tensor]:
    """Gradients of all phases of some steps, and what else the processes have in common."""
    # One process alone takes the whole batch at once, whatever the shares are.
    if world.size == 1:
        settings = msgspec.structs.replace(settings, compute=ComputeConfig())
    with in_float64():
        images = torch.from_numpy(data().images[:BATCH]).double() / 127.5 - 1
        labels = torch.eye(2)[torch.arange(BATCH) % 2] if settings.network.c_dim else None
        state = Recording(settings, CPU, world)
        state.gradients = []
        found: dict[str, torch.Tensor] = {}
        for step in range(STEPS):
            stats = state.train_step(
                images[state.share],
                None if labels is None else labels[state.share],
                None if labels is None else labels.flip(0),
                state.step_random(),
            )
            found |= {f"step {step}: {name}": value for name, value in stats.items()}
    found |= {f"phase {n}": gradient for n, gradient in enumerate(state.gradients)}
    found |= {f"w_avg {n}": value for n, value in enumerate(state.generator.buffers())}
    found |= {f"augment.{name}": value for name, value in state.augment.tensors().items()}
    found |= {f"ema {n}": value.data for n, value in enumerate(state.ema.parameters())}
    return {name: value.detach().clone() for name, value in found.items()}


def train(folder: Path, settings: TrainConfig, world: World = ALONE, **rest: Any) -> Trainer:
    """A trainer in FOLDER, which all processes name alike and the first one makes."""
    made = world.gather(
        None if not world.is_first else str(new_run_folder(folder, settings, "squares"))
    )
    return Trainer(
        Path(made[0]), settings, data(), device=CPU, tensorboard=False, world=world, **rest
    )


def finish(trainer: Trainer, stop_after: int | None = None) -> list[str]:
    """Trains to the end; names of the checkpoints that this process wrote."""
    written = []
    for number, report in enumerate(trainer.steps(), 1):
        if number == stop_after:
            trainer.request_stop()
        if report.checkpoint is not None:
            written.append(report.checkpoint.name)
    return written


def told(act: Any) -> list[Any]:
    """The error of ``act``: its class, its words, whether another process tells it."""
    try:
        act()
    except Exception as error:
        return [type(error).__name__, str(error), getattr(error, "is_reported", False)]
    return []


def gloo_threads() -> list[str]:
    """Threads of torch's process groups in this process. Linux only; elsewhere none are seen."""
    tasks = Path("/proc/self/task").glob("*/comm")
    return [name for name in (task.read_text().strip() for task in tasks) if "gloo" in name]


#: Settings of a run in which everything takes part.
WHOLE = config(c_dim=2, augment=ADA, mirror=True)


def runs(folder: Path, world: World) -> dict[str, Any]:
    """A whole run, one that is stopped and continues, and which images each process was given."""
    trainer = train(folder / "whole", WHOLE, world, pictures=True)
    seen: list[torch.Tensor] = []
    original = trainer.state.train_step

    def spy(real: torch.Tensor, *others: Any) -> dict[str, torch.Tensor]:
        seen.append(real.mean((1, 2, 3)))
        return original(real, *others)

    with patch.object(trainer.state, "train_step", spy):
        found: dict[str, Any] = {"written": finish(trainer)}
    found["means"] = torch.stack(seen).tolist()
    found["share"] = trainer.state.share.tolist()
    stopped = train(folder / "stopped", WHOLE, world, pictures=False)
    found["stopped"] = [finish(stopped, 3 if world.rank == 1 else None), stopped.stopped]
    found["stopped"].append(stopped.state.cur_nimg)
    going_on = Trainer(
        stopped.run_folder,
        WHOLE,
        data(),
        device=CPU,
        checkpoint=stopped.run_folder / "checkpoints" / f"nimg{3 * BATCH:08d}",
        tensorboard=False,
        pictures=False,
        world=world,
    )
    found["going on"] = finish(going_on)
    found["log"] = len(read_log(going_on.run_folder))
    return found


def errors(folder: Path, world: World) -> dict[str, Any]:
    """Errors of one process or of all, and what each process tells."""

    def fail(*ranks: int, kind: type[Exception] = OutputError) -> Any:
        def act() -> None:
            if world.rank in ranks:
                raise kind("the disk is full.")

        return act

    found: dict[str, Any] = {
        "one": told(lambda: world.together(fail(1))),
        "first": told(lambda: world.first(fail(0))),
        "all": told(lambda: world.together(fail(0, 1, kind=ConfigError))),
        "unforeseen": told(lambda: world.together(fail(1, kind=KeyError))),
    }

    def different() -> None:
        raise DataError(f"image {world.rank} is empty.")

    found["different"] = told(lambda: world.together(different))
    found["afterwards"] = world.gather(world.rank)
    found["any"] = [world.any(False), world.any(world.rank == 1)]
    found["sum"] = world.sum(torch.tensor(world.rank + 1.0)).item()

    def start(changed: TrainConfig, images: ImageDataset, checkpoint: Path | None = None) -> Any:
        theirs = (changed, images, CPU, checkpoint)
        mine = theirs if world.rank == 1 else (config(), data(), CPU, None)
        return told(lambda: check_same_start(world, *mine))

    found["same"] = start(config(), data())
    found["setting"] = start(config(mode=3, r1_gamma=2.0), data())
    found["many"] = start(config(mode=3, seed=1, mirror=True, noise=False, r1_gamma=2.0), data())
    found["data"] = start(config(), build_dataset("squares", data().images[::-1].copy()))
    checkpoint = folder / "whole" / "00000-squares-mode2-paper" / "checkpoints" / "nimg00000128"
    found["checkpoint"] = start(config(), data(), checkpoint)
    return found


def failing_runs(folder: Path, world: World) -> dict[str, Any]:
    """Runs that end badly: weights that part, losses that explode, a disk that is full."""
    found: dict[str, Any] = {}
    trainer = train(folder / "parted", config(), world, pictures=False)

    def part() -> None:
        for number, _ in enumerate(trainer.steps(), 1):
            if number == 4 and world.rank == 1:  # one bit of one weight
                weight = next(trainer.state.discriminator.parameters())
                weight.data.view(torch.int32).view(-1)[0] ^= 1

    found["parted"] = told(part)
    exploding = train(folder / "nan", config(learning_rate=1e30), world, pictures=False)
    found["nan"] = told(lambda: finish(exploding))
    few = build_dataset("few", data().images[:9])
    bare = build_dataset("bare", data().images)
    found["few"] = told(
        lambda: Trainer(folder, config(), few, device=CPU, tensorboard=False, world=world)
    )
    found["bare"] = told(
        lambda: Trainer(folder, WHOLE, bare, device=CPU, tensorboard=False, world=world)
    )

    def full(*_args: Any, **_rest: Any) -> Path:
        raise OutputError(f"cannot write {folder / 'full'}: the disk is full.")

    with patch.object(loop, "save_checkpoint", full):
        on_full_disk = train(folder / "full", config(), world, pictures=False)
        found["full"] = told(lambda: finish(on_full_disk))
    return found


def main() -> None:
    folder = Path(sys.argv[1])
    with joined(find_place(), patience_s=120) as world:
        mine = f"rank{world.rank}"
        for name, settings in SETTINGS.items():
            write_tensors(folder / f"{mine}-{name}.safetensors", gradients(settings, world))
        found = runs(folder, world) | errors(folder, world) | failing_runs(folder, world)
    found["threads"] = gloo_threads()

    def leave() -> None:
        (folder / f"{mine}.json").write_text(json.dumps(found))
        os._exit(0)  # as a kill: nothing is closed, nobody is told

    def lose() -> None:
        for number, _ in enumerate(trainer.steps(), 1):
            if number == 5 and world.rank == 1:
                leave()

    os.environ["MASTER_PORT"] = sys.argv[2]
    with joined(find_place(), patience_s=120) as world:
        trainer = train(folder / "gone", config(), world, pictures=False)
        found["gone"] = told(lose)
        leave()


if __name__ == "__main__":
    try:
        main()
    except SeganError as error:
        sys.exit(str(error))
