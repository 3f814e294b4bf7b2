"""``segan generate``: images of many seeds, into a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from segan.cli.options import (
    BundleSource,
    LatentFiles,
    all_latents,
    bundle_options,
    generation_options,
    json_option,
    latents_option,
    seeds_option,
    with_latents,
)
from segan.cli.progress import LateProgress
from segan.cli.standard_streams import echo
from segan.runtime.errors import ConfigError
from segan.runtime.latents.seeds import SeedList, parse_seeds

if TYPE_CHECKING:
    from segan.runtime.batch.pipeline import BatchResult
    from segan.runtime.batch.plan import BatchRequest
    from segan.runtime.generate.generator import Generator
    from segan.runtime.latents.options import GenerationOptions

FORMATS = ("png", "webp", "jpeg", "npz", "zip", "tar")

#: Images on the sheet that --sheet draws.
_SHEET_IMAGES = 64
_SHEET = "sheet.png"


@click.command(
    "generate",
    epilog="Example: segan generate faces.segan --seeds 0-63 -o out --psi 0.7",
)
@seeds_option(None, shown="0-63, or all latents")
@latents_option
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=Path("out"),
    show_default=True,
    help="Folder for the images; created if missing.",
)
@click.option(
    "--format",
    "files",
    type=click.Choice(FORMATS),
    default="png",
    show_default=True,
    help="One file per image (png, webp, jpeg), or shards of 10,000 (npz, zip, tar).",
)
@click.option(
    "--quality",
    type=int,
    default=95,
    show_default=True,
    help="Quality of webp and jpeg, 1 to 100; 100 makes webp lossless.",
)
@click.option(
    "--compress-level",
    type=int,
    default=1,
    show_default=True,
    help="Compression of png, 0 (large, fast) to 9 (small, slow).",
)
@click.option(
    "--shard-size",
    type=int,
    default=None,
    show_default="10000, npz at most 1 GiB",
    help="Images per shard.",
)
@generation_options
@click.option(
    "--workers",
    type=int,
    default=None,
    show_default="one per core, 8 at most",
    help="Threads that encode and write.",
)
@click.option("--sheet", is_flag=True, help="Also draw the first 64 images on OUT/sheet.png.")
@click.option(
    "--overwrite", is_flag=True, help="Remove the images of an earlier batch from OUT first."
)
@bundle_options
@json_option
def command(
    source: BundleSource,
    seeds: SeedList | None,
    latents: LatentFiles,
    out: Path,
    files: str,
    quality: int,
    compress_level: int,
    shard_size: int | None,
    options: GenerationOptions,
    workers: int | None,
    sheet: bool,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Generate an image of each seed, from BUNDLE or the newest bundle under this folder.

    If there is none, the bundle that ships with segan is used.

    Files are OUT/seed000017.png, beyond 10,000 seeds OUT/0001/seed012345.png; shards are
    OUT/shard-000000.tar. OUT/generation.json records the request. The same command continues an
    interrupted batch and keeps the images that exist.
    """
    from segan.runtime.batch.plan import BatchRequest

    if out.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp", ".npz", ".zip", ".tar"):
        raise ConfigError(
            field="out", value=out, expected="a folder", remedy="--format sets the files' format."
        )
    generator = source.open(options.noise)
    options = with_latents(options, latents, generator)
    seeds = seeds or all_latents(options.latents) or parse_seeds("0-63")
    request = BatchRequest(
        seeds=seeds,
        options=options,
        format=files,  # type: ignore[arg-type]  # one of FORMATS: click checked it
        quality=quality,
        compress_level=compress_level,
        shard_size=shard_size,
    )
    _check_output(generator, out, latents, sheet, overwrite)
    result = _run(generator, request, out, workers, overwrite)
    drawn = _draw_sheet(generator, request, out) if sheet else None
    if as_json:
        echo(
            json.dumps(
                {
                    "bundle": str(generator.bundle.path),
                    "backend": generator.backend,
                    "out": str(out),
                    "format": files,
                    "requested": result.requested,
                    "written": result.written,
                    "found": result.found,
                    "seconds": round(result.seconds, 3),
                    "images_per_s": round(result.written / result.seconds, 3),
                    "sheet": None if drawn is None else str(drawn),
                }
            )
        )
        return
    found = f", {result.found} existed already" if result.found else ""
    echo(f"{out}: {result.written} images written{found}.")
    if drawn is not None:
        echo(f"{drawn}: the first {min(len(seeds), _SHEET_IMAGES)} images.")


def _check_output(
    generator: Generator, out: Path, latents: LatentFiles, sheet: bool, overwrite: bool
) -> None:
    """Raise OutputError where a batch would remove what it is made from, or another's sheet."""
    from segan.runtime.batch.record import RECORD_NAME, check_not_generated
    from segan.runtime.files.target import check_file, kind_of_ending

    sources = [generator.bundle.path, *latents]
    if overwrite:
        check_not_generated(out, sources)
    picture = out / _SHEET
    # Beside the record of a batch, the sheet is the batch's own.
    if sheet and not (out / RECORD_NAME).exists():
        check_file(picture, kind_of_ending(picture), overwrite=overwrite, sources=sources)


def _run(
    generator: Generator,
    request: BatchRequest,
    out: Path,
    workers: int | None,
    overwrite: bool,
) -> BatchResult:
    """Generate the batch and show its progress; after Ctrl-C, print how to continue."""
    from segan.runtime.batch.pipeline import generate_batch

    written = 0
    with LateProgress("images") as bar:

        def on_start(missing: int, found: int) -> None:
            if found:
                echo(f"{out}: {found} of {missing + found} images exist already.", err=True)
            if missing:
                bar.start(missing, "generating")

        def on_written(images: int) -> None:
            nonlocal written
            written += images
            bar.update(images)

        try:
            return generate_batch(
                generator,
                request,
                out,
                workers=workers,
                overwrite=overwrite,
                on_start=on_start,
                on_written=on_written,
            )
        except KeyboardInterrupt:
            echo(
                "",
                f"{out}: {written} images written. Run the same command "
                f"{'without --overwrite ' if overwrite else ''}to generate the rest.",
                err=True,
            )
            raise


def _draw_sheet(generator: Generator, request: BatchRequest, out: Path) -> Path | None:
    """Draw the first images on a sheet; None for a request without seeds."""
    from segan.runtime.pictures.sheets import grid, write_sheet

    seeds = request.seeds[:_SHEET_IMAGES]
    if not len(seeds):
        return None
    images = generator.images(seeds, generator.resolve(request.options))
    path = out / _SHEET
    write_sheet(path, grid(images))
    return path
