"""``segan project``: the latent of a photo."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from segan.cli.options import class_option, json_option
from segan.cli.progress import progress
from segan.runtime.bundle.classes import class_number
from segan.runtime.errors import ConfigError, DataError

if TYPE_CHECKING:
    from segan.train.networks.stylegan2.generator import Generator


@click.command(
    "project",
    epilog="Example: segan project photo.jpg runs/00000-faces-mode2-tiny --space w+ -o me",
)
@click.argument("photo", type=click.Path(path_type=Path))
@click.argument("checkpoint", type=click.Path(path_type=Path), required=False)
@click.option(
    "--space",
    type=click.Choice(["w", "w+", "coords"]),
    default="w",
    show_default=True,
    help="One w; w+, one for each site, which is closer but edits worse; or w and the sliders.",
)
@click.option("--steps", type=int, default=500, show_default=True, help="Steps of the search.")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=None,
    show_default="project-PHOTO",
    help="Folder for latents, pictures and video; made when missing.",
)
@click.option(
    "--detector",
    type=click.Path(path_type=Path),
    default=None,
    show_default="none: pixels and gradients",
    metavar="FILE",
    help="TorchScript VGG16 (StyleGAN2-ADA's vgg16.pt), for a perceptual distance.",
)
@click.option(
    "--crop",
    type=click.Choice(["center", "fit", "none"]),
    default="center",
    show_default=True,
    help="How the photo becomes square: cut, padded, or refused.",
)
@click.option(
    "--video",
    type=click.Choice(["gif", "mp4", "none"]),
    default="gif",
    show_default=True,
    help="Format of the progress video.",
)
@click.option(
    "--bundle",
    type=click.Path(path_type=Path),
    default=None,
    show_default="the checkpoint's own sliders",
    help="Bundle of the same generator whose sliders are swept, such as one with directions.",
)
@class_option("all", "Class to start from, of a conditional generator.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the search's noise.")
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="What computes.",
)
@json_option
def command(
    photo: Path,
    checkpoint: Path | None,
    space: str,
    steps: int,
    out: Path | None,
    detector: Path | None,
    crop: str,
    video: str,
    bundle: Path | None,
    class_index: int | str | None,
    seed: int,
    device: str,
    as_json: bool,
) -> None:
    """Find the latent of PHOTO in the generator of CHECKPOINT, or of the newest run.

    CHECKPOINT is a run or checkpoint folder, or a file that 'segan import' reads. Writes
    projected.npz, which generate, sweep, mix and interpolate take as --latents, a comparison, a
    video of the search, and a sheet of every slider on the result. Needs PyTorch.
    """
    from segan.runtime.pictures.video import check_animation

    out = out or Path(f"project-{photo.stem}")
    if out.is_file():
        raise ConfigError(f"-o is {out}, a file; expected a folder.")
    if video != "none":
        check_animation(Path(f"progress.{video}"), 15.0)
    try:
        data = photo.read_bytes()
    except OSError as error:
        raise DataError(
            f"{photo} cannot be read ({error.strerror}). Give a picture, such as photo.jpg."
        ) from None

    generator, source, class_names = _load(checkpoint)

    import numpy as np
    import torch

    from segan.export.projection.features import Features, PixelGradients, Vgg16
    from segan.export.projection.files import write_projection
    from segan.export.projection.project import ProjectionConfig, project_image
    from segan.train.data.prepare import prepare_image

    config = ProjectionConfig(
        space=space,  # type: ignore[arg-type]  # click checked it
        steps=steps,
        class_index=class_number(class_index, class_names, generator.network.c_dim),
        seed=seed,
    )
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device is cuda, but PyTorch finds no GPU; expected cpu or auto.")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    where = torch.device(device)
    generator = generator.to(where)
    network = generator.network
    picture = prepare_image(
        data,
        str(photo),
        resolution=network.resolution,
        crop=crop,  # type: ignore[arg-type]  # click checked it
        channels=network.img_channels,
    )
    target = np.asarray(picture).reshape(network.resolution, network.resolution, -1)
    features: Features = PixelGradients() if detector is None else Vgg16(detector, where)
    given = _open_bundle(bundle, generator)
    click.echo(f"comparing {features.name}", err=True)
    with progress(steps, "steps", "projecting") as bar:
        found = project_image(
            generator, target, config, features=features, on_step=lambda _: bar.update(1)
        )
    record = write_projection(
        out,
        found,
        config,
        generator,
        about={"photo": photo.name, "checkpoint": source, "crop": crop},
        video=None if video == "none" else video,
        bundle=given,
        on_step=lambda text: click.echo(f"{text} ...", err=True),
    )
    if as_json:
        click.echo(json.dumps({"out": str(out), **record}))
        return
    click.echo(
        f"{out}: mean squared error {record['mse_mean_image']:.3g} of the mean image, "
        f"{record['mse']:.3g} found ({record['psnr_db']:.1f} dB); {record['features']}"
    )
    click.echo(f"  {', '.join(record['files'].values())}")
    if "sweep" not in record["files"]:
        click.echo(
            "  no sweep: this generator has no sliders. Add some to its bundle with 'segan "
            "directions', and pass it with --bundle."
        )
    click.echo(f"next: segan generate BUNDLE --latents {out / record['files']['latents']}")


def _load(checkpoint: Path | None) -> tuple[Generator, str, tuple[str, ...]]:
    """The generator, where it came from, and the names of its classes."""
    from segan.train.runs.checkpoint import RECORD, load_generator, resolve_checkpoint

    is_foreign = (
        checkpoint is not None
        and checkpoint.is_file()
        and not (checkpoint.parent / RECORD).is_file()
    )
    if is_foreign:
        assert checkpoint is not None
        from segan.export.foreign.load import load_foreign

        return load_foreign(checkpoint).generator, checkpoint.name, ()
    found = resolve_checkpoint(checkpoint)
    click.echo(f"checkpoint: {found}", err=True)
    loaded = load_generator(found)
    about = f"{loaded.meta.name} {found.name} {loaded.meta.sha256[:12]}"
    return loaded.generator, about, loaded.meta.class_names


def _open_bundle(path: Path | None, generator: Generator) -> Any:
    """The bundle whose sliders are swept. Raises ConfigError for another generator's."""
    if path is None:
        return None
    from segan.runtime.generate.generator import load

    bundle = load(path)
    manifest, network = bundle.manifest, generator.network
    theirs = (manifest.sites, manifest.w_dim, manifest.img_channels)
    if theirs != (network.sites, network.w_dim, network.img_channels):
        raise ConfigError(
            f"--bundle {path} is another generator's: its sites or w_dim differ. Export this "
            "checkpoint, or leave --bundle out."
        )
    return bundle
