"""Attribute sweeps, style mixing and latent walks, on top of a generator."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from segan.runtime.attributes import find_attribute, read_attributes, resolve_names
from segan.runtime.bundle import Bundle
from segan.runtime.errors import ConfigError
from segan.runtime.latents import lerp, sample_z, slerp
from segan.runtime.layout import Slider, Subspace
from segan.runtime.seeds import check_seed
from segan.runtime.settings import Options, Settings, check_count, one_hot_rows
from segan.runtime.sliders import Sliders, check_coordinate, check_layers, find_slider

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


def sweep(
    generator: Generator,
    settings: Settings,
    seed: int,
    chosen: SweptSlider,
    values: Iterable[float] | None,
    steps: int,
) -> Images:
    """One slider over ``values`` or over its own range; see ``Generator.sweep``."""
    if not isinstance(values, Iterable | None):
        raise ConfigError(f"values is {values!r}; expected numbers, such as [-1.7, 0, 1.7].")
    what = f"a value of slider {chosen.slider}"
    points = (
        sweep_values(chosen, steps)
        if values is None
        else [check_coordinate(value, what) for value in values]
    )
    seeds = [check_seed(seed)]
    w = generator.map_seeds(seeds, settings)
    coords = settings.coords_of(seeds)
    images = np.empty((len(points), *generator.image_shape), np.uint8)
    for start in range(0, len(points), settings.batch_size):
        part = points[start : start + settings.batch_size]
        moved = np.repeat(coords, len(part), axis=0)
        moved[:, chosen.row, chosen.slider.dim] = [chosen.sign * value for value in part]
        images[start : start + len(part)] = generator.render(
            np.repeat(w, len(part), axis=0), moved, seeds, settings
        )
    return images


def mix(
    generator: Generator,
    settings: Settings,
    rows: list[int],
    cols: list[int],
    layers: str | int | Iterable[int],
    cols_from: Literal["seeds", "latents"] = "seeds",
) -> Images:
    """Rows' styles with ``layers`` taken from the columns; see ``Generator.mix``.

    Style mixing as in Karras et al. 2019, Sec. 3.1, whole layers at a time.
    """
    manifest = generator.manifest
    taken = check_layers(manifest, layers)
    if cols_from not in ("seeds", "latents"):
        raise ConfigError(f"cols_from is {cols_from!r}; expected seeds or latents.")
    crossed = settings if cols_from == "latents" else replace(settings, latents=None)
    from_cols = np.array([site.layer in taken for site in manifest.sites])
    coords_from_cols = np.array([s.layer in taken for s in manifest.subspaces], bool)
    images = np.empty((len(rows), len(cols), *generator.image_shape), np.uint8)
    pairs = itertools.product(range(len(rows)), range(len(cols)))
    while batch := list(itertools.islice(pairs, settings.batch_size)):
        row_seeds, col_seeds = [rows[r] for r, _ in batch], [cols[c] for _, c in batch]
        w_rows = _by_site(generator.map_seeds(row_seeds, settings))
        w_cols = _by_site(generator.map_seeds(col_seeds, crossed))
        w = np.where(from_cols[:, None], w_cols, w_rows)  # [n, num_sites, w_dim]
        coords = np.where(
            coords_from_cols[:, None],
            crossed.coords_of(col_seeds),
            settings.coords_of(row_seeds),
        )
        found = generator.render(w, coords, row_seeds, settings)
        for (r, c), image in zip(batch, found, strict=True):
            images[r, c] = image
    return images


def _by_site(w: NDArray[np.float32]) -> NDArray[np.float32]:
    """[n, w_dim] → [n, 1, w_dim]; one vector for each site stays as it is."""
    return w[:, None] if w.ndim == 2 else w


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
            w = generator.map(z, between)
        else:
            if labels is None:
                starts, ends = (generator.map_seeds(own, settings) for own in (ones, twos))
            else:
                starts, ends = (
                    generator.map(sample_z(own, z_dim), labels[own_stops])
                    for own, own_stops in zip((ones, twos), stops, strict=True)
                )
            w = lerp(starts, ends, t if starts.ndim == 2 else t[:, None])
        coords = lerp(settings.coords_of(ones), settings.coords_of(twos), t[:, None])
        yield from generator.render(w, coords, seeds[:1], settings)
