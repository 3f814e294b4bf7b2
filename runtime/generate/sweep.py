"""Attribute sweeps: one slider, or two, moved over their values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segan.runtime.bundle.attributes import find_attribute, read_attributes, resolve_names
from segan.runtime.bundle.layout import Slider, Subspace
from segan.runtime.bundle.reader import Bundle
from segan.runtime.bundle.sliders import Sliders, as_slider, check_coordinate, find_slider
from segan.runtime.errors import ConfigError
from segan.runtime.latents.options import Settings, check_count
from segan.runtime.latents.seeds import check_seed

if TYPE_CHECKING:
    from segan.runtime.generate.generator import Generator

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
