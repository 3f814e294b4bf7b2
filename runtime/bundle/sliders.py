"""Finding sliders and layers in a bundle's tables."""

from __future__ import annotations

import contextlib
import math
import operator
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import SupportsFloat, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from segan.runtime.bundle.layout import Slider, Subspace
from segan.runtime.bundle.manifest import Manifest
from segan.runtime.errors import ConfigError, show_value

#: Values by slider, written as a Slider or as ``L3N0D5``.
Sliders = Mapping[Slider, float] | Mapping[str, float] | Mapping[Slider | str, float]


def num_layers(manifest: Manifest) -> int:
    """Return the number of resolution blocks."""
    return max(site.layer for site in manifest.sites) + 1


def find_slider(manifest: Manifest, layer: int, dim: int, index: int = 0) -> tuple[int, Subspace]:
    """Return the row of ``coords`` and the subspace that a slider belongs to.

    Raises:
        ConfigError: there is no such layer, index or dim; the error names the range.
    """
    layer, dim, index = _integer("layer", layer), _integer("dim", dim), _integer("index", index)
    if not manifest.subspaces:
        raise ConfigError(
            f"this bundle has no sliders, since mode {manifest.mode} has no subspaces",
            remedy="Train a model in mode 2, or add sliders with 'segan directions'.",
        )
    _check_layer(manifest, layer)
    rows = {
        subspace.index: row
        for row, subspace in enumerate(manifest.subspaces)
        if subspace.layer == layer
    }
    if not rows:
        carrying = sorted({subspace.layer for subspace in manifest.subspaces})
        raise ConfigError(
            f"layer {layer} has no subspace",
            field="layer",
            value=layer,
            expected=_list(carrying),
        )
    if index not in rows:
        expected = f"{_list(sorted(rows))} at layer {layer}"
        raise ConfigError(field="index", value=index, expected=expected)
    subspace = manifest.subspaces[rows[index]]
    if not 0 <= dim < subspace.dims:
        expected = f"0 to {subspace.dims - 1} at layer {layer}, index {index}"
        raise ConfigError(field="dim", value=dim, expected=expected)
    return rows[index], subspace


@contextlib.contextmanager
def fault_of(setting: str, value: object) -> Iterator[None]:
    """Within the block, a layer, index or dim that does not exist is the fault of this setting.

    Args:
        setting: the argument that names the layer or slider, such as ``sliders``.
        value: what it names.
    """
    try:
        yield
    except ConfigError as error:
        if error.field in ("layer", "layers", "index", "dim"):
            error.problem = f"`{setting}` {value}: {error.clause.replace('`', '')}"
            error.field, error.value = setting, str(value)
        raise


def as_slider(key: Slider | str) -> Slider:
    """Return a slider from its notation or its three numbers. Raises: ConfigError."""
    if isinstance(key, str):
        return Slider.parse(key)
    if not isinstance(key, tuple) or len(key) != 3:
        expected = "layer, index and dim, or text such as L3N0D5"
        raise ConfigError(field="slider", value=key, expected=expected)
    return Slider(*key)


def parse_weights(text: str) -> dict[Slider, float]:
    """Read ``L3N0D5=0.8,L2N0D1=-0.3``.

    Raises:
        ConfigError: a part is not understood, or a slider is given twice.
    """
    found: dict[Slider, float] = {}
    for part in text.split(","):
        key, separator, number = part.partition("=")
        try:
            weight = float(number)
        except ValueError:
            separator = ""
        if not separator:
            raise ConfigError(
                f"the weights are {text!r}, and {part.strip()!r} is not understood",
                field="sliders",
                value=text,
                expected="sliders with weights, such as L3N0D5=0.8,L2N0D1=-0.3",
            )
        slider = Slider.parse(key)
        if slider in found:
            raise given_twice(slider)
        found[slider] = weight
    return found


def slider_offsets(manifest: Manifest, sliders: Sliders | None) -> NDArray[np.float32]:
    """Return what the user's sliders add to the coordinates.

    Args:
        manifest: the bundle's.
        sliders: value by slider, written as a Slider or as ``L3N0D5``. Values beyond the slider's
            range are allowed; they extrapolate.

    Returns:
        [num_subspaces, coords_dim] float32.

    Raises:
        ConfigError: an unknown slider, one given twice, or a value that is not a finite number.
    """
    offsets = np.zeros((manifest.num_subspaces, manifest.coords_dim), np.float32)
    check_mapping(sliders)
    seen = set()
    for key, value in (sliders or {}).items():
        slider = as_slider(key)
        with fault_of("sliders", slider):
            row, _ = find_slider(manifest, slider.layer, slider.dim, slider.index)
        if slider in seen:
            raise given_twice(slider)
        seen.add(slider)
        offsets[row, slider.dim] = check_coordinate(value, f"slider {slider}")
    return offsets


def check_mapping(sliders: object) -> None:
    """Raise ConfigError unless ``sliders`` is a mapping, or None."""
    if not isinstance(sliders, Mapping | None):
        expected = "values by slider, such as {'L3N0D5': 1.5}"
        raise ConfigError(field="sliders", value=sliders, expected=expected)


def given_twice(slider: Slider | str) -> ConfigError:
    """Return the error of a slider, or name, that has two values."""
    what = f"attribute {slider}" if isinstance(slider, str) else f"slider {slider}"
    return ConfigError(
        f"{what} is given twice",
        field="sliders",
        value=str(slider),
        expected="each slider once",
    )


def check_coordinate(value: object, what: str) -> float:
    """Return a coordinate as a float.

    Args:
        value: a finite number within float32.
        what: names the value in errors: ``slider L3N0D5``.

    Raises:
        ConfigError: it is something else.
    """
    if not isinstance(value, bool | str) and isinstance(value, SupportsFloat):
        number = float(value)
        if math.isfinite(number) and abs(number) <= float(np.finfo(np.float32).max):
            return number
    raise ConfigError(
        f"{what} is {show_value(value)}",
        field="sliders",
        value=value,
        expected="a finite number, such as 1.5",
    )


def check_layers(manifest: Manifest, layers: str | int | Iterable[int]) -> tuple[int, ...]:
    """Return the layers of ``0-1,3`` or of an iterable of integers, sorted, each once.

    Raises:
        ConfigError: no layer, text that is not understood, or a layer that does not exist.
    """
    found: set[int] = set()
    if isinstance(layers, str):
        for part in layers.split(","):
            match = re.fullmatch(r"\s*([0-9]{1,4})\s*(?:-\s*([0-9]{1,4})\s*)?", part)
            if match is None:
                raise ConfigError(
                    f"`layers` is {layers!r}, where {part.strip()!r} is not a layer or a range",
                    field="layers",
                    value=layers,
                    expected=f"numbers and ranges such as 0-1, up to {num_layers(manifest) - 1}",
                )
            first, last = int(match[1]), int(match[2] or match[1])
            if last < first:
                raise ConfigError(
                    f"`layers` is {layers!r}, where {part.strip()} ends before it begins",
                    field="layers",
                    value=layers,
                    expected=f"{last}-{first}",
                )
            found.update(range(first, last + 1))
    elif isinstance(layers, Iterable):
        found.update(_integer("layer", layer) for layer in layers)
    else:
        found.add(_integer("layer", layers))
    if not found:
        raise ConfigError(
            "`layers` is empty",
            field="layers",
            value=layers,
            expected=f"some of 0 to {num_layers(manifest) - 1}",
        )
    for layer in sorted(found):
        _check_layer(manifest, layer)
    return tuple(sorted(found))


def _check_layer(manifest: Manifest, layer: int) -> None:
    last = num_layers(manifest) - 1
    if not 0 <= layer <= last:
        expected = f"0 to {last} (layer 0 is 4², layer {last} is the last)"
        raise ConfigError(field="layer", value=layer, expected=expected)


def _integer(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        raise ConfigError(field=name, value=value, expected="an integer")
    return operator.index(value)


def _list(numbers: list[int]) -> str:
    """Write consecutive numbers as ``0 to 3``, others as ``0, 2, 5``."""
    if len(numbers) > 1 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]} to {numbers[-1]}"
    return ", ".join(str(number) for number in numbers)
