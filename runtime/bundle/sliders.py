"""Finding sliders and layers in a bundle's tables, with errors that say what there is."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Iterable, Mapping
from typing import SupportsFloat, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from segan.runtime.bundle.layout import Slider, Subspace
from segan.runtime.bundle.manifest import Manifest
from segan.runtime.errors import ConfigError

#: Values by slider, written as a Slider or as ``L3N0D5``.
Sliders = Mapping[Slider, float] | Mapping[str, float] | Mapping[Slider | str, float]


def num_layers(manifest: Manifest) -> int:
    """Number of resolution blocks."""
    return max(site.layer for site in manifest.sites) + 1


def find_slider(manifest: Manifest, layer: int, dim: int, index: int = 0) -> tuple[int, Subspace]:
    """The row of ``coords`` and the subspace that a slider belongs to.

    Raises:
        ConfigError: there is no such layer, index or dim; the message names the range.
    """
    layer, dim, index = _integer("layer", layer), _integer("dim", dim), _integer("index", index)
    if not manifest.subspaces:
        raise ConfigError(
            f"this bundle has no sliders, since mode {manifest.mode} has no subspaces. "
            "Train with --mode 2, or add some with 'segan directions'."
        )
    _check_layer(manifest, layer)
    rows = {
        subspace.index: row
        for row, subspace in enumerate(manifest.subspaces)
        if subspace.layer == layer
    }
    if not rows:
        carrying = sorted({subspace.layer for subspace in manifest.subspaces})
        raise ConfigError(f"layer {layer} has no subspace; expected one of {_list(carrying)}.")
    if index not in rows:
        raise ConfigError(f"index is {index}; layer {layer} has {_list(sorted(rows))}.")
    subspace = manifest.subspaces[rows[index]]
    if not 0 <= dim < subspace.dims:
        raise ConfigError(
            f"dim is {dim}; expected 0 to {subspace.dims - 1} at layer {layer}, index {index}."
        )
    return rows[index], subspace


def as_slider(key: Slider | str) -> Slider:
    """A slider from its name or its three numbers. Raises: ConfigError for anything else."""
    if isinstance(key, str):
        return Slider.parse(key)
    if not isinstance(key, tuple) or len(key) != 3:
        raise ConfigError(f"slider is {key!r}; expected layer, index and dim, or text as L3N0D5.")
    return Slider(*key)


def slider_offsets(manifest: Manifest, sliders: Sliders | None) -> NDArray[np.float32]:
    """What the user's sliders add to the coordinates.

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
    if not isinstance(sliders, Mapping | None):
        raise ConfigError(f"sliders is {sliders!r}; expected values by slider: {{'L3N0D5': 1.5}}.")
    seen = set()
    for key, value in (sliders or {}).items():
        slider = as_slider(key)
        row, _ = find_slider(manifest, slider.layer, slider.dim, slider.index)
        if slider in seen:
            raise ConfigError(f"slider {slider} is given twice; expected it once.")
        seen.add(slider)
        offsets[row, slider.dim] = check_coordinate(value, f"slider {slider}")
    return offsets


def check_coordinate(value: object, what: str) -> float:
    """A coordinate as a float. Raises: ConfigError unless it is a number that float32 holds."""
    if isinstance(value, bool | str) or not isinstance(value, SupportsFloat):
        raise ConfigError(f"{what} is {value!r}; expected a number.")
    number = float(value)
    if not math.isfinite(number) or abs(number) > float(np.finfo(np.float32).max):
        raise ConfigError(f"{what} is {number:g}; expected a finite number, such as 1.5.")
    return number


def check_layers(manifest: Manifest, layers: str | int | Iterable[int]) -> tuple[int, ...]:
    """The layers that ``0-1,3`` or an iterable of integers names, sorted, each once.

    Raises:
        ConfigError: no layer, text that is not understood, or a layer that does not exist.
    """
    found: set[int] = set()
    if isinstance(layers, str):
        for part in layers.split(","):
            match = re.fullmatch(r"\s*([0-9]{1,4})\s*(?:-\s*([0-9]{1,4})\s*)?", part)
            if match is None:
                raise ConfigError(
                    f"layers {layers!r}: {part.strip()!r} is not understood; expected numbers and "
                    f"ranges such as 0-1, from 0 to {num_layers(manifest) - 1}."
                )
            first, last = int(match[1]), int(match[2] or match[1])
            if last < first:
                raise ConfigError(
                    f"layers {layers!r}: {part.strip()} runs backwards; write {last}-{first}."
                )
            found.update(range(first, last + 1))
    elif isinstance(layers, Iterable):
        found.update(_integer("layer", layer) for layer in layers)
    else:
        found.add(_integer("layer", layers))
    if not found:
        raise ConfigError(f"layers is empty; expected some of 0 to {num_layers(manifest) - 1}.")
    for layer in sorted(found):
        _check_layer(manifest, layer)
    return tuple(sorted(found))


def _check_layer(manifest: Manifest, layer: int) -> None:
    last = num_layers(manifest) - 1
    if not 0 <= layer <= last:
        raise ConfigError(
            f"layer is {layer}; expected 0 to {last} (layer 0 is 4², {last} is last)."
        )


def _integer(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        raise ConfigError(f"{name} is {value!r}; expected an integer.")
    return operator.index(value)


def _list(numbers: list[int]) -> str:
    """``0 to 3`` for consecutive numbers, ``0, 2, 5`` for others."""
    if len(numbers) > 1 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]} to {numbers[-1]}"
    return ", ".join(str(number) for number in numbers)
