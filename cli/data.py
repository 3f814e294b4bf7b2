"""``segan data``: render the built-in faces, or convert images to a training zip."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from segan.cli.progress import progress


@click.group("data")
def command() -> None:
    """Make the training zip that 'segan train --data' reads."""


@command.command(
    "render",
    epilog="Example: segan data render faces.zip --count 20000 --resolution 64 --seed 0",
)
@click.argument("out", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--count", type=int, default=20_000, show_default=True, help="How many faces.")
@click.option(
    "--resolution",
    type=int,
    default=64,
    show_default=True,
    help="Height and width in pixels: a power of two from 8 to 1024.",
)
@click.option(
    "--seed",
    type=int,
    default=0,
    show_default=True,
    help="Of the set. Face i depends on the seed and i alone, so a longer set begins with the "
    "shorter one.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def render(out: Path, count: int, resolution: int, seed: int, as_json: bool) -> None:
    """Draw the built-in cartoon faces into the training zip OUT.

    Each face has 18 independent attributes, such as skin tone, hair colour, eye size, smile and
    glasses. Their values are in the zip's dataset.json.
    """
    from segan.train.faces import FACE_ATTRIBUTES
    from segan.train.faces_dataset import render_faces

    start = time.perf_counter()
    with progress(count, "images", "drawing") as bar:
        render_faces(out, count=count, resolution=resolution, seed=seed, on_progress=bar.update)
    seconds = time.perf_counter() - start
    if as_json:
        names = [attribute.name for attribute in FACE_ATTRIBUTES]
        result = {
            "path": str(out),
            "count": count,
            "resolution": resolution,
            "img_channels": 3,
            "seed": seed,
            "attributes": names,
            "seconds": round(seconds, 3),
        }
        click.echo(json.dumps(result))
    else:
        click.echo(
            f"{out}: {count} faces of {resolution} x {resolution}, {len(FACE_ATTRIBUTES)} "
            "attributes."
        )
