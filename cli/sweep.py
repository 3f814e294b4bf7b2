"""``segan sweep``: what one slider, or every slider of a layer, does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from segan.cli.option_values import parse_range
from segan.cli.options import (
    BundleSource,
    Style,
    batch_size_option,
    bundle_options,
    json_option,
    latents_option,
    open_latents,
    scale_option,
    seeds_option,
    sweep_style_options,
)
from segan.cli.progress import progress
from segan.cli.sweep_grid import ROW_STEPS, draw_grid, plan_grid
from segan.runtime.bundle.layout import Slider
from segan.runtime.errors import ConfigError
from segan.runtime.latents.seeds import SeedList, parse_seeds

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from segan.runtime.bundle.attributes import Attribute
    from segan.runtime.generate.generator import Generator
    from segan.runtime.latents.files import Latents

_ANIMATIONS = (".gif", ".mp4")
_SHEET_STEPS, _ANIMATION_STEPS = 9, 30


@click.command(
    "sweep",
    epilog="Example: segan sweep faces.segan --layer 3 --dim 5 --seeds 0-3 -o sweep.png",
)
@click.option("--layer", type=int, default=None, show_default="none", help="Layer, from 0 at 4².")
@click.option(
    "--dim", type=int, default=None, show_default="all, a row each", help="Dim of the subspace."
)
@click.option(
    "--index", type=int, default=None, help="Which of the layer's subspaces.  [default: 0]"
)
@click.option(
    "--at",
    default=None,
    show_default="none",
    metavar="L3N1D5",
    help="Layer, index and dim in one word.",
)
@click.option(
    "--by",
    default=None,
    show_default="none",
    metavar="NAME|SLIDER",
    help="Sweep this slider, too: a grid, its values from row to row.",
)
@click.option(
    "--by-range",
    default=None,
    show_default="the slider's own",
    metavar="LOW,HIGH",
    help="First and last value of --by.",
)
@click.option(
    "--by-steps", type=int, default=None, show_default=str(ROW_STEPS), help="Values of --by."
)
@click.option(
    "--all", "every", is_flag=True, help="One sheet for each subspace, into the folder -o."
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
    show_default="sweep-L3N0D5.png",
    help="A sheet (png, jpg, webp) or an animation (gif, mp4).",
)
@click.option("--fps", type=float, default=15.0, show_default=True, help="Of an animation.")
@scale_option
@sweep_style_options
@batch_size_option
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
    latents: tuple[Path, ...],
    limits: str | None,
    steps: int | None,
    out: Path | None,
    fps: float,
    scale: int | None,
    style: Style,
    swept: tuple[str, ...],
    batch_size: int,
    as_json: bool,
) -> None:
    """Sweep a slider of BUNDLE, or of the newest bundle under this folder, over its range.

    The slider is given by layer and dim, by --at or by its name, --attr. Draws one labelled sheet:
    a row for each seed, a column for each value. Without --dim every dim of the layer gets its
    rows. The value replaces the slider's sampled coordinate; the other coordinates stay the seed's
    own. 'segan info' lists layers, indices, dims, ranges and names. Where no bundle is, the one
    that ships with segan is swept.

    --by draws a sheet for each seed: one slider across, the other down. In an animation the first
    moves, and the values of --by stand side by side.
    """
    if len(swept) == 2 and by is None:
        # Two names without a value are a grid, too.
        (first, by) = swept
        swept = (first,)
    wanted = _selection(layer, dim, index, at, every, swept)
    if by is None and (by_range is not None or by_steps is not None):
        raise ConfigError("--by-range and --by-steps belong to --by; expected --by hair_length.")
    across: Slider | str | None = swept[0] if swept else None
    if wanted is not None and wanted[2] is not None:
        across = Slider(wanted[0], wanted[1], wanted[2])
    if by is not None and across is None:
        raise ConfigError("--by needs one slider across; expected --attr smile or --at L3N0D5.")
    span = None if limits is None else parse_range(limits)
    if scale is not None and scale < 1:
        raise ConfigError(f"scale is {scale}; expected 1 or more.")
    animated = out is not None and out.suffix.lower() in _ANIMATIONS
    _check_out(out, every, animated, fps)
    steps = steps if steps is not None else (_ANIMATION_STEPS if animated else _SHEET_STEPS)
    if steps < 2:
        raise ConfigError(f"--steps is {steps}; expected 2 or more.")
    from segan.runtime.bundle.attributes import find_attribute, read_attributes

    generator = source.open(style["noise"])
    found = open_latents(latents, generator)
    attributes = read_attributes(generator.bundle)
    named = find_attribute(attributes, swept[0]) if swept else None
    if across is not None and by is not None:
        grid = plan_grid(
            generator,
            style,
            (across, by),
            (limits, by_range),
            (steps, by_steps),
            seeds=seeds,
            latents=found,
            batch_size=batch_size,
        )
        draw_grid(grid, out, animated, fps, scale, as_json)
        return
    sweeper = _Sweeper(generator, style, batch_size, span, steps, found, attributes, named)
    if named is not None:
        wanted = (named.layer, named.index, named.dim)
        groups = [([named.slider], _default_name(*wanted))]
    elif wanted is None:
        places = [(subspace.layer, subspace.index) for subspace in generator.manifest.subspaces]
        if not places:
            generator.slider(0, 0)  # Says that there are none.
        groups = [(_all_dims(generator, *place), _default_name(*place, None)) for place in places]
    elif wanted[2] is None:
        groups = [(_all_dims(generator, *wanted[:2]), _default_name(*wanted))]
    else:
        slider = Slider(wanted[0], wanted[1], wanted[2])
        groups = [([slider], _default_name(*wanted))]
    one = wanted is not None and wanted[2] is not None
    if seeds is None:
        count = 4 if one else 1
        seeds = parse_seeds(f"0-{(count if found is None else min(count, len(found))) - 1}")
    if not len(seeds):
        raise ConfigError("there are no seeds; expected 1 or more.")
    for sliders, _ in groups:
        for slider in sliders:
            generator.slider(slider.layer, slider.dim, slider.index)
    results: list[dict[str, Any]] = []
    with progress(
        sum(len(sliders) for sliders, _ in groups) * len(seeds) * steps, "images", "sweeping"
    ) as bar:
        for sliders, name in groups:
            rows = sweeper.rows(sliders, seeds, bar.update)
            path = (out or Path("sweep")) / name if every else (out or Path(name))
            if animated:
                _write_animation(path, rows.images, fps, scale)
            else:
                _write_sheet(path, generator, rows, scale)
            results.append(
                {
                    "path": str(path),
                    "sliders": [str(slider) for slider in sliders],
                    "attribute": None if named is None else named.name,
                    "seeds": list(seeds),
                    "values": [round(value, 6) for value in rows.values],
                }
            )
    if as_json:
        click.echo(json.dumps(results))
        return
    for result in results:
        values = result["values"]
        called = "" if named is None else f" {named.name}"
        click.echo(
            f"{result['path']}: {', '.join(result['sliders'])}{called} from {values[0]:.3g} to "
            f"{values[-1]:.3g}, seeds {_spell(seeds)}."
        )


def _spell(seeds: SeedList) -> str:
    return ", ".join(str(seed) for seed in seeds[:8]) + (", …" if len(seeds) > 8 else "")


def _selection(
    layer: int | None,
    dim: int | None,
    index: int | None,
    at: str | None,
    every: bool,
    swept: tuple[str, ...],
) -> tuple[int, int, int | None] | None:
    """(layer, index, dim); dim None for all of the layer; None for --all and for a name."""
    within_layer = dim is not None or index is not None
    ways = (layer is not None) + (at is not None) + every + len(swept)
    if ways > 1 or (within_layer and layer is None):
        raise ConfigError(
            "--layer (with --index and --dim), --at, --all and --attr NAME exclude each other; "
            "expected one, such as --layer 3 --dim 5."
        )
    if swept:
        return None
    if at is not None:
        slider = Slider.parse(at)
        return slider.layer, slider.index, slider.dim
    if every:
        return None
    if layer is None:
        raise ConfigError(
            "no slider is given; expected --layer 3 --dim 5, --at L3N0D5, --attr smile or --all. "
            "'segan info' lists them."
        )
    return layer, index or 0, dim


def _check_out(out: Path | None, every: bool, animated: bool, fps: float) -> None:
    from segan.runtime.pictures.sheets import check_sheet_path

    if animated:
        if every:
            raise ConfigError(f"-o is {out}; expected a folder for the sheets of --all.")
        from segan.runtime.pictures.video import check_animation

        assert out is not None
        check_animation(out, fps)
    elif out is not None and every:
        if out.suffix:
            raise ConfigError(f"-o is {out}; expected a folder for the sheets of --all.")
    elif out is not None:
        try:
            check_sheet_path(out)
        except ConfigError as error:
            raise ConfigError(f"{str(error).rstrip('.')}, .gif or .mp4.") from None


def _default_name(layer: int, index: int, dim: int | None) -> str:
    return f"sweep-L{layer}N{index}{'' if dim is None else f'D{dim}'}.png"


def _all_dims(generator: Generator, layer: int, index: int) -> list[Slider]:
    _, subspace = generator.slider(layer, 0, index)
    return [Slider(layer, index, dim) for dim in range(subspace.dims)]


class _Swept:
    """Rows of images with their labels."""

    def __init__(
        self, images: NDArray[np.uint8], labels: list[str], values: list[float], title: str
    ) -> None:
        self.images, self.labels, self.values, self.title = images, labels, values, title


class _Sweeper:
    """Computes rows of sweeps with the same settings."""

    def __init__(
        self,
        generator: Generator,
        style: Style,
        batch_size: int,
        span: tuple[float, float] | None,
        steps: int,
        latents: Latents | None,
        attributes: tuple[Attribute, ...],
        named: Attribute | None,
    ) -> None:
        from segan.runtime.bundle.attributes import names_of

        self._named, self._names = named, names_of(attributes)
        self._latents = latents
        self._what = "seed" if latents is None else "latent"
        self._generator, self._style, self._batch_size = generator, style, batch_size
        self._span, self._steps = span, steps

    def rows(self, sliders: list[Slider], seeds: SeedList, update: Any) -> _Swept:
        """A row for each slider and seed: images uint8 [R, steps, H, W, C]."""
        import numpy as np

        _, subspace = self._generator.slider(sliders[0].layer, sliders[0].dim, sliders[0].index)
        own = (subspace.low, subspace.high) if self._named is None else self._named.range
        low, high = self._span or own
        values = [float(value) for value in np.linspace(low, high, self._steps)]
        # What a name calls more may be less of the coordinate.
        sign = 1 if self._named is None else self._named.sign
        coordinates = [sign * value for value in values]
        images, labels = [], []
        for slider in sliders:
            name = f" {self._names[slider]}" if slider in self._names else ""
            for seed in seeds:
                images.append(
                    self._generator.sweep(
                        seed,
                        slider.layer,
                        slider.dim,
                        index=slider.index,
                        values=coordinates,
                        batch_size=self._batch_size,
                        latents=self._latents,
                        **self._style,
                    )
                )
                update(len(values))
                if len(sliders) == 1:
                    labels.append(f"{self._what} {seed}")
                elif len(seeds) == 1:
                    labels.append(f"D{slider.dim}{name}")
                else:
                    labels.append(f"D{slider.dim}{name}  {self._what} {seed}")
        site = self._generator.manifest.sites[subspace.site]
        where = f"layer {subspace.layer} ({site.name}, {site.resolution} x {site.resolution})"
        if len(sliders) == 1:
            name = self._named.name if self._named else self._names.get(sliders[0], "")
            called = f"{sliders[0]} {name}".strip()
            title = f"{called}: {where}, dim {sliders[0].dim}"
        else:
            seed_text = f", {self._what} {seeds[0]}" if len(seeds) == 1 else ""
            title = f"L{subspace.layer}N{subspace.index}: {where}, all dims{seed_text}"
        return _Swept(np.stack(images), labels, values, title)


def _write_sheet(path: Path, generator: Generator, swept: _Swept, scale: int | None) -> None:
    from segan.runtime.pictures.sheets import labelled_sheet, value_label, write_sheet

    sheet = labelled_sheet(
        swept.images,
        rows=swept.labels,
        cols=[value_label(value) for value in swept.values],
        title=swept.title,
        subtitle=generator.manifest.name,
        scale=scale,
    )
    write_sheet(path, sheet)


def _write_animation(path: Path, images: NDArray[np.uint8], fps: float, scale: int | None) -> None:
    """The rows side by side, from the first value to the last and back."""
    import numpy as np

    from segan.runtime.pictures.video import write_animation

    steps = images.shape[1]
    there_and_back = [*range(steps), *range(steps - 2, 0, -1)]
    frames = (np.concatenate(images[:, step], axis=1) for step in there_and_back)
    write_animation(path, frames, fps=fps, scale=scale)
