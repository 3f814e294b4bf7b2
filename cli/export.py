"""``segan export``: a run's generator as a bundle that was compared with the original."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from segan.cli.options import json_option

if TYPE_CHECKING:
    from segan.export.exporter import ExportResult
    from segan.export.half import HalfPrecision
    from segan.runtime.manifest import Manifest

#: As in segan.export.lowering, which imports torch.
LOWERINGS = ("transposed", "subpixel", "folded")


@click.command(
    "export",
    epilog="Example: segan export runs/00000-faces-mode2-tiny -o faces.segan",
)
@click.argument("checkpoint", type=click.Path(path_type=Path), required=False)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=None,
    show_default="the data's name, such as faces.segan",
    help="Folder of the bundle, NAME.segan; a bundle that is there is replaced.",
)
@click.option(
    "--name",
    default=None,
    show_default="the data's name",
    help="Name that the bundle states, for people.",
)
@click.option(
    "--lowering",
    type=click.Choice(LOWERINGS),
    default=None,
    show_default="the fastest measured",
    help="How upsampling is written: transposed convolution and filter; 2 x 2 convolution, "
    "DepthToSpace and filter; or one 3 x 3 convolution with the filter in it, and DepthToSpace.",
)
@click.option(
    "--tolerance",
    type=float,
    default=1e-4,
    show_default=True,
    help="Largest difference of a pixel that verification accepts, images in [-1, 1].",
)
@click.option("--fp16", is_flag=True, help="Also write the synthesis graph in fp16, for GPUs.")
@click.option(
    "--bf16",
    is_flag=True,
    help="Also write the synthesis graph in bf16: no faster than fp16, and 8 times as coarse.",
)
@click.option("--zip", "as_zip", is_flag=True, help="Also write it as one file, NAME.segan.zip.")
@json_option
def command(
    checkpoint: Path | None,
    out: Path | None,
    name: str | None,
    lowering: str | None,
    tolerance: float,
    fp16: bool,
    bf16: bool,
    as_zip: bool,
    as_json: bool,
) -> None:
    """Write the generator of a run or checkpoint folder as a verified ONNX bundle.

    Without CHECKPOINT the newest run under ./runs is taken. The bundle's images are compared with
    the PyTorch generator's on fresh seeds, several batch sizes, psi and noise modes, with every
    slider moved. When they differ by more than the tolerance the command fails, and an older
    bundle of the same name stays as it was. Graphs of half precision are compared with the fp32
    graph, on 64 seeds (fewer above 64 x 64) with every slider at and past its ends: fp16 must reach
    a PSNR of 45 dB over all images and 35 dB in each, bf16 35 and 25 dB.
    """
    # Nothing here needs torch until the checkpoint is known to be there.
    from segan.train.checkpoint import load_generator, resolve_checkpoint

    found = resolve_checkpoint(checkpoint)
    click.echo(f"checkpoint: {_short(found)}", err=True)

    from segan.export.exporter import ExportConfig, bundle_name, export_bundle

    config = ExportConfig(
        name=name,
        lowering=lowering,  # type: ignore[arg-type]  # one of LOWERINGS: click checked it
        tolerance=tolerance,
        precisions=precisions_of(fp16=fp16, bf16=bf16),
        zip=as_zip,
    )
    loaded = load_generator(found)
    out = out or Path(bundle_name(loaded.meta.name))
    result = export_bundle(
        loaded, out, config, on_step=lambda text: click.echo(f"{text} ...", err=True)
    )
    if as_json:
        click.echo(json.dumps(_as_dict(result, found)))
        return
    _print(result)


def precisions_of(*, fp16: bool, bf16: bool) -> tuple[HalfPrecision, ...]:
    """The flags as ``ExportConfig.precisions``."""
    flags: dict[HalfPrecision, bool] = {"fp16": fp16, "bf16": bf16}
    return tuple(name for name, asked in flags.items() if asked)


def half_figures(manifest: Manifest) -> list[dict[str, Any]]:
    """What verification measured of the graphs of half precision, for --json."""
    names = ("precision", "backend", "psnr_db", "worst_psnr_db", "min_psnr_db", "max_error")
    return [
        {name: getattr(record, name) for name in names}
        for record in manifest.verification
        if record.min_psnr_db is not None
    ]


def print_half_figures(manifest: Manifest) -> None:
    """A line for each of them."""
    for record in manifest.verification:
        if record.min_psnr_db is not None:
            where = "with each result rounded" if record.backend == "emulated" else record.backend
            click.echo(
                f"verified {record.precision} on {len(record.seeds)} seeds, {where}: "
                f"PSNR {record.psnr_db:.1f} dB, worst image {record.worst_psnr_db:.1f} dB, "
                f"max error {record.max_error:.1e}"
            )


def _short(path: Path) -> Path:
    """The path from the current folder, where it lies below."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _as_dict(result: ExportResult, checkpoint: Path) -> dict[str, Any]:
    record = result.verification.record
    return {
        "checkpoint": str(checkpoint),
        "bundle": str(result.path),
        "zip": None if result.zip_path is None else str(result.zip_path),
        "name": result.manifest.name,
        "files": result.sizes,
        "lowering": result.manifest.lowering,
        "backend": record.backend,
        "max_error": record.max_error,
        "psnr_db": record.psnr_db,
        "tolerance": record.tolerance,
        "cases": record.cases,
        "half_precision": half_figures(result.manifest),
        "seconds": round(result.seconds, 3),
        "verify_seconds": round(result.verification.seconds, 3),
    }


def _print(result: ExportResult) -> None:
    manifest, record = result.manifest, result.verification.record
    click.echo(f"wrote {result.path} in {result.seconds:.1f} s")
    for name, size in result.sizes.items():
        if name.endswith(".onnx"):
            click.echo(f"  {name:<20}{_size(size):>9}")
    if result.zip_path is not None:
        click.echo(f"  {result.zip_path} holds the same in one file")
    batches = ", ".join(str(size) for size in record.batch_sizes)
    click.echo(
        f"verified on {record.backend}: max error {record.max_error:.1e} "
        f"(tolerance {record.tolerance:g}), PSNR {record.psnr_db:.1f} dB, "
        f"{len(record.cases)} cases, batches of {batches}"
    )
    print_half_figures(manifest)
    click.echo(f"next: {_next_command(result.path, manifest)}")


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"


def _next_command(path: Path, manifest: Manifest) -> str:
    bundle = shlex.quote(str(path))
    if not manifest.subspaces:
        return f"segan generate {bundle} --seeds 0-63 -o out"
    # Middle layers show the most; index 0 needs no option.
    rows = [row for row in manifest.subspaces if row.index == 0]
    row = rows[min(3, len(rows) - 1)]
    return f"segan sweep {bundle} --layer {row.layer} --dim {min(5, row.dims - 1)}"
