"""Attribute sweeps and latent walks, on top of a generator."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from segan.runtime.attributes import find_attribute, read_attributes, resolve_names
from segan.runtime.bundle import Bundle
from segan.runtime.errors import ConfigError
from segan.runtime.latents import lerp, sample_z, slerp
from segan.runtime.layout import Slider, Subspace
from segan.runtime.mixing import mix_in
from segan.runtime.seeds import check_seed
from segan.runtime.settings import Options, Settings, check_count, one_hot_rows
from segan.runtime.sliders import Sliders, as_slider, check_coordinate, find_slider

if TYPE_CHECKING:
    from segan.runtime.generator import Generator

Images = NDArray[np.uint8]


class SweptSlider(NamedTuple):
    """What a sweep moves.

    Attributes:
        slider: the coordinate.
        row: the row of ``coords`` that it is in.
        low: lowest value of its range.
        high: highest value.
        sign: 1 or -1, of a name whose values run against the coordinate.
        name: what it was called by; None for layer, index and dim.
    """

    slider: Slider
    row: int
    low: float
    high: float
    sign: int = 1
    name: str | None = None


def sweep_values(over: Subspace | SweptSlider, steps: int) -> list[float]:
    """Evenly spaced values from the low to the high end of a slider's range.

    Raises:
        ConfigError: ``steps`` is below 2.
    """
    steps = check_count("steps", steps, least=2)
    return [float(value) for value in np.linspace(over.low, over.high, steps)]


def swept_slider(
    bundle: Bundle,
    layer: int | None,
    dim: int | None,
    index: int = 0,
    attr: str | None = None,
    others: Sliders | None = None,
) -> SweptSlider:
    """The slider that is given by its place or by its name.

    Args:
        bundle: the bundle.
        layer: its layer; None with ``attr``.
        dim: its dim; None with ``attr``.
        index: the subspace within the layer; 0 with ``attr``.
        attr: its name, in place of the three.
        others: sliders that are set beside it; it may not be one of them.

    Raises:
        ConfigError: both or neither are given, there is no such slider, or it is one of the others.
        BundleError: the bundle's attributes are damaged.
    """
    if attr is not None:
        if layer is not None or dim is not None or index != 0:
            raise ConfigError("attr and layer, dim, index exclude each other; expected one.")
        attribute = find_attribute(read_attributes(bundle), attr)
        slider = attribute.slider
        row, _ = find_slider(bundle.manifest, slider.layer, slider.dim, slider.index)
        found = SweptSlider(slider, row, *attribute.range, attribute.sign, attribute.name)
    elif layer is None or dim is None:
        raise ConfigError("no slider is given; expected layer=3, dim=5, or attr='smile'.")
    else:
        row, subspace = find_slider(bundle.manifest, layer, dim, index)
        found = SweptSlider(Slider(layer, index, dim), row, subspace.low, subspace.high)
    if found.slider in resolve_names(bundle, others):
        raise ConfigError(
            f"slider {found.slider} is swept and also given in sliders; leave it out there."
        )
    return found


def named_or_placed(
    bundle: Bundle, key: Slider | str, others: Sliders | None = None
) -> SweptSlider:
    """The slider that a name, its notation (``L3N0D5``) or its three numbers give.

    Raises:
        ConfigError: there is no such slider, or it is one of the others.
        BundleError: the bundle's attributes are damaged.
    """
    try:
        slider = as_slider(key)
    except ConfigError:
        if not isinstance(key, str):
            raise
        return swept_slider(bundle, None, None, attr=key, others=others)
    return swept_slider(bundle, slider.layer, slider.dim, slider.index, None, others)


def as_key(swept: SweptSlider) -> Slider | str:
    """What ``named_or_placed`` finds it by, sign and range included."""
    return swept.slider if swept.name is None else swept.name


def sweep(
    generator: Generator,
    settings: Settings,
    seed: int,
    chosen: SweptSlider,
    values: Iterable[float] | None,
    steps: int,
) -> Images:
    """One slider over ``values`` or over its own range; see ``Generator.sweep``."""
    points = _points(chosen, values, steps)
    return _moved(generator, settings, seed, [chosen], [(point,) for point in points])


def sweep_grid(
    generator: Generator,
    settings: Settings,
    seed: int,
    cols: SweptSlider,
    rows: SweptSlider,
    col_values: Iterable[float] | None,
    row_values: Iterable[float] | None,
    steps: int,
    row_steps: int,
) -> Images:
    """Two sliders, each value of one with each of the other; see ``Generator.sweep_grid``."""
    if cols.slider == rows.slider:
        raise ConfigError(
            f"slider {cols.slider} is given for the columns and the rows; expected two sliders."
        )
    across, down = _points(cols, col_values, steps), _points(rows, row_values, row_steps)
    points = [(x, y) for y in down for x in across]
    images = _moved(generator, settings, seed, [cols, rows], points)
    return images.reshape(len(down), len(across), *generator.image_shape)


def _points(chosen: SweptSlider, values: Iterable[float] | None, steps: int) -> list[float]:
    if values is None:
        return sweep_values(chosen, steps)
    if not isinstance(values, Iterable):
        raise ConfigError(f"values is {values!r}; expected numbers, such as [-1.7, 0, 1.7].")
    return [check_coordinate(value, f"a value of slider {chosen.slider}") for value in values]


def _moved(
    generator: Generator,
    settings: Settings,
    seed: int,
    sliders: list[SweptSlider],
    points: Sequence[tuple[float, ...]],
) -> Images:
    """The seed's image with the sliders at each of the points, uint8 [points, H, W, C]."""
    seeds = [check_seed(seed)]
    w = generator.map_seeds(seeds, settings)
    coords = settings.coords_of(seeds)
    images = np.empty((len(points), *generator.image_shape), np.uint8)
    for start in range(0, len(points), settings.batch_size):
        part = points[start : start + settings.batch_size]
        moved = np.repeat(coords, len(part), axis=0)
        for number, chosen in enumerate(sliders):
            column = [chosen.sign * point[number] for point in part]
            moved[:, chosen.row, chosen.slider.dim] = column
        images[start : start + len(part)] = generator.render(
            np.repeat(w, len(part), axis=0), moved, seeds, settings
        )
    return images


def interpolate(
    generator: Generator,
    settings: Settings,
    seeds: list[int],
    frames: int,
    space: Literal["w", "z"],
    loop: bool,
    classes: Sequence[int | str] | None = None,
) -> Iterator[Images]:
    """A walk from seed to seed; see ``Generator.interpolate``."""
    frames = check_count("frames", frames)
    if space not in ("w", "z"):
        raise ConfigError(f"space is {space!r}; expected w or z.")
    if space == "z" and settings.latents is not None:
        raise ConfigError("space is 'z', but latents are given past z; expected w.")
    if classes and seeds:
        seeds, classes = in_turn(seeds, classes)
    if len(seeds) < 2:
        raise ConfigError(f"there are {len(seeds)} seeds; expected 2 or more to walk between.")
    labels = None if classes is None else one_hot_rows(generator.manifest, classes)
    stops = range(len(seeds))
    ends = list(itertools.pairwise([*stops, 0] if loop else stops))
    # (first stop, second stop, how far from one to the other)
    steps = [(one, two, k / frames) for one, two in ends for k in range(frames)]
    if not loop:
        steps.append((*ends[-1], 1.0))
    return _walk(generator, settings, seeds, labels, steps, space)


def with_first_class(options: Options, classes: Sequence[int | str] | None) -> Options:
    """The options of a walk through classes, which starts in the first of them.

    Raises:
        ConfigError: there are no classes, or the options leave no room for them.
    """
    if classes is None:
        return options
    if not len(classes):
        raise ConfigError("classes is empty; expected one or more, or None.")
    if options.get("class_index") is not None:
        raise ConfigError("class_index and classes exclude each other; expected one of them.")
    if options.get("latents") is not None:
        raise ConfigError("latents are past the classes; expected seeds to walk through classes.")
    return {**options, "class_index": classes[0]}


_One = TypeVar("_One")
_Other = TypeVar("_Other")


def in_turn(ones: Sequence[_One], others: Sequence[_Other]) -> tuple[list[_One], list[_Other]]:
    """Both lists as long as the longer one; the shorter begins anew. Neither may be empty."""
    count = max(len(ones), len(others))
    return (
        [ones[i % len(ones)] for i in range(count)],
        [others[i % len(others)] for i in range(count)],
    )


def _walk(
    generator: Generator,
    settings: Settings,
    seeds: list[int],
    labels: NDArray[np.float32] | None,
    steps: list[tuple[int, int, float]],
    space: Literal["w", "z"],
) -> Iterator[Images]:
    """The frames; labels are those of the stops, [len(seeds), c_dim], or None for settings'."""
    z_dim = generator.manifest.z_dim
    for start in range(0, len(steps), settings.batch_size):
        part = steps[start : start + settings.batch_size]
        stops = [step[0] for step in part], [step[1] for step in part]
        ones, twos = ([seeds[stop] for stop in own] for own in stops)
        t = np.array([step[2] for step in part])
        if space == "z":
            z = slerp(sample_z(ones, z_dim), sample_z(twos, z_dim), t)
            between = (
                settings.labels_of(len(part))
                if labels is None
                else lerp(labels[stops[0]], labels[stops[1]], t)
            )
            w = mix_in(generator, settings, generator.map(z, between))
        else:
            if labels is None:
                starts, ends = (generator.map_seeds(own, settings) for own in (ones, twos))
            else:
                starts, ends = (
                    mix_in(
                        generator,
                        settings,
                        generator.map(sample_z(own, z_dim), labels[own_stops]),
                    )
                    for own, own_stops in zip((ones, twos), stops, strict=True)
                )
            w = lerp(starts, ends, t if starts.ndim == 2 else t[:, None])
        coords = lerp(settings.coords_of(ones), settings.coords_of(twos), t[:, None])
        yield from generator.render(w, coords, seeds[:1], settings)
