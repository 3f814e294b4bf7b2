"""Starting and resuming runs: settings, data and device are settled, then a Trainer is made."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from segan.runtime.errors import ConfigError
from segan.runtime.files.lock import locked
from segan.train.data.dataset import ImageDataset, open_dataset
from segan.train.loop.processes.agreement import check_same_start
from segan.train.loop.processes.device import find_device
from segan.train.loop.processes.launch import find_place
from segan.train.loop.processes.shares import divide
from segan.train.loop.processes.world import joined
from segan.train.loop.resume import check_data_fits, resume_point
from segan.train.loop.trainer import Trainer
from segan.train.loop.transfer import Source, open_source, starting_from
from segan.train.networks.stylegan2.precision import fastest_precision
from segan.train.runs.checkpoint import remove_leftovers, resolve_checkpoint
from segan.train.runs.config import TrainConfig
from segan.train.runs.data import (
    FACES_LABELS,
    SILENT,
    Drawing,
    Faces,
    faces_count,
    origin,
    remember_data,
    remembered_data,
    shape_of,
)
from segan.train.runs.folder import new_run_folder, write_config
from segan.train.runs.settings import configure, reconfigure, refuse_change

#: How many built-in faces are drawn when no number is given.
FACES = 20_000
#: Resolution of the built-in faces for each preset when none is given.
FACES_RESOLUTION = {"tiny": 32, "paper": 64, "auto": 64}


class Plan(NamedTuple):
    """What a new run trains.

    Attributes:
        config: every setting.
        dataset: the images.
        origin: what the run remembers of its data.
        initial: another run's checkpoint, whose weights the run starts with; None = the seed's.
    """

    config: TrainConfig
    dataset: ImageDataset
    origin: dict[str, Any]
    initial: Source | None


@contextlib.contextmanager
def start_run(
    data: str | os.PathLike[str] | None = None,
    *,
    preset: str = "tiny",
    settings: Mapping[str, Any] | None = None,
    conditional: bool = False,
    faces: int | None = None,
    resolution: int | None = None,
    data_cache: str | None = None,
    initial_checkpoint: str | os.PathLike[str] | None = None,
    runs: str | os.PathLike[str] = "runs",
    device: str = "auto",
    drawing: Drawing = SILENT,
) -> Iterator[Trainer]:
    """Make a new run, and a Trainer for it.

    The run's folder, ``RUNS/00000-DATA-modeM-PRESET``, is locked for other processes until the
    block ends. Under a launcher (torchrun, srun) all processes call this together.

    Examples:
        >>> with segan.train.start_run("photos.zip", settings={"total_kimg": 200}) as trainer:
        ...     for step in trainer.steps():
        ...         if step.entry is not None:
        ...             print(step.entry["kimg"], step.entry["loss/generator"])

    Args:
        data: a training zip, or a folder or zip of square images of one size, a power of two from
            8 to 1024; None = the built-in cartoon faces.
        preset: where the settings start: tiny, paper or auto.
        settings: values by place in ``TrainConfig``, such as ``{"subspace.mode": 1, "seed": 3}``.
            ``compute.precision`` may be ``auto``, the default: bf16 where the device computes in
            it, else fp32. The shapes of the networks follow the data.
        conditional: train on the data's labels; those of the built-in faces are their glasses.
        faces: how many built-in faces to draw; None = 20,000.
        resolution: of the built-in faces; None = 32 for the preset tiny, else 64.
        data_cache: where the decoded images of ``data`` are kept, memory, disk or auto; None =
            auto, on the disk when they would take more than half of the free memory.
        initial_checkpoint: a run or checkpoint whose weights the run starts with; layers that only
            the new networks have are drawn from the seed.
        runs: folder in which the run's folder is made.
        device: auto, cpu, cuda or cuda:N; auto = a GPU where there is one.
        drawing: callbacks for progress while the built-in faces are drawn.

    Yields:
        The Trainer. Its ``steps`` train; ``run_folder`` is the run's folder.

    Raises:
        ConfigError: a value is out of its range, has no effect, or does not fit the data.
        DataError: the images cannot be read, or have no labels for ``conditional``.
        CheckpointError: ``initial_checkpoint`` cannot be read.
        RankError: the processes of the run differ, or one is gone.
        OutputError: the run's folder cannot be written.
    """
    with joined(find_place()) as world, contextlib.ExitStack() as held:
        found = world.together(lambda: find_device(device, world.place))
        chosen = dict(settings or {})

        def plan() -> Plan:
            precision = fastest_precision(found)
            initial = None if initial_checkpoint is None else Path(initial_checkpoint)

            def configured(shape: Any, names: tuple[str, ...]) -> tuple[TrainConfig, Source | None]:
                config = configure(preset, shape, chosen, precision=precision)
                config, source = _starting_from(initial, config, names)
                divide(config, world.rank, world.size)  # refuses what cannot be divided
                return config, source

            if data is not None:
                _refuse_faces(faces, resolution)
                where: Faces | Path = Path(data)
                dataset = open_dataset(data, cache=data_cache or "auto")
                config, source = configured(shape_of(dataset, conditional), dataset.class_names)
            else:
                where = _chosen_faces(preset, conditional, faces, resolution, data_cache)
                config, source = configured(where.shape(), where.class_names)
                # Only once all settings are known to be right.
                dataset = where.draw(drawing if world.is_first else SILENT)
            check_data_fits(config, dataset)
            return Plan(config, dataset, origin(where, dataset), source)

        config, dataset, remembered, initial = world.together(plan)
        check_same_start(world, config, dataset, found, None)

        def make() -> str:
            made = new_run_folder(Path(runs), config, dataset.name, remembered)
            held.enter_context(_locked(made))
            return str(made)

        run = Path(world.gather(world.first(make))[0])
        trainer = Trainer(run, config, dataset, device=found, initial=initial, world=world)
        initial = None  # its tensors are copied, and take memory
        yield trainer


@contextlib.contextmanager
def resume_run(
    run: str | os.PathLike[str],
    *,
    data: str | os.PathLike[str] | None = None,
    settings: Mapping[str, Any] | None = None,
    faces: int | None = None,
    data_cache: str | None = None,
    device: str = "auto",
    drawing: Drawing = SILENT,
) -> Iterator[Trainer]:
    """Make a Trainer that continues exactly where a run or checkpoint stopped.

    The run's folder is locked for other processes until the block ends. Checkpoints that are newer
    than the one where the run continues are moved to ``checkpoints/set-aside``.

    Examples:
        >>> path = "runs/00000-faces-mode2-tiny"
        >>> with segan.train.resume_run(path, settings={"total_kimg": 400}) as trainer:
        ...     for step in trainer.steps():
        ...         pass

    Args:
        run: a run's folder, which continues at its newest checkpoint, or one of its checkpoints.
        data: where the data is now; None = where the run found it.
        settings: values by place. ``total_kimg``, ``keep_checkpoints`` and
            ``compute.micro_batch`` may change; others must equal the run's own.
        faces: must equal the number of built-in faces that the run was started with; None = it.
        data_cache: see ``start_run``.
        device: see ``start_run``.
        drawing: see ``start_run``.

    Yields:
        The Trainer.

    Raises:
        ConfigError: a setting differs from the run's, or another process is training there.
        CheckpointError: the run or checkpoint is damaged, or its data has changed.
        DataError: the images cannot be read.
        RankError: the processes of the run differ, or one is gone.
        OutputError: the run's folder cannot be written.
    """
    with joined(find_place()) as world, contextlib.ExitStack() as held:
        found = world.together(lambda: find_device(device, world.place))

        def take_over() -> None:
            folder = resume_point(Path(run)).run
            held.enter_context(_locked(folder))
            remove_leftovers(folder)  # of a killed process

        def plan() -> tuple[Path, Path | None, TrainConfig, ImageDataset]:
            chosen = dict(settings or {})
            if chosen.get("compute.precision") == "auto":
                chosen["compute.precision"] = fastest_precision(found)
            folder, checkpoint, own = resume_point(Path(run))
            config = reconfigure(own, chosen, folder)
            if faces is not None:
                refuse_change("faces", faces, faces_count(folder), folder)
            divide(config, world.rank, world.size)
            dataset = remembered_data(
                folder,
                None if data is None else Path(data),
                data_cache or "auto",
                drawing if world.is_first else SILENT,
            )
            return folder, checkpoint, config, dataset

        world.first(take_over)
        folder, checkpoint, config, dataset = world.together(plan)
        check_same_start(world, config, dataset, found, checkpoint)
        # A process that is killed before its next checkpoint keeps the changed settings.
        world.first(lambda: write_config(folder, config))
        if data is not None:
            moved = Path(data)
            world.first(lambda: remember_data(folder, moved, dataset))
        yield Trainer(folder, config, dataset, device=found, checkpoint=checkpoint, world=world)


def _locked(run: Path) -> contextlib.AbstractContextManager[None]:
    return locked(run, "another process is training in")


def _refuse_faces(faces: int | None, resolution: int | None) -> None:
    """Raise ConfigError for arguments that only the built-in faces have."""
    if resolution is not None:
        raise ConfigError(
            "`resolution` is for the built-in faces, and with `data` the resolution is the data's",
            field="resolution",
            value=resolution,
            remedy="Leave one of them out.",
        )
    if faces is not None:
        raise ConfigError(
            "`faces` is the number of built-in faces to draw, and `data` names other images",
            field="faces",
            value=faces,
            remedy="Leave one of them out.",
        )


def _chosen_faces(
    preset: str,
    conditional: bool,
    faces: int | None,
    resolution: int | None,
    data_cache: str | None,
) -> Faces:
    """The built-in faces to draw. Raises: ConfigError."""
    if data_cache is not None:
        raise ConfigError(
            "`data_cache` is for `data`, and the built-in faces are drawn into memory",
            field="data_cache",
            value=data_cache,
            remedy="Leave it out.",
        )
    if resolution is None:
        resolution = FACES_RESOLUTION.get(preset, 64)  # an unknown preset is refused later
    labels = FACES_LABELS if conditional else None
    return Faces(FACES if faces is None else faces, resolution, labels)


def _starting_from(
    initial: Path | None, config: TrainConfig, class_names: tuple[str, ...]
) -> tuple[TrainConfig, Source | None]:
    """The settings of a run that starts with a checkpoint's weights, and the checkpoint."""
    if initial is None:
        return config, None
    source = open_source(resolve_checkpoint(initial))
    return starting_from(source, config, class_names), source
