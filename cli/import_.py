"""``segan import``: another project's checkpoint as a bundle; nothing in the file is executed."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from segan.cli.export import LOWERINGS, precisions_of, print_reduced_figures, reduced_figures
from segan.cli.options import json_option
from segan.runtime.errors import VerifyError

if TYPE_CHECKING:
    from segan.export.importer import ImportResult

#: As in segan.export.foreign.container, whose neighbours import torch.
LAYOUTS = ("ada", "rosinality", "segan-pytorch")


@click.command("import", epilog="Example: segan import ffhq.pkl -o ffhq.segan")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=None,
    show_default="the file's name, such as ffhq.segan",
    help="Folder of the bundle, NAME.segan; a bundle that is there is replaced.",
)
@click.option(
    "--layout",
    type=click.Choice(LAYOUTS),
    default=None,
    show_default="recognised from the content",
    help="Whose names the tensors have: StyleGAN2-ADA's, rosinality/stylegan2-pytorch's, or "
    "curefate/SEGan_Pytorch's.",
)
@click.option(
    "--name",
    default=None,
    show_default="the file's name",
    help="Name that the bundle states, for people.",
)
@click.option(
    "--lowering",
    type=click.Choice(LOWERINGS),
    default=None,
    show_default="the fastest measured",
    help="How upsampling is written: see segan export.",
)
@click.option(
    "--tolerance",
    type=float,
    default=1e-3,
    show_default=True,
    help="Largest difference of a pixel that verification accepts, images in [-1, 1].",
)
@click.option("--fp16", is_flag=True, help="Also write the synthesis graph in fp16, for GPUs.")
@click.option("--bf16", is_flag=True, help="Also write it in bf16: see segan export.")
@click.option("--int8", is_flag=True, help="Also write it in int8: see segan export.")
@click.option("--zip", "as_zip", is_flag=True, help="Also write it as one file, NAME.segan.zip.")
@json_option
def command(
    file: Path,
    out: Path | None,
    layout: str | None,
    name: str | None,
    lowering: str | None,
    tolerance: float,
    fp16: bool,
    bf16: bool,
    int8: bool,
    as_zip: bool,
    as_json: bool,
) -> None:
    """Write another project's StyleGAN2 as a verified ONNX bundle.

    FILE is a pickle of StyleGAN2-ADA (PyTorch) or of the StyleGAN3 repository with a StyleGAN2
    generator, a .pt of rosinality/stylegan2-pytorch or curefate/SEGan_Pytorch, safetensors with
    the names of one of these, or a run or checkpoint folder of segan's own. What it is shows in
    its content, never in its name.

    Nothing in the file is executed: it is read as data, and what asks for more is refused. The
    bundle's images are compared with those of the generator in PyTorch, as segan export does.
    """
    from segan.export.importer import ImportConfig, import_model
    from segan.runtime.bundle.writer import bundle_name

    config = ImportConfig(
        layout=layout,
        name=name,
        lowering=lowering,  # type: ignore[arg-type]  # one of LOWERINGS: click checked it
        tolerance=tolerance,
        precisions=precisions_of(fp16=fp16, bf16=bf16, int8=int8),
        zip=as_zip,
    )
    out = out or Path(bundle_name(name or file.stem or file.resolve().name))
    result = import_model(
        file, out, config, on_step=lambda text: click.echo(f"{text} ...", err=True)
    )
    if as_json:
        click.echo(json.dumps(_as_dict(result, file)))
    else:
        _print(result)
    if result.export.refused is not None:
        raise VerifyError(result.export.refused)


def _as_dict(result: ImportResult, file: Path) -> dict[str, Any]:
    exported = result.export
    manifest, record = exported.manifest, exported.verification.record
    return {
        "file": str(file),
        "layout": result.layout,
        "container": result.container,
        "bundle": str(exported.path),
        "zip": None if exported.zip_path is None else str(exported.zip_path),
        "name": manifest.name,
        "parameters": result.parameters,
        "resolution": manifest.resolution,
        "img_channels": manifest.img_channels,
        "classes": manifest.c_dim,
        "architecture": manifest.architecture,
        "mode": manifest.mode,
        "max_error": record.max_error,
        "psnr_db": record.psnr_db,
        "tolerance": record.tolerance,
        "precisions": reduced_figures(manifest),
        "notes": list(result.notes),
        "seconds": round(result.seconds, 3),
        "verify_seconds": round(exported.verification.seconds, 3),
    }


def _print(result: ImportResult) -> None:
    from segan.export.foreign.load import TITLES

    exported = result.export
    manifest, record = exported.manifest, exported.verification.record
    classes = f", {manifest.c_dim} classes" if manifest.c_dim else ""
    mode = f", mode {manifest.mode}" if manifest.mode else ""
    click.echo(
        f"{TITLES[result.layout]}, {result.container}: {result.parameters:,} parameters, "
        f"{manifest.resolution} x {manifest.resolution}{classes}{mode}"
    )
    for note in result.notes:
        click.echo(f"note: {note}")
    click.echo(f"wrote {exported.path} in {result.seconds:.1f} s")
    if exported.zip_path is not None:
        click.echo(f"  {exported.zip_path} holds the same in one file")
    click.echo(
        f"verified on {record.backend}: max error {record.max_error:.1e} "
        f"(tolerance {record.tolerance:g}), PSNR {record.psnr_db:.1f} dB"
    )
    print_reduced_figures(manifest)
    bundle = shlex.quote(str(exported.path))
    if manifest.subspaces:
        click.echo(f"next: segan sweep {bundle} --layer 3 --dim 5")
    else:
        click.echo(f"next: segan generate {bundle} --seeds 0-63 -o out")
