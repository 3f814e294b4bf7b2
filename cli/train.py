"""``segan train``."""

from __future__ import annotations

import json
import signal
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import click

from segan.cli.progress import progress
from segan.runtime.errors import ConfigError, DataError

if TYPE_CHECKING:
    from segan.train.config import TrainConfig
    from segan.train.dataset import ImageDataset
    from segan.train.loop import Trainer

#: Resolution of the built-in faces for each preset, when none is given.
_FACES_RESOLUTION = {"tiny": 32, "paper": 64, "auto": 64}


@click.command(
    epilog="Example: segan train --mode 2\n\n"
    "Example: segan train --data photos.zip --preset paper --kimg 5000\n\n"
    "Example: segan train --resume runs/00000-faces-mode2-tiny --kimg 200"
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Training zip or folder of equal square images.  [default: the built-in faces]",
)
@click.option(
    "--mode",
    type=click.IntRange(0, 3),
    default=2,
    show_default=True,
    help="Where the subspaces act: 0 nowhere, 1 on feature maps, 2 on w, 3 on w by importance.",
)
@click.option(
    "--subspace",
    "kind",
    type=click.Choice(["eigen", "diagonal"]),
    default="eigen",
    show_default=True,
    help="How the subspaces act: along an orthonormal basis, or dimension by dimension.",
)
@click.option(
    "--preset",
    type=click.Choice(["tiny", "paper", "auto"]),
    default="tiny",
    show_default=True,
    help="tiny: minutes on two cores. paper: the published setting. auto: scales with the data.",
)
@click.option("--kimg", type=float, help="Length, in thousand real images.  [default: preset's]")
@click.option(
    "--resume",
    type=click.Path(path_type=Path),
    help="Go on with this run or checkpoint, exactly where it stopped.",
)
@click.option(
    "--resolution", type=int, help="Of the built-in faces.  [default: 32 for tiny, else 64]"
)
@click.option(
    "--faces", type=int, default=20_000, show_default=True, help="How many built-in faces to draw."
)
@click.option("--cond", is_flag=True, help="Train on the data's labels (class-conditional).")
@click.option("--mirror", is_flag=True, help="Mirror real images at random.")
@click.option("--dims", type=int, help="Coordinates of each subspace.  [default: 6]")
@click.option(
    "--architecture",
    type=click.Choice(["skip", "residual", "original"]),
    default="skip",
    show_default=True,
    help="How the layers' images are joined.",
)
@click.option("--batch-size", type=int, help="Images per step.  [default: preset's]")
@click.option("--learning-rate", type=float, help="Adam's.  [default: preset's]")
@click.option("--r1-gamma", type=float, help="Weight of R1.  [default: preset's]")
@click.option("--seed", type=int, default=0, show_default=True, help="Of weights and all draws.")
@click.option("--snapshot-kimg", type=float, help="Between checkpoints.  [default: preset's]")
@click.option(
    "--runs",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Folder in which the run's folder is made.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, or cuda:N.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each tick.")
def command(
    data: Path | None,
    mode: int,
    kind: str,
    preset: str,
    kimg: float | None,
    resume: Path | None,
    resolution: int | None,
    faces: int,
    cond: bool,
    mirror: bool,
    dims: int | None,
    architecture: str,
    batch_size: int | None,
    learning_rate: float | None,
    r1_gamma: float | None,
    seed: int,
    snapshot_kimg: float | None,
    runs: Path,
    device: str,
    as_json: bool,
) -> int:
    """Train a generator and write it to runs/00000-….

    Without --data it trains on the built-in cartoon faces. Ctrl-C saves a checkpoint and says how
    to go on. With --resume every setting is the run's own; --kimg may change its length.
    """
    import msgspec

    from segan.runtime.lock import locked
    from segan.train.checkpoint import remove_leftovers
    from segan.train.loop import Trainer, check_data_fits, resume_point
    from segan.train.run_folder import new_run_folder

    torch_device = _device(device)
    given = _given()
    if resume is not None:
        run, checkpoint, config = resume_point(resume)
        _check_unchanged(given, run, config)
        if kimg is not None:
            config = msgspec.structs.replace(config, total_kimg=kimg)
        dataset = _open(data, {}) if data is not None else _remembered_data(run)
    else:
        checkpoint = None
        wanted = {
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "r1_gamma": r1_gamma,
            "total_kimg": kimg,
            "snapshot_kimg": snapshot_kimg,
        }
        if data is not None and resolution is not None:
            raise ConfigError(
                "--resolution is for the built-in faces; with --data the resolution follows the "
                "data. Leave one of them out."
            )
        if data is not None and "faces" in given:
            raise ConfigError(
                "--faces is how many built-in faces to draw, and --data names other images. "
                "Leave one of them out."
            )
        source = {"faces": faces, "resolution": resolution or _FACES_RESOLUTION[preset]}
        if data is None and cond:
            raise ConfigError(
                "--cond needs labels, and the built-in faces have no labels. Pass --data with "
                "labelled images: segan data convert FOLDER OUT.zip --labels folders"
            )
        found = None if data is None else _open(data, source)
        shape = _shape(found, source, cond)
        config = _configure(shape, preset, mode, kind, architecture, dims, mirror, seed, wanted)
        dataset = found or _open(None, source)  # drawn only once the settings are known good
        check_data_fits(config, dataset)
        origin = {"faces": source} if data is None else {"path": str(data.resolve())}
        run = new_run_folder(runs, config, dataset.name, origin)
    with locked(run, "another process is training in"):
        remove_leftovers(run)
        trainer = Trainer(run, config, dataset, device=torch_device, checkpoint=checkpoint)
        click.echo(
            f"{dataset.name}: {len(dataset)} images of {dataset.resolution}²; mode "
            f"{config.subspace.mode} ({config.subspace.kind}), preset {config.preset}, "
            f"{config.total_kimg:g} kimg, on {torch_device.type}. Run: {run}",
            err=True,
        )
        return _train(trainer, run, as_json)


def _train(trainer: Trainer, run: Path, as_json: bool) -> int:
    """Runs the loop under a progress bar; 130 when it was interrupted."""
    interrupted = False

    def stop(_signum: int, _frame: types.FrameType | None) -> None:
        nonlocal interrupted
        if interrupted:
            raise KeyboardInterrupt
        interrupted = True
        click.echo("\nstopping after this step; once more to stop at once", err=True)
        trainer.request_stop()

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    left = trainer.total_nimg - trainer.state.cur_nimg
    last: dict[str, Any] = {}
    try:
        with progress(left / 1000, "kimg", "training") as bar:
            for report in trainer.steps():
                bar.update(report.images / 1000)
                if report.entry is not None:
                    last |= report.entry
                    if as_json:
                        click.echo(json.dumps(report.entry))
                _warn(report.entry)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if interrupted:
        click.echo(
            f"stopped at kimg {trainer.state.cur_nimg / 1000:g}; everything is saved. "
            f"Go on: segan train --resume {run}",
            err=True,
        )
        return 130
    if left <= 0:
        click.echo(f"{run} is complete already; give a larger --kimg to go on.", err=True)
    if "dead_coords" in last:
        click.echo(
            f"{last['coords'] - last['dead_coords']} of {last['coords']} coordinates are alive",
            err=True,
        )
    click.echo(f"Samples and curves: {run}. Next: segan export {run}", err=True)
    return 0


def _warn(entry: dict[str, Any] | None) -> None:
    """The alarms, in words, where one rings."""
    if entry is None:
        return
    at = f"kimg {entry['kimg']:g}"
    if entry.get("dead_coords"):
        click.echo(
            f"{at}: {entry['dead_coords']} of {entry['coords']} coordinates hardly move the "
            "image; early in training that is normal",
            err=True,
        )
    if entry.get("share_z", 1.0) < 0.05:
        click.echo(
            f"{at}: z explains only {entry['share_z']:.0%} of the images' variance; "
            "fewer --dims leave it more",
            err=True,
        )


def _given() -> dict[str, Any]:
    """The options that the user wrote, by name: those that stand at a default are left out."""
    context = click.get_current_context()
    written = click.core.ParameterSource.COMMANDLINE
    return {
        name: value
        for name, value in context.params.items()
        if context.get_parameter_source(name) is written
    }


def _check_unchanged(given: dict[str, Any], run: Path, config: TrainConfig) -> None:
    """Raises ConfigError for an option that says something else than the run to be resumed."""
    network, subspace = config.network, config.subspace
    own: dict[str, Any] = {
        "mode": subspace.mode,
        "kind": subspace.kind,
        "preset": config.preset,
        "resolution": network.resolution,
        "cond": network.c_dim > 0,
        "mirror": config.mirror,
        "dims": subspace.dims,
        "architecture": network.architecture,
        "batch_size": config.batch_size,
        "learning_rate": config.learning_rate,
        "r1_gamma": config.r1_gamma,
        "seed": config.seed,
        "snapshot_kimg": config.snapshot_kimg,
    }
    if "faces" in given:
        own["faces"] = _faces_count(run)
    for name, value in own.items():
        if name in given and given[name] != value:
            option = "--subspace" if name == "kind" else f"--{name.replace('_', '-')}"
            raise ConfigError(
                f"{option} is {given[name]}, but {run} was started with {value}; with --resume "
                "every setting but --kimg is the run's own. Leave it out, or start a new run."
            )


def _faces_count(run: Path) -> int | None:
    """How many built-in faces the run draws; None where it trains on other data."""
    try:
        return int(json.loads((run / "data.json").read_bytes())["faces"]["faces"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _device(name: str) -> Any:
    """The torch device. Raises: ConfigError."""
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"--device is {name!r}; expected auto, cpu, cuda or cuda:N.") from None
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"--device is {name!r}; expected auto, cpu, cuda or cuda:N.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"--device is {name!r}, but this torch sees {torch.cuda.device_count()} CUDA devices. "
            "Pass --device cpu."
        )
    return device


def _open(data: Path | None, source: dict[str, int]) -> ImageDataset:
    """The data set at ``data``, or the built-in faces."""
    if data is None:
        from segan.train.faces_dataset import faces_dataset

        with progress(source["faces"], "faces", f"drawing faces of {source['resolution']}²") as bar:
            return faces_dataset(source["faces"], source["resolution"], on_progress=bar.update)
    from segan.train.dataset import open_dataset

    return open_dataset(data)


class Shape(TypedDict):
    """What the networks must fit."""

    resolution: int
    img_channels: int
    c_dim: int


def _shape(dataset: ImageDataset | None, source: dict[str, int], cond: bool) -> Shape:
    """The data's shape, or the shape of the faces that are to be drawn."""
    if dataset is None:
        return {"resolution": source["resolution"], "img_channels": 3, "c_dim": 0}
    if cond and dataset.labels is None:
        raise DataError(
            f"--cond needs labels, and {dataset.name} has no labels. Convert a folder with one "
            "sub-folder for each class: segan data convert FOLDER OUT.zip --labels folders"
        )
    return {
        "resolution": dataset.resolution,
        "img_channels": dataset.img_channels,
        "c_dim": len(dataset.class_names) if cond else 0,
    }


def _configure(
    shape: Shape,
    preset_name: str,
    mode: int,
    kind: str,
    architecture: str,
    dims: int | None,
    mirror: bool,
    seed: int,
    wanted: dict[str, float | None],
) -> TrainConfig:
    """The preset for data of this shape, with what the user gave put in. Raises: ConfigError."""
    import msgspec

    from segan.train.config import TrainConfig
    from segan.train.presets import preset

    base = preset(preset_name, **shape)
    values = msgspec.to_builtins(base)
    values |= {name: value for name, value in wanted.items() if value is not None}
    values |= {"mirror": mirror, "seed": seed}
    values["network"]["architecture"] = architecture
    values["subspace"] |= {"mode": mode, "kind": kind}
    if dims is not None:
        values["subspace"]["dims"] = dims
    try:
        return msgspec.convert(values, TrainConfig)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{error}") from None


def _remembered_data(run: Path) -> ImageDataset:
    """The data that the run was started on. Raises: CheckpointError, DataError."""
    from segan.runtime.errors import CheckpointError

    try:
        record = json.loads((run / "data.json").read_bytes())
        if "path" in record:
            return _open(Path(record["path"]), {})
        source = {name: int(record["faces"][name]) for name in ("faces", "resolution")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{run / 'data.json'} does not say where the data is ({error}). Pass --data."
        ) from None
    return _open(None, source)
