"""``segan import``: another project's checkpoint as a bundle; nothing in the file is executed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from segan.cli.bundle_output import (
    bundle_output_options,
    figures,
    free_bundle,
    print_carried,
    print_next,
    print_verification,
    show_step,
)
from segan.cli.errors import option_text
from segan.cli.options import json_option
from segan.cli.standard_streams import echo

if TYPE_CHECKING:
    from segan.export.importer import ImportResult

#: As in segan.export.foreign.container, whose package imports torch.
LAYOUTS = ("ada", "rosinality", "segan-pytorch")


@click.command("import", epilog="Example: segan import ffhq.pkl -o ffhq.segan")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--layout",
    type=click.Choice(LAYOUTS),
    default=None,
    show_default="recognised from the content",
    help="Project whose tensor names the file uses: StyleGAN2-ADA, "
    "rosinality/stylegan2-pytorch, or curefate/SEGan_Pytorch.",
)
@click.option(
    "--conv-clamp",
    type=float,
    default=None,
    show_default="as the file states, or none",
    help="Bound on the convolutions' outputs of a StyleGAN2-ADA whose file holds tensors alone: "
    "256 where it was trained in fp16.",
)
@bundle_output_options(source="file", tolerance=1e-3)
@json_option
def command(
    file: Path,
    layout: str | None,
    conv_clamp: float | None,
    out: Path | None,
    overwrite: bool,
    settings: dict[str, Any],
    as_json: bool,
) -> None:
    """Write another project's StyleGAN2 as a verified ONNX bundle.

    FILE is a pickle of StyleGAN2-ADA (PyTorch) or of the StyleGAN3 repository with a StyleGAN2
    generator, a .pt of rosinality/stylegan2-pytorch or curefate/SEGan_Pytorch, or of pSp, e4e or
    ReStyle, whose decoder is taken, a safetensors file with the names of one of these, or a run or
    checkpoint folder of segan. The format is recognised from the content, not from the file's name.

    Nothing in the file is executed: it is read as data, and a file that requires more is refused.
    The bundle's images are compared with those of the generator in PyTorch, as in segan export.
    """
    from segan.export.importer import ImportConfig, import_model

    config = ImportConfig(layout=layout, conv_clamp=conv_clamp, **settings)
    if out is None:
        out = _choose_name(file, config.name, overwrite, as_zip=config.zip)
    result = import_model(file, out, config, overwrite=overwrite, on_step=show_step)
    if as_json:
        echo(json.dumps(_as_dict(result, file)))
    else:
        _print(result)
    if result.export.refused is not None:
        raise result.export.refused


def _choose_name(file: Path, name: str | None, overwrite: bool, as_zip: bool) -> Path:
    """Return the file's name, with its ending where another bundle has that already."""
    from segan.runtime.bundle.writer import bundle_name

    stem = name or file.stem or file.resolve().name
    first = Path(bundle_name(stem))
    if overwrite:
        return first
    others = [Path(bundle_name(f"{stem}{file.suffix.replace('.', '-')}"))] if file.suffix else []
    return free_bundle(first, *others, as_zip=as_zip)


def _as_dict(result: ImportResult, file: Path) -> dict[str, Any]:
    manifest = result.export.manifest
    return {
        "file": str(file),
        "layout": result.layout,
        "container": result.container,
        "parameters": result.parameters,
        "resolution": manifest.resolution,
        "img_channels": manifest.img_channels,
        "classes": manifest.c_dim,
        "architecture": manifest.architecture,
        "mode": manifest.mode,
        "notes": list(result.notes),
        **figures(result.export),
        "seconds": round(result.seconds, 3),
    }


def _print(result: ImportResult) -> None:
    from segan.export.foreign.load import TITLES

    exported, manifest = result.export, result.export.manifest
    classes = f", {manifest.c_dim} classes" if manifest.c_dim else ""
    mode = f", mode {manifest.mode}" if manifest.mode else ""
    echo(
        f"{TITLES[result.layout]}, {result.container}: {result.parameters:,} parameters, "
        f"{manifest.resolution} x {manifest.resolution}{classes}{mode}"
    )
    for note in result.notes:
        echo(f"note: {option_text(note)}")
    echo(f"wrote {exported.path} in {result.seconds:.1f} s")
    if exported.zip_path is not None:
        echo(f"  {exported.zip_path} holds the same in one file")
    print_carried(exported)
    print_verification(exported)
    print_next(exported.path, manifest)
