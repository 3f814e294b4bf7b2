"""Attribute sweeps: one slider, or two, set to each of their values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from segan.runtime.bundle.attributes import find_attribute, read_attributes, resolve_names
from segan.runtime.bundle.layout import Slider, Subspace
from segan.runtime.bundle.reader import Bundle
from segan.runtime.bundle.sliders import Sliders, as_slider, check_coordinate, find_slider
from segan.runtime.errors import ConfigError
from segan.runtime.generate.probe import Probe
from segan.runtime.generate.renderer import Images, Renderer
from segan.runtime.latents.options import Settings, check_count
from segan.runtime.latents.seeds import check_seed


class SweptSlider(NamedTuple):
    """A slider and the range of its values.

    Attributes:
        slider: the coordinate.
        low: lowest value of the range.
        high: highest value of the range.
        sign: 1, or -1 for a name whose values are the negative of the coordinate.
        name: the name that the slider was found by; None for layer, index and dim.
    """

    slider: Slider
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
    """The slider at a layer, index and dim, or of a name.

    Args:
        bundle: the bundle.
        layer: the slider's layer; None with ``attr``.
        dim: the slider's dim; None with ``attr``.
        index: the subspace within the layer; 0 with ``attr``.
        attr: the slider's name, in place of layer, index and dim.
        others: sliders that are added to; the swept slider may not be one of them.

    Raises:
        ConfigError: both or neither are given, there is no such slider, or it is one of the others.
        BundleError: the bundle's attributes are damaged.
    """
    if attr is not None:
        if layer is not None or dim is not None or index != 0:
            raise ConfigError(
                "`attr` and `layer`, `dim`, `index` exclude each other",
                field="attr",
                value=attr,
                expected="one of them",
            )
        attribute = find_attribute(read_attributes(bundle), attr)
        found = SweptSlider(attribute.slider, *attribute.range, attribute.sign, attribute.name)
    elif layer is None or dim is None:
        raise ConfigError(
            "no slider is given", field="layer", expected="`layer 3` and `dim 5`, or `attr smile`"
        )
    else:
        _, subspace = find_slider(bundle.manifest, layer, dim, index)
        found = SweptSlider(Slider(layer, index, dim), subspace.low, subspace.high)
    if found.slider in resolve_names(bundle, others):
        raise ConfigError(
            f"slider {found.slider} is swept and also given in `sliders`",
            field="sliders",
            value=found.slider,
            remedy="Leave it out of `sliders`.",
        )
    return found


def named_or_placed(
    bundle: Bundle, key: Slider | str, others: Sliders | None = None
) -> SweptSlider:
    """The slider of a name, of a notation such as ``L3N0D5``, or of layer, index and dim.

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
    """The key by which ``named_or_placed`` finds the slider, its sign and its range."""
    return swept.slider if swept.name is None else swept.name


def sweep(
    renderer: Renderer,
    settings: Settings,
    seed: int,
    chosen: SweptSlider,
    values: Iterable[float] | None,
    steps: int = 9,
) -> Images:
    """One slider over ``values`` or over its own range; see ``Generator.sweep``."""
    points = _points(chosen, values, steps)
    probe = Probe(renderer, check_seed(seed), settings)
    return probe.images(_coordinates(chosen, points), [0] * len(points))


def sweep_grid(
    renderer: Renderer,
    settings: Settings,
    seed: int,
    cols: SweptSlider,
    rows: SweptSlider,
    col_values: Iterable[float] | None,
    row_values: Iterable[float] | None,
    steps: int = 9,
    row_steps: int = 5,
) -> Images:
    """Two sliders, each value of one with each of the other; see ``Generator.sweep_grid``."""
    if cols.slider == rows.slider:
        raise ConfigError(
            f"slider {cols.slider} is given for the columns and the rows",
            field="rows",
            value=rows.slider,
            expected="two different sliders",
        )
    across, down = _points(cols, col_values, steps), _points(rows, row_values, row_steps)
    probe = Probe(renderer, check_seed(seed), settings)
    sliders = {
        **_coordinates(cols, across * len(down)),
        **_coordinates(rows, [value for value in down for _ in across]),
    }
    images = probe.images(sliders, [0] * (len(across) * len(down)))
    return images.reshape(len(down), len(across), *renderer.image_shape)


def _points(chosen: SweptSlider, values: Iterable[float] | None, steps: int) -> list[float]:
    if values is None:
        return sweep_values(chosen, steps)
    if not isinstance(values, Iterable):
        raise ConfigError(field="values", value=values, expected="numbers, such as [-1.7, 0, 1.7]")
    return [check_coordinate(value, f"a value of slider {chosen.slider}") for value in values]


def _coordinates(chosen: SweptSlider, values: list[float]) -> dict[Slider, list[float]]:
    return {chosen.slider: [chosen.sign * value for value in values]}
