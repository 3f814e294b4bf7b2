"""``segan sweep``: what one slider, or every slider of a layer, does."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from segan.cli.option_values import faults_in, parse_range
from segan.cli.options import (
    BundleSource,
    LatentFiles,
    bundle_options,
    first_seeds,
    json_option,
    latents_option,
    scale_option,
    seeds_option,
    sweep_options,
    with_latents,
)
from segan.cli.output import Output, overwrite_option
from segan.cli.progress import progress
from segan.cli.standard_streams import echo
from segan.runtime.bundle.layout import Slider
from segan.runtime.errors import ConfigError
from segan.runtime.latents.seeds import SeedList, parse_seeds

if TYPE_CHECKING:
    from segan.runtime.generate.generator import Generator
    from segan.runtime.generate.sweep import SweptSlider
    from segan.runtime.latents.options import GenerationOptions, Settings
    from segan.runtime.pictures.sweeps import SweepTable

_ANIMATIONS = (".gif", ".mp4")
_SHEET_STEPS, _ANIMATION_STEPS, _ROW_STEPS = 9, 30, 5


@click.command(
    "sweep",
    epilog="Example: segan sweep faces.segan --layer 3 --dim 5 --seeds 0-3 -o sweep.png",
)
@click.option("--layer", type=int, default=None, show_default="none", help="Layer, from 0 at 4².")
@click.option(
    "--dim", type=int, default=None, show_default="all, a row each", help="Dim within the subspace."
)
@click.option("--index", type=int, default=None, help="Subspace within the layer.  [default: 0]")
@click.option(
    "--at",
    default=None,
    show_default="none",
    metavar="L3N1D5",
    help="Layer, index and dim in one.",
)
@click.option(
    "--by",
    default=None,
    show_default="none",
    metavar="NAME|SLIDER",
    help="Sweep this slider as well, from row to row of a grid.",
)
@click.option(
    "--by-range",
    default=None,
    show_default="the slider's own",
    metavar="LOW,HIGH",
    help="First and last value of --by.",
)
@click.option(
    "--by-steps", type=int, default=None, show_default=str(_ROW_STEPS), help="Values of --by."
)
@click.option(
    "--all", "every", is_flag=True, help="Draw a sheet of each subspace into the folder -o."
)
@seeds_option(None, shown="0-3; 0 with all dims or --by")
@latents_option
@click.option(
    "--range",
    "limits",
    default=None,
    show_default="the slider's own",
    metavar="LOW,HIGH",
    help="First and last value.",
)
@click.option(
    "--steps",
    type=int,
    default=None,
    show_default=f"{_SHEET_STEPS}, animations {_ANIMATION_STEPS}",
    help="Number of values.",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=None,
    show_default="sweep-L3N0D5.png, or the next free name",
    help="A sheet (png, jpg, webp) or an animation (gif, mp4).",
)
@overwrite_option
@click.option(
    "--fps",
    type=float,
    default=15.0,
    show_default=True,
    help="Frames per second of an animation; a gif shows 50 at most.",
)
@scale_option
@sweep_options
@bundle_options
@json_option
def command(
    source: BundleSource,
    layer: int | None,
    dim: int | None,
    index: int | None,
    at: str | None,
    by: str | None,
    by_range: str | None,
    by_steps: int | None,
    every: bool,
    seeds: SeedList | None,
    latents: LatentFiles,
    limits: str | None,
    steps: int | None,
    out: Path | None,
    overwrite: bool,
    fps: float,
    scale: int | None,
    options: GenerationOptions,
    swept: tuple[str, ...],
    as_json: bool,
) -> None:
    """Sweep a slider of BUNDLE, or of the newest bundle under this folder, over its range.

    The slider is given by layer and dim, by --at or by its name, --attr. The result is a labelled
    sheet with a row for each seed and a column for each value. Without --dim, the sheet has rows
    for every dim of the layer. The value replaces the slider's sampled coordinate; the other
    coordinates are those of the seed. 'segan info' lists layers, indices, dims, ranges and names.
    If there is none, the bundle that ships with segan is used.

    --by draws a sheet for each seed, with one slider across and the other down. In an animation
    the first slider changes over time, and the values of --by stand side by side.
    """
    by_option = "by"
    if len(swept) == 2 and by is None:
        # Two names without a value make a grid as well.
        by, by_option = swept[1], "attr"
        swept = swept[:1]
    place = _place(layer, dim, index, at, every, swept)
    first = swept[0] if swept else place
    if by is None and (by_range is not None or by_steps is not None):
        raise ConfigError(
            "--by-range and --by-steps belong to --by", field="by", expected="--by hair_length"
        )
    if by is not None and not isinstance(first, Slider | str):
        raise ConfigError(
            "--by needs one slider across", field="by", expected="--attr smile or --at L3N0D5"
        )
    picture = _check_picture(Output(out, overwrite), every, fps, scale)
    default_steps = _ANIMATION_STEPS if picture.animated else _SHEET_STEPS
    steps = default_steps if steps is None else steps
    by_steps = _ROW_STEPS if by_steps is None else by_steps
    across = _check_values("steps", steps, limits, "--range")
    down = _check_values("by_steps", by_steps, by_range, "--by-range")

    generator = source.open(options.noise)
    picture = replace(picture, sources=(generator.bundle.path, *latents))
    settings = generator.resolve(with_latents(options, latents, generator))
    of_first = "attr" if swept else "at" if at is not None else None
    if by is not None and isinstance(first, Slider | str):
        axes = ((of_first, first), (by_option, by))
        written = _draw_grid(generator, settings, axes, (across, down), seeds, picture)
    else:
        with faults_in(of_first):
            groups = _groups(generator, settings, place, swept)
        if seeds is None:
            one_slider = bool(swept) or isinstance(place, Slider)
            seeds = first_seeds(4 if one_slider else 1, settings.latents)
        written = _draw_rows(generator, settings, groups, across, seeds, picture)
    if as_json:
        echo(json.dumps([entry for entry, _ in written]))
        return
    for _, line in written:
        echo(line)


#: What was written, as JSON and as a line of text.
_Written = tuple[dict[str, Any], str]


@dataclass(frozen=True)
class _Picture:
    """How the images are drawn.

    Attributes:
        output: the file; with --all the folder.
        every: whether each subspace gets a file of its own, in a folder.
        animated: whether ``out`` is an animation.
        fps: frames a second of the animation.
        scale: whole factor of enlargement; None enlarges small images.
        sources: what the images are made from.
    """

    output: Output
    every: bool
    animated: bool
    fps: float
    scale: int | None
    sources: tuple[Path, ...] = ()

    def paths(self, defaults: list[str]) -> list[Path]:
        """The files of groups of sliders, by their default names; one without --all."""
        if self.every:
            return self.output.files(
                Path("sweep"), lambda folder: [folder / name for name in defaults], self.sources
            )
        (default,) = defaults
        return [self.output.file(default, self.sources)]

    def draw(self, path: Path, tables: list[SweepTable]) -> None:
        """Write one animation of all tables, or the sheet of a single one."""
        from segan.runtime.pictures.sweeps import write_sweep_animation, write_sweep_sheet
        from segan.runtime.pictures.video import dropped_frames

        if self.animated:
            frames = write_sweep_animation(path, tables, fps=self.fps, scale=self.scale)
            if dropped := dropped_frames(path, frames, self.fps):
                echo(dropped, err=True)
        else:
            write_sweep_sheet(path, tables[0], self.scale)


@dataclass(frozen=True)
class _Values:
    """How many values of a slider are drawn, over which range (None: the slider's own)."""

    steps: int
    span: tuple[float, float] | None

    def of(self, chosen: SweptSlider) -> list[float]:
        """The values of a slider, from low to high."""
        from segan.runtime.generate.sweep import sweep_values

        if self.span is not None:
            chosen = chosen._replace(low=self.span[0], high=self.span[1])
        return sweep_values(chosen, self.steps)


def _check_values(name: str, steps: int, limits: str | None, option: str) -> _Values:
    """The values that ``--steps`` and ``--range`` give. Raises: ConfigError."""
    from segan.runtime.latents.options import check_count

    span = None if limits is None else parse_range(limits, option)
    return _Values(check_count(name, steps, least=2), span)


def _place(
    layer: int | None,
    dim: int | None,
    index: int | None,
    at: str | None,
    every: bool,
    swept: tuple[str, ...],
) -> Slider | tuple[int, int] | None:
    """The slider, or the layer and index of a subspace; None for --all and for a name."""
    within_layer = dim is not None or index is not None
    ways = (layer is not None) + (at is not None) + every + len(swept)
    if ways > 1 or (within_layer and layer is None):
        raise ConfigError(
            "--layer (with --index and --dim), --at, --all and --attr NAME exclude each other",
            expected="one of them, such as --layer 3 --dim 5",
        )
    if ways == 0:
        raise ConfigError(
            "no slider is given",
            expected="--layer 3 --dim 5, --at L3N0D5, --attr smile or --all",
            remedy="'segan info' lists them.",
        )
    if at is not None:
        return Slider.parse(at)
    if layer is None:
        return None
    return (layer, index or 0) if dim is None else Slider(layer, index or 0, dim)


def _check_picture(output: Output, every: bool, fps: float, scale: int | None) -> _Picture:
    """The picture that is asked for. Raises: ConfigError, before anything is computed."""
    from segan.runtime.pictures.sheets import check_scale, check_sheet_path

    check_scale(scale)
    out = output.out
    animated = out is not None and out.suffix.lower() in _ANIMATIONS
    if out is not None and every and out.suffix:
        raise ConfigError(field="out", value=out, expected="a folder for the sheets of --all")
    if out is not None and animated:
        from segan.runtime.pictures.video import check_animation

        check_animation(out, fps)
    elif out is not None and not every:
        try:
            check_sheet_path(out)
        except ConfigError as error:
            raise ConfigError(
                error.problem, field="out", value=out, expected=f"{error.expected}, .gif or .mp4"
            ) from None
    return _Picture(output, every, animated, fps, scale)


def _groups(
    generator: Generator,
    settings: Settings,
    place: Slider | tuple[int, int] | None,
    swept: tuple[str, ...],
) -> list[tuple[str, list[SweptSlider]]]:
    """Default name and sliders of each picture: one slider, or all of one or each subspace."""
    from segan.runtime.generate.sweep import swept_slider

    bundle, others = generator.bundle, settings.options.sliders
    if swept:
        chosen = swept_slider(bundle, None, None, attr=swept[0], others=others)
        return [(f"sweep-{chosen.file_label}.png", [chosen])]
    if isinstance(place, Slider):
        chosen = swept_slider(bundle, place.layer, place.dim, place.index, None, others)
        return [(f"sweep-{place}.png", [chosen])]
    if place is not None:
        places = [place]
    else:
        places = [(subspace.layer, subspace.index) for subspace in generator.manifest.subspaces]
        if not places:
            generator.slider(0, 0)  # Raises an error which says that the bundle has no sliders.
    groups = []
    for layer, index in places:
        dims = range(generator.slider(layer, 0, index)[1].dims)
        sliders = [swept_slider(bundle, layer, dim, index, None, others) for dim in dims]
        groups.append((f"sweep-L{layer}N{index}.png", sliders))
    return groups


def _draw_rows(
    generator: Generator,
    settings: Settings,
    groups: list[tuple[str, list[SweptSlider]]],
    across: _Values,
    seeds: SeedList,
    picture: _Picture,
) -> list[_Written]:
    """A picture of each group of sliders, with a row for each slider and seed."""
    from segan.runtime.pictures.sweeps import sweep_rows

    _check_seeds(seeds)
    written: list[_Written] = []
    paths = picture.paths([default for default, _ in groups])
    images = sum(len(sliders) for _, sliders in groups) * len(seeds) * across.steps
    with progress(images, "images", "sweeping") as bar:
        for (_, sliders), path in zip(groups, paths, strict=True):
            values = across.of(sliders[0])
            table = sweep_rows(generator, settings, sliders, seeds, values, bar.update)
            names = [chosen.label for chosen in sliders]
            picture.draw(path, [table])
            entry = {
                "path": str(path),
                "sliders": names,
                "attribute": sliders[0].name,
                "seeds": list(seeds),
                "values": [round(value, 6) for value in values],
            }
            named = sliders[0].name is not None and not sliders[0].adds
            called = f" {sliders[0].name}" if named else ""
            shown = ", ".join(str(seed) for seed in seeds[:8]) + (", …" if len(seeds) > 8 else "")
            line = (
                f"{path}: {', '.join(names)}{called} from {values[0]:.3g} to {values[-1]:.3g}, "
                f"seeds {shown}."
            )
            written.append((entry, line))
    return written


def _draw_grid(
    generator: Generator,
    settings: Settings,
    axes: Sequence[tuple[str | None, Slider | str]],
    over: tuple[_Values, _Values],
    seeds: SeedList | None,
    picture: _Picture,
) -> list[_Written]:
    """A sheet of two sliders for each seed, or one animation of all seeds.

    ``axes`` are the slider of the columns and that of the rows, each with its option.
    """
    from segan.runtime.generate.sweep import named_or_placed
    from segan.runtime.pictures.sweeps import sweep_by

    bundle, others = generator.bundle, settings.options.sliders
    found = []
    for option, slider in axes:
        with faults_in(option):
            found.append(named_or_placed(bundle, slider, others))
    cols, rows = found
    col_values, row_values = over[0].of(cols), over[1].of(rows)
    seeds = parse_seeds("0") if seeds is None else seeds
    _check_seeds(seeds)

    def table(seed: int, update: Callable[[float], None]) -> SweepTable:
        return sweep_by(generator, settings, seed, cols, rows, col_values, row_values, update)

    def names(path: Path) -> list[Path]:
        if picture.animated or len(seeds) == 1:
            return [path]
        stem = f"{path.stem}-{settings.seed_word}"
        return [path.with_name(f"{stem}{seed}{path.suffix}") for seed in seeds]

    default = Path(f"sweep-{cols.file_label}-by-{rows.file_label}.png")
    paths = picture.output.files(default, names, picture.sources)
    with progress(len(seeds) * len(col_values) * len(row_values), "images", "sweeping") as bar:
        if picture.animated:
            picture.draw(paths[0], [table(seed, bar.update) for seed in seeds])
        else:
            for seed, own in zip(seeds, paths, strict=True):
                picture.draw(own, [table(seed, bar.update)])
    entry = {
        "sliders": [cols.label, rows.label],
        "attributes": [cols.name, rows.name],
        "seeds": list(seeds),
        "values": [round(value, 6) for value in col_values],
        "by_values": [round(value, 6) for value in row_values],
    }
    line = (
        f"{cols.name or cols.label} by {rows.name or rows.label}, {len(col_values)} x "
        f"{len(row_values)} values."
    )
    return [({"path": str(own), **entry}, f"{own}: {line}") for own in paths]


def _check_seeds(seeds: SeedList) -> None:
    if not len(seeds):
        raise ConfigError("there are no seeds", field="seeds", expected="1 or more")
