"""Options and output that ``segan export`` and ``segan import`` share."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from segan.cli.standard_streams import echo
from segan.runtime.bundle.classes import class_words
from segan.runtime.commands import command as segan

if TYPE_CHECKING:
    from segan.export.finishing import ExportResult
    from segan.export.precisions import ReducedPrecision
    from segan.runtime.bundle.manifest import Manifest

#: As in segan.export.graphs.lowering, which imports torch.
LOWERINGS = ("transposed", "subpixel", "folded")


def bundle_output_options(*, source: str, tolerance: float) -> Callable[[Any], Any]:
    """Add the options of a written bundle: -o, --name, --lowering, --tolerance, --fp16 and so on.

    The command gets ``out``, ``overwrite``, and ``settings``: the keyword arguments that
    ExportConfig and ImportConfig share.

    Args:
        source: whose name the bundle has by default, such as ``data``.
        tolerance: default of --tolerance.
    """
    options = [
        click.option(
            "-o",
            "--out",
            type=click.Path(path_type=Path),
            default=None,
            show_default=f"the {source}'s name, such as faces.segan, or the next free one",
            help="Folder of the bundle, NAME.segan.",
        ),
        click.option(
            "--overwrite",
            is_flag=True,
            help="Replace an existing bundle. Names of sliders and directions are taken over; if "
            "they belong to another generator, it is not replaced.",
        ),
        click.option(
            "--name",
            default=None,
            show_default=f"the {source}'s name",
            help="Display name of the bundle.",
        ),
        click.option(
            "--lowering",
            type=click.Choice(LOWERINGS),
            default=None,
            show_default="the fastest measured",
            help="How upsampling is written: transposed convolution and filter; 2 x 2 convolution, "
            "DepthToSpace and filter; or one 3 x 3 convolution that includes the filter, and "
            "DepthToSpace.",
        ),
        click.option(
            "--tolerance",
            type=float,
            default=tolerance,
            show_default=True,
            help="Largest difference of a pixel that verification accepts, images in [-1, 1].",
        ),
        click.option(
            "--fp16", is_flag=True, help="Also write the synthesis graph in fp16, for GPUs."
        ),
        click.option(
            "--bf16",
            is_flag=True,
            help="Also write the synthesis graph in bf16: no faster than fp16, and 8 times less "
            "precise.",
        ),
        click.option(
            "--int8",
            is_flag=True,
            help="Also write the synthesis graph in int8, for OpenVINO on CPUs. It is calibrated "
            "on sampled latents, and written only if its images are close enough.",
        ),
        click.option(
            "--zip",
            "as_zip",
            is_flag=True,
            help="Also write it as one file, NAME.segan.zip.",
        ),
    ]

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def run(
            *,
            name: str | None,
            lowering: str | None,
            tolerance: float,
            fp16: bool,
            bf16: bool,
            int8: bool,
            as_zip: bool,
            **rest: Any,
        ) -> Any:
            flags: dict[ReducedPrecision, bool] = {"fp16": fp16, "bf16": bf16, "int8": int8}
            settings = {
                "name": name,
                "lowering": lowering,
                "tolerance": tolerance,
                "precisions": tuple(precision for precision, asked in flags.items() if asked),
                "zip": as_zip,
            }
            return function(settings=settings, **rest)

        for option in reversed(options):
            option(run)
        return run

    return decorate


def free_bundle(first: Path, *others: Path, as_zip: bool) -> Path:
    """Return a path for a bundle where nothing is, and say so if it is not ``first``.

    Args:
        first: the name that is preferred.
        others: further names; see ``free_name``.
        as_zip: whether NAME.segan.zip must be free, too.
    """
    from segan.runtime.bundle.writer import zip_path
    from segan.runtime.files.target import free_name

    def is_free(path: Path) -> bool:
        paths = [path, zip_path(path)] if as_zip else [path]
        return not any(os.path.lexists(path) for path in paths)

    found = free_name(first, *others, is_free=is_free)
    if found != first:
        echo(f"{first} exists, so the bundle is {found}", err=True)
    return found


def print_carried(result: ExportResult) -> None:
    """Print what the bundle has from the one that it replaced."""
    names, subspaces = result.carried
    parts = [f"{names} name{'s' * (names > 1)}"] if names else []
    parts += [f"{subspaces} subspace{'s' * (subspaces > 1)} of directions"] if subspaces else []
    if parts:
        echo(f"kept from the replaced bundle: {' and '.join(parts)}")


def show_step(text: str) -> None:
    """Show the start of a step, as ``on_step``."""
    echo(f"{text} ...", err=True)


def figures(result: ExportResult) -> dict[str, Any]:
    """Return the entries of --json that both commands have."""
    record = result.verification.record
    names = ["precision", "backend", "psnr_db", "worst_psnr_db", "min_psnr_db", "max_error"]
    return {
        "bundle": str(result.path),
        "zip": None if result.zip_path is None else str(result.zip_path),
        "name": result.manifest.name,
        "max_error": record.max_error,
        "psnr_db": record.psnr_db,
        "tolerance": record.tolerance,
        "precisions": [
            {name: getattr(row, name) for name in names}
            for row in result.manifest.verification
            if row.min_psnr_db is not None
        ],
        "kept": result.carried._asdict(),
        "verify_seconds": round(result.verification.seconds, 3),
    }


def print_verification(result: ExportResult) -> None:
    """Print a line for the fp32 graphs, and one for each graph of reduced precision."""
    record = result.verification.record
    batches = ", ".join(str(size) for size in record.batch_sizes)
    echo(
        f"verified on {record.backend}: max error {record.max_error:.1e} "
        f"(tolerance {record.tolerance:g}), PSNR {record.psnr_db:.1f} dB, "
        f"{len(record.cases)} cases, batches of {batches}"
    )
    for row in result.manifest.verification:
        if row.min_psnr_db is not None:
            where = "with each result rounded" if row.backend == "emulated" else row.backend
            echo(
                f"verified {row.precision} on {len(row.seeds)} seeds, {where}: "
                f"PSNR {row.psnr_db:.1f} dB, worst image {row.worst_psnr_db:.1f} dB, "
                f"max error {row.max_error:.1e}"
            )


def print_next(path: Path, manifest: Manifest) -> None:
    """Print a command that shows something of the new bundle."""
    label = class_words(manifest.class_names, manifest.c_dim)
    if not manifest.subspaces:
        echo(f"next: {segan('generate', path, '--seeds', '0-63', '-o', 'out', *label)}")
        return
    # Middle layers show the most; index 0 needs no option.
    rows = [row for row in manifest.subspaces if row.index == 0]
    row = rows[min(3, len(rows) - 1)]
    place = ("--layer", row.layer, "--dim", min(5, row.dims - 1))
    echo(f"next: {segan('sweep', path, *place, *label)}")
