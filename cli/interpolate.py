"""``segan interpolate``: a walk between latents."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from segan.cli.options import (
    BundleSource,
    Style,
    all_latents,
    batch_size_option,
    bundle_options,
    json_option,
    latents_option,
    open_latents,
    parse_class,
    scale_option,
    seeds_option,
    style_options,
)
from segan.cli.progress import progress
from segan.runtime.errors import ConfigError
from segan.runtime.latents.seeds import SeedList, parse_seeds

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@click.command(
    "interpolate",
    epilog="Example: segan interpolate faces.segan --seeds 0,5,9 --frames 30 --loop -o walk.gif",
)
@seeds_option(None, "Seeds to walk through, 2 or more.", "0-3, or all latents")
@latents_option
@click.option(
    "--frames", type=int, default=30, show_default=True, help="Frames from a seed to the next."
)
@click.option(
    "--space",
    type=click.Choice(["w", "z"]),
    default="w",
    show_default=True,
    help="Straight lines in w, or great circles (slerp) in z.",
)
@click.option(
    "--to-class",
    multiple=True,
    metavar="NAME|NUMBER",
    help="Walk from --class to this class on the way: the seeds take the classes in turn, and one "
    "seed is enough. Repeatable.",
)
@click.option("--loop", is_flag=True, help="Walk back from the last seed to the first.")
@click.option("--fps", type=float, default=30.0, show_default=True, help="Of gif and mp4.")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=Path("walk.gif"),
    show_default=True,
    help="NAME.gif, NAME.mp4, or a folder for png frames.",
)
@scale_option
@style_options
@batch_size_option
@bundle_options
@json_option
def command(
    source: BundleSource,
    seeds: SeedList | None,
    latents: tuple[Path, ...],
    frames: int,
    space: Literal["w", "z"],
    to_class: tuple[str, ...],
    loop: bool,
    fps: float,
    out: Path,
    scale: int | None,
    style: Style,
    batch_size: int,
    as_json: bool,
) -> None:
    """Walk from seed to seed: a gif, an mp4, or a folder of png frames.

    Small frames of a gif or mp4 are enlarged to 256 pixels; png frames keep their size.
    """
    from segan.runtime.pictures.video import check_animation, write_animation

    check_animation(out, fps)
    if scale is not None and scale < 1:
        raise ConfigError(f"scale is {scale}; expected 1 or more.")
    generator = source.open(style["noise"])
    given = open_latents(latents, generator)
    seeds = seeds or all_latents(given) or parse_seeds("0-3")
    classes = _classes(style, to_class)
    walk = generator.interpolate(
        seeds,
        frames,
        space=space,
        loop=loop,
        classes=classes,
        batch_size=batch_size,
        latents=given,
        **style,
    )
    stops = max(len(seeds), len(classes or ()))
    total = frames * (stops if loop else stops - 1) + (0 if loop else 1)
    with progress(total, "frames", "walking") as bar:
        written = write_animation(out, _watched(walk, bar.update), fps=fps, scale=scale)
    if as_json:
        result = {
            "path": str(out),
            "frames": written,
            "seconds": round(written / fps, 3),
            "seeds": list(seeds),
            "space": space,
        }
        click.echo(json.dumps(result))
    else:
        click.echo(f"{out}: {written} frames, {written / fps:.3g} s at {fps:g} a second.")


def _classes(style: Style, to_class: tuple[str, ...]) -> list[int | str] | None:
    """The classes to walk through, the first of them taken out of ``style``; None for one alone."""
    if not to_class:
        return None
    first = style["class_index"]
    if first is None:
        raise ConfigError("--to-class has no class to start from; expected --class too.")
    style["class_index"] = None
    return [first, *(parse_class(name) for name in to_class)]


def _watched(
    frames: Iterable[NDArray[np.uint8]], update: Callable[[float], None]
) -> Iterator[NDArray[np.uint8]]:
    """The frames, counted as they pass."""
    for frame in frames:
        yield frame
        update(1)
