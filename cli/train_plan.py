"""What ``segan train`` is about to do: a new run or an old one, its data, its device."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from segan.cli.standard_streams import say
from segan.cli.train_data import (
    FACES_LABELS,
    Faces,
    faces_count,
    open_images,
    origin,
    remembered_data,
    shape_of,
)
from segan.cli.train_settings import configure, options_named, reconfigure, refuse_change
from segan.runtime.errors import ConfigError

if TYPE_CHECKING:
    import torch

    from segan.train.data.dataset import ImageDataset
    from segan.train.loop.processes.launch import Place
    from segan.train.loop.processes.world import World
    from segan.train.loop.transfer import Source
    from segan.train.runs.config import TrainConfig

#: Resolution of the built-in faces for each preset, when none is given.
_FACES_RESOLUTION = {"tiny": 32, "paper": 64, "auto": 64}


class Plan(NamedTuple):
    """What is going to be trained.

    Attributes:
        config: every setting.
        dataset: the images.
        run: the folder of a run that goes on; None: a new one is made.
        checkpoint: where it goes on; None: at the beginning.
        initial: another run's checkpoint whose weights a new run starts with.
        ranks: processes that wrote the checkpoint.
        origin: what a new run remembers of its data.
    """

    config: TrainConfig
    dataset: ImageDataset
    run: Path | None = None
    checkpoint: Path | None = None
    initial: Source | None = None
    ranks: int | None = None
    origin: dict[str, Any] | None = None


@options_named()
def new_plan(
    data: Path | None,
    faces: int,
    data_cache: str,
    initial: Path | None,
    settings: dict[str, Any],
    given: dict[str, Any],
    device: torch.device,
    world: World,
) -> Plan:
    """A new run of these settings. Raises: ConfigError, DataError."""
    from segan.train.loop.processes.shares import divide
    from segan.train.loop.resume import check_data_fits

    _resolve_precision(settings, device)
    cond = settings["cond"]
    if data is not None:
        _refuse_faces_options(given)
        source: Faces | Path = data
        dataset = open_images(data, data_cache)
        config = configure(settings, shape_of(dataset, cond), given)
        config, taken = _from(initial, config, dataset.class_names)
        divide(config, world.rank, world.size)
    else:
        if "data_cache" in given:
            raise ConfigError(
                "--data-cache is for --data; the built-in faces are drawn into memory. "
                "Leave it out."
            )
        resolution = settings["resolution"]
        if resolution is None:
            resolution = _FACES_RESOLUTION[settings["preset"]]
        source = Faces(faces, resolution, FACES_LABELS if cond else None)
        config = configure(settings, source.shape(), given)
        config, taken = _from(initial, config, source.class_names)
        # Only once the settings are known good.
        divide(config, world.rank, world.size)
        dataset = source.draw(quiet=not world.is_first)
    check_data_fits(config, dataset)
    return Plan(config, dataset, initial=taken, origin=origin(source, dataset))


def _from(
    initial: Path | None, config: TrainConfig, class_names: tuple[str, ...]
) -> tuple[TrainConfig, Source | None]:
    """The settings of a run that starts with a checkpoint's weights, and the checkpoint.

    Raises: ConfigError, CheckpointError.
    """
    if initial is None:
        return config, None
    from segan.train.loop.transfer import open_source, starting_from
    from segan.train.runs.checkpoint import resolve_checkpoint

    source = open_source(resolve_checkpoint(initial))
    return starting_from(source, config, class_names), source


@options_named()
def old_plan(
    resume: Path,
    data: Path | None,
    faces: int,
    data_cache: str,
    given: dict[str, Any],
    device: torch.device,
    world: World,
) -> Plan:
    """A run that goes on. Raises: ConfigError, CheckpointError, DataError."""
    from segan.train.loop.processes.shares import divide
    from segan.train.loop.resume import resume_point
    from segan.train.runs.checkpoint import read_meta

    _resolve_precision(given, device)
    run, checkpoint, config = resume_point(resume)
    config = reconfigure(given, config, run)
    if "faces" in given:
        refuse_change("faces", faces, faces_count(run), run)
    divide(config, world.rank, world.size)
    dataset = remembered_data(run, data, data_cache, quiet=not world.is_first)
    if checkpoint is None:
        return Plan(config, dataset, run)
    meta = read_meta(checkpoint)
    # A run's last batch may reach past its length.
    past = meta.cur_nimg - config.batch_size >= config.total_kimg * 1000
    if past and "kimg" in given and world.is_first:
        say(
            f"{run} is at {meta.cur_nimg / 1000:g} kimg, past the {config.total_kimg:g} of --kimg: "
            "nothing is left to train"
        )
    return Plan(config, dataset, run, checkpoint, ranks=meta.ranks)


def take_over(resume: Path, given: dict[str, Any], held: contextlib.ExitStack) -> None:
    """Keeps other runs out of the folder that goes on, and clears it of what a kill left."""
    from segan.train.loop.resume import resume_point
    from segan.train.runs.checkpoint import remove_leftovers

    if "runs" in given:
        raise ConfigError(
            f"--runs is where a new run is made, and --resume goes on in {resume}. "
            "Leave one of them out."
        )
    if "initial_checkpoint" in given:
        raise ConfigError(
            "--initial-checkpoint is where a new run takes its weights from, and --resume goes on "
            f"with those of {resume}. Leave one of them out."
        )
    run = resume_point(resume).run
    lock(run, held)
    remove_leftovers(run)


def lock(run: Path, held: contextlib.ExitStack) -> None:
    """Keeps other processes out of the run's folder, until ``held`` closes. Raises: ConfigError."""
    from segan.runtime.files.lock import locked

    held.enter_context(locked(run, "another process is training in"))


def _resolve_precision(values: dict[str, Any], device: torch.device) -> None:
    """Puts the device's fastest precision in the place of ``auto``."""
    from segan.train.networks.stylegan2.precision import fastest_precision

    if values.get("precision") == "auto":
        values["precision"] = fastest_precision(device)


def _refuse_faces_options(given: dict[str, Any]) -> None:
    """Raises ConfigError for what only the built-in faces have."""
    if "resolution" in given:
        raise ConfigError(
            "--resolution is for the built-in faces; with --data the resolution follows the "
            "data. Leave one of them out."
        )
    if "faces" in given:
        raise ConfigError(
            "--faces is how many built-in faces to draw, and --data names other images. "
            "Leave one of them out."
        )


def find_device(name: str, place: Place) -> torch.device:
    """The device of this process; of several on a machine each takes a GPU of its own.

    Raises:
        ConfigError: no such device, or fewer GPUs than processes.
    """
    import torch

    wrong = ConfigError(f"--device is {name!r}; expected auto, cpu, cuda or cuda:N.")
    count = torch.cuda.device_count()
    if name == "auto":
        device = torch.device("cuda" if count else "cpu")
    else:
        try:
            device = torch.device(name)
        except RuntimeError:
            raise wrong from None
    if device.type not in ("cpu", "cuda"):
        raise wrong
    if device.type == "cpu":
        return device
    if (device.index or 0) >= count:
        raise ConfigError(
            f"--device is {name!r}, but this torch sees {count} CUDA devices. Pass --device cpu."
        )
    if place.size == 1:
        return device
    # A launcher that gives each process a GPU of its own leaves it to see no other.
    index = place.local_rank if count > 1 else 0
    if index >= count:
        raise ConfigError(
            f"this is process {index + 1} of this machine, which has {count} GPUs; expected one "
            "each. Start fewer processes, or pass --device cpu."
        )
    if device.index not in (None, index):
        raise ConfigError(
            f"--device is {name!r}, but with several processes each takes the GPU of its own "
            "number. Pass --device cuda, and choose GPUs by CUDA_VISIBLE_DEVICES."
        )
    device = torch.device("cuda", index)
    torch.cuda.set_device(device)
    return device
