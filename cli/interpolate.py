"""``segan interpolate``: a walk between latents."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from segan.cli.option_values import faults_in, parse_class
from segan.cli.options import (
    BundleSource,
    LatentFiles,
    all_latents,
    bundle_options,
    generation_options,
    json_option,
    latents_option,
    scale_option,
    seeds_option,
    with_latents,
)
from segan.cli.output import Output, overwrite_option
from segan.cli.progress import progress
from segan.cli.standard_streams import echo
from segan.runtime.bundle.classes import class_number
from segan.runtime.errors import ConfigError
from segan.runtime.latents.seeds import SeedList, parse_seeds

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from segan.runtime.latents.options import GenerationOptions


@click.command(
    "interpolate",
    epilog="Example: segan interpolate faces.segan --seeds 0,5,9 --frames 30 --loop -o walk.gif",
)
@seeds_option(None, "Seeds to walk through, 2 or more.", "0-3, or all latents")
@latents_option
@click.option(
    "--frames", type=int, default=30, show_default=True, help="Frames from one seed to the next."
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
    help="Walk from --class to this class. Seeds and classes are paired in turn, and one seed is "
    "enough. Repeatable.",
)
@click.option("--loop", is_flag=True, help="Walk back from the last seed to the first.")
@click.option(
    "--fps",
    type=float,
    default=30.0,
    show_default=True,
    help="Frames per second of gif and mp4; a gif shows 50 at most.",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=None,
    show_default="walk.gif, or the next free name",
    help="NAME.gif, NAME.mp4, or a folder for png frames.",
)
@overwrite_option
@scale_option
@generation_options
@bundle_options
@json_option
def command(
    source: BundleSource,
    seeds: SeedList | None,
    latents: LatentFiles,
    frames: int,
    space: Literal["w", "z"],
    to_class: tuple[str, ...],
    loop: bool,
    fps: float,
    out: Path | None,
    overwrite: bool,
    scale: int | None,
    options: GenerationOptions,
    as_json: bool,
) -> None:
    """Walk from seed to seed: a gif, an mp4, or a folder of png frames.

    Small frames of a gif or mp4 are enlarged to 256 pixels; png frames keep their size.
    """
    from segan.runtime.generate.walk import interpolate, with_first_class
    from segan.runtime.pictures.sheets import check_scale
    from segan.runtime.pictures.video import (
        check_animation,
        check_frames,
        dropped_frames,
        playing_time,
        write_animation,
    )

    check_animation(out or "walk.gif", fps)
    check_scale(scale)
    generator = source.open(options.noise)
    options = with_latents(options, latents, generator)
    seeds = seeds or all_latents(options.latents) or parse_seeds("0-3")
    classes = _classes(options.class_index, to_class)
    if classes is not None:
        options = with_first_class(replace(options, class_index=None), classes)
    settings = generator.resolve(options)
    with faults_in("to_class"):
        for given in (classes or [])[1:]:
            class_number(given, generator.manifest.class_names, generator.manifest.c_dim)
    sources = [generator.bundle.path, *latents]
    if out is not None and not out.suffix:
        check_frames(out, overwrite=overwrite, sources=sources)
    else:
        out = Output(out, overwrite).file("walk.gif", sources)
    walk = interpolate(generator, settings, list(seeds), frames, space, loop, classes)
    stops = max(len(seeds), len(classes or ()))
    total = frames * (stops if loop else stops - 1) + (0 if loop else 1)
    with progress(total, "frames", "walking") as bar:
        written = write_animation(out, _watched(walk, bar.update), fps=fps, scale=scale)
    seconds = playing_time(out, total, fps)
    dropped = dropped_frames(out, total, fps)
    if dropped:
        echo(dropped, err=True)
    if as_json:
        result = {
            "path": str(out),
            "frames": written,
            "seconds": round(seconds, 3),
            "seeds": list(seeds),
            "space": space,
        }
        echo(json.dumps(result))
    else:
        rate = written / seconds if dropped else fps
        echo(f"{out}: {written} frames, {seconds:.3g} s at {rate:g} a second.")


def _classes(first: int | str | None, to_class: tuple[str, ...]) -> list[int | str] | None:
    """The classes to walk through, from --class on; None without --to-class."""
    if not to_class:
        return None
    if first is None:
        raise ConfigError(
            "--to-class has no class to start from", field="to_class", expected="--class too"
        )
    return [first, *(parse_class(name) for name in to_class)]


def _watched(
    frames: Iterable[NDArray[np.uint8]], update: Callable[[float], None]
) -> Iterator[NDArray[np.uint8]]:
    """The frames; calls ``update`` after each."""
    for frame in frames:
        yield frame
        update(1)
