"""Attribute sweeps: one slider, or two, set to each of their values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

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
    """A slider, or a name of several sliders, and the range of its values.

    The value of one slider replaces a seed's own coordinate. A name of several sliders is added to
    the seed's coordinates, so that 0 is the seed's own image.

    Attributes:
        weights: slider → its coordinate at a value of 1.
        low: lowest value of the range.
        high: highest value of the range.
        name: the name that it was found by; None for layer, index and dim.
        adds: whether values are added to the seed's coordinates.
    """

    weights: dict[Slider, float]
    low: float
    high: float
    name: str | None = None
    adds: bool = False

    @property
    def slider(self) -> Slider:
        """The first slider."""
        return next(iter(self.weights))

    @property
    def label(self) -> str:
        """The slider's notation; for several sliders the name."""
        return self.name if self.adds and self.name is not None else str(self.slider)

    @property
    def file_label(self) -> str:
        """``label`` in characters that every file system takes."""
        return re.sub(r"[^A-Za-z0-9_.-]+", "-", self.label).strip(".-") or "name"

    def moves(self, values: Sequence[float]) -> dict[Slider, NDArray[np.float64]]:
        """Return the coordinates of each slider at values of this one."""
        points = np.asarray(values, np.float64)
        return {slider: weight * points for slider, weight in self.weights.items()}


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
        adds = attribute.slider is None
        found = SweptSlider(attribute.weights, *attribute.range, attribute.name, adds)
    elif layer is None or dim is None:
        raise ConfigError(
            "no slider is given", field="layer", expected="`layer 3` and `dim 5`, or `attr smile`"
        )
    else:
        _, subspace = find_slider(bundle.manifest, layer, dim, index)
        found = SweptSlider({Slider(layer, index, dim): 1.0}, subspace.low, subspace.high)
    if not found.adds and found.slider in resolve_names(bundle, others):
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
    return _images(probe, [(chosen, points)])


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
    if cols.weights.keys() == rows.weights.keys() and cols.label == rows.label:
        raise ConfigError(
            f"slider {cols.label} is given for the columns and the rows",
            field="rows",
            value=rows.label,
            expected="two different sliders",
        )
    across, down = _points(cols, col_values, steps), _points(rows, row_values, row_steps)
    probe = Probe(renderer, check_seed(seed), settings)
    each_down = [value for value in down for _ in across]
    images = _images(probe, [(cols, across * len(down)), (rows, each_down)])
    return images.reshape(len(down), len(across), *renderer.image_shape)


def _points(chosen: SweptSlider, values: Iterable[float] | None, steps: int) -> list[float]:
    if values is None:
        return sweep_values(chosen, steps)
    if not isinstance(values, Iterable):
        raise ConfigError(field="values", value=values, expected="numbers, such as [-1.7, 0, 1.7]")
    return [check_coordinate(value, f"a value of slider {chosen.label}") for value in values]


def _images(probe: Probe, axes: Sequence[tuple[SweptSlider, list[float]]]) -> Images:
    """The images of the probe's only seed, one for each value; all axes have as many."""
    replaced: dict[Slider, NDArray[np.float64]] = {}
    added: dict[Slider, NDArray[np.float64]] = {}
    for chosen, values in axes:
        for slider, coordinates in chosen.moves(values).items():
            if chosen.adds:
                added[slider] = added.get(slider, 0.0) + coordinates
            else:
                replaced[slider] = coordinates
    return probe.images(replaced, [0] * len(axes[0][1]), added)
