"""``segan mix``: the styles of two sets of seeds, crossed."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from segan.cli.options import (
    BundleSource,
    LatentFiles,
    bundle_options,
    first_seeds,
    generation_options,
    json_option,
    latents_option,
    parsed_by,
    scale_option,
    with_latents,
)
from segan.cli.output import Output, overwrite_option
from segan.cli.standard_streams import echo
from segan.runtime.errors import ConfigError
from segan.runtime.latents.seeds import SeedList, parse_seeds

if TYPE_CHECKING:
    from segan.runtime.latents.options import GenerationOptions


@click.command(
    "mix",
    epilog="Example: segan mix faces.segan --rows 0-3 --cols 10-14 --layers 0-1 -o mix.png",
)
@latents_option
@click.option(
    "--cols-from",
    type=click.Choice(["seeds", "latents"]),
    default="seeds",
    show_default=True,
    help="With --latents: whether --cols are seeds or latents. --rows are latents.",
)
@click.option(
    "--rows",
    default=None,
    show_default="0-3, or the first 4 latents",
    callback=parsed_by(partial(parse_seeds, name="rows")),
    metavar="LIST",
    help="Seeds of the other layers.",
)
@click.option(
    "--cols",
    default="10-14",
    show_default=True,
    callback=parsed_by(partial(parse_seeds, name="cols")),
    metavar="LIST",
    help="Seeds of the layers in --layers.",
)
@click.option(
    "--layers",
    default="0-1",
    show_default=True,
    metavar="LIST",
    help="Layers taken from the column seeds, coarse to fine.",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=None,
    show_default="mix.png, or the next free name",
    help="The sheet: png, jpg or webp.",
)
@overwrite_option
@scale_option
@generation_options
@bundle_options
@json_option
def command(
    source: BundleSource,
    latents: LatentFiles,
    cols_from: Literal["seeds", "latents"],
    rows: SeedList | None,
    cols: SeedList,
    layers: str,
    out: Path | None,
    overwrite: bool,
    scale: int | None,
    options: GenerationOptions,
    as_json: bool,
) -> None:
    """Mix styles: each row's seed with the given layers of each column's seed.

    The result is a sheet with the unmixed images along its left and upper edge. Low layers
    determine pose and shape, high layers colour and texture.
    """
    import numpy as np

    from segan.runtime.generate.mix import mix
    from segan.runtime.pictures.sheets import check_sheet_path, labelled_sheet, write_sheet

    if out is not None:
        check_sheet_path(out)
    generator = source.open(options.noise)
    out = Output(out, overwrite).file("mix.png", [generator.bundle.path, *latents])
    options = with_latents(options, latents, generator)
    rows = first_seeds(4, options.latents) if rows is None else rows
    if not len(rows) or not len(cols):
        raise ConfigError("--rows or --cols is empty", expected="1 seed or more each")
    of_rows = of_cols = generator.resolve(options)
    if cols_from == "seeds":
        of_cols = of_rows.without_latents()
    height, width, channels = generator.image_shape
    images = np.full((len(rows) + 1, len(cols) + 1, height, width, channels), 255, np.uint8)
    images[1:, 1:] = mix(generator, of_rows, list(rows), list(cols), layers, cols_from)
    images[1:, 0] = generator.images(rows, of_rows)
    images[0, 1:] = generator.images(cols, of_cols)
    sheet = labelled_sheet(
        images,
        rows=["", *(f"{of_rows.seed_word} {seed}" for seed in rows)],
        cols=["", *(f"{of_cols.seed_word} {seed}" for seed in cols)],
        title=f"Layers {layers} from the columns' seeds, the rest from the rows'",
        subtitle=generator.manifest.name,
        scale=scale,
    )
    write_sheet(out, sheet)
    if as_json:
        echo(
            json.dumps({"path": str(out), "rows": list(rows), "cols": list(cols), "layers": layers})
        )
    else:
        echo(f"{out}: {len(rows)} x {len(cols)} mixed images, layers {layers} crossed.")
