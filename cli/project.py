"""``segan project``: finds the latent of a photo."""

from __future__ import annotations

import json
from pathlib import Path

import click

from segan.cli.bundle_output import show_step
from segan.cli.options import class_option, json_option
from segan.cli.output import Output, overwrite_option
from segan.cli.progress import progress
from segan.cli.standard_streams import echo
from segan.runtime.bundle.classes import class_number
from segan.runtime.commands import command as segan
from segan.runtime.errors import ConfigError, DataError


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
    help="w: one w; w+: one for each site, which is closer but edits worse; coords: one w and the "
    "sliders.",
)
@click.option("--steps", type=int, default=500, show_default=True, help="Steps of the search.")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=None,
    show_default="project-PHOTO, or the next free name",
    help="Folder for latents, pictures and video; created if missing.",
)
@overwrite_option
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
    help="How the photo becomes square: cropped, padded, or refused.",
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
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Seed of the noise that the search adds."
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Device that computes.",
)
@json_option
def command(
    photo: Path,
    checkpoint: Path | None,
    space: str,
    steps: int,
    out: Path | None,
    overwrite: bool,
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
    projected.npz, which generate, sweep, mix and interpolate take as --latents; a comparison; a
    video of the search; and a sheet of every slider on the result. Needs PyTorch.
    """
    from segan.runtime.pictures.video import check_animation

    if out is not None and out.is_file():
        raise ConfigError(f"--out is {out}, a file", field="out", value=out, expected="a folder")
    if video != "none":
        check_animation(Path(f"progress.{video}"), 15.0)
    if not photo.is_file():
        raise DataError(
            f"{photo} does not exist or is not a file",
            field="photo",
            value=photo,
            remedy="Give an image, such as photo.jpg.",
        )

    from segan.export.projection.features import Features, PixelGradients, Vgg16
    from segan.export.projection.files import output_names, write_projection
    from segan.export.projection.inputs import load_source, open_bundle_of, read_photo
    from segan.export.projection.project import ProjectionConfig, project_image
    from segan.train.measure.models.open import torch_device

    names = output_names(None if video == "none" else video)
    paths = Output(out, overwrite).files(
        Path(f"project-{photo.stem}"),
        lambda folder: [folder / name for name in names],
        [photo, checkpoint, detector, bundle],
    )
    out = paths[0].parent
    source, where = load_source(checkpoint), torch_device(device)
    echo(f"checkpoint: {source.path}", err=True)
    generator = source.generator.to(where)
    config = ProjectionConfig(
        space=space,  # type: ignore[arg-type]  # click checked it
        steps=steps,
        class_index=class_number(class_index, source.class_names, generator.network.c_dim),
        seed=seed,
    )
    target = read_photo(photo, generator, crop=crop)  # type: ignore[arg-type]  # click checked it
    features: Features = PixelGradients() if detector is None else Vgg16(detector, where)
    given = None if bundle is None else open_bundle_of(bundle, generator)
    echo(f"comparing {features.name}", err=True)
    with progress(steps, "steps", "projecting") as bar:
        found = project_image(
            generator, target, config, features=features, on_step=lambda _: bar.update(1)
        )
    record = write_projection(
        out,
        found,
        config,
        generator,
        about={"photo": photo.name, "checkpoint": source.about, "crop": crop},
        video=None if video == "none" else video,
        bundle=given,
        on_step=show_step,
    )
    if as_json:
        echo(json.dumps({"out": str(out), **record}))
        return
    echo(
        f"{out}: mean squared error {record['mse_mean_image']:.3g} of the mean image, "
        f"{record['mse']:.3g} of the found one ({record['psnr_db']:.1f} dB); {record['features']}"
    )
    echo(f"  {', '.join(record['files'].values())}")
    if "sweep" not in record["files"]:
        echo(
            "  no sweep: this generator has no sliders. Add some to its bundle with 'segan "
            "directions', and pass the bundle with --bundle."
        )
    if bundle is None:
        bundle = out / "generator.segan"
        verb = "import" if source.path.is_file() else "export"
        echo(f"next: {segan(verb, source.path, '-o', bundle)}")
    latents = out / record["files"]["latents"]
    echo(f"next: {segan('generate', bundle, '--latents', latents)}")
