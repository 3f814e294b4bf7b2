"""Directions from the user's file: vectors of w or W+ in npz or npy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segan.export.directions.rows import DirectionRow, build_row, group_sites
from segan.export.directions.statistics import WStatistics
from segan.runtime.bundle.manifest import Manifest
from segan.runtime.errors import DataError
from segan.runtime.files.arrays import read_arrays
from segan.runtime.latents.files import expand_rows
from segan.runtime.latents.readings import num_ws_rows

F64 = NDArray[np.float64]

#: Names of arrays, and the shape and meaning of each.
_KEYS = {
    "layers": "[num_layers, dims, w_dim]: each layer's own directions",
    "ws": "[num_sites or num_ws, w_dim] or [dims, num_sites or num_ws, w_dim]: W+ directions",
    "w": "[w_dim] or [dims, w_dim]: directions of w, for each layer group",
}


def vector_rows(
    manifest: Manifest,
    statistics: WStatistics,
    groups: Sequence[Sequence[int]],
    path: Path,
    *,
    dims: int | None = None,
) -> list[DirectionRow]:
    """Read directions from an npz or npy file.

    Arrays are named ``layers``, ``ws`` or ``w``; a single array of another name is recognised by
    its shape. ``names``, text [dims], may name the directions. The length of a vector is not used:
    the unit is one standard deviation of w.

    Args:
        manifest: manifest of the bundle.
        statistics: statistics of its w.
        groups: layer groups that directions of w are applied to, and layers whose own directions
            are taken.
        path: the file.
        dims: number of directions to take, from the first; None takes all.

    Raises:
        DataError: the file is damaged or unsafe, its shapes do not fit, or a direction is zero.
    """
    arrays = read_arrays(path)
    names = [str(name) for name in arrays.pop("names", np.array([], np.str_)).ravel()]
    kind, values = _choose(arrays, manifest, path)
    rows: list[DirectionRow] = []

    def add(sites: Sequence[int], vectors: F64) -> None:
        vectors = vectors[:dims]
        named = names[: len(vectors)] if len(names) >= len(vectors) else None
        rows.append(build_row(manifest, statistics, sites, vectors, method="vector", names=named))

    if kind == "ws":
        vectors = np.stack([expand_rows(entry, manifest) for entry in values])
        moved = np.flatnonzero(np.abs(vectors).max(axis=(0, 2)) > 0)
        if not len(moved):
            raise _unusable(path, "all directions are zero")
        add([int(site) for site in moved], vectors[:, moved])
    elif kind == "w":
        for group in groups:
            add(group_sites(manifest, group), values)
    else:
        wanted = {layer for group in groups for layer in group}
        for layer, vectors in enumerate(values):
            if layer in wanted and np.any(vectors):
                add(group_sites(manifest, (layer,)), vectors)
        if not rows:
            raise _unusable(path, "the directions of the chosen layers are zero")
    return rows


def _unusable(path: Path, problem: str, expected: str = "") -> DataError:
    return DataError(f"{path}: {problem}", field="vectors", value=path, expected=expected)


def _choose(
    arrays: dict[str, NDArray[np.generic]], manifest: Manifest, path: Path
) -> tuple[str, F64]:
    """Return which of _KEYS the file has, and its values with a dims axis."""
    known = [name for name in _KEYS if name in arrays]
    name = known[0] if known else next(iter(arrays), "")
    if len(known) != 1 and len(arrays) != 1:
        names = ", ".join(sorted(arrays)) or "none"
        raise _unusable(path, f"the arrays are {names}", f"one of {', '.join(_KEYS)}")
    values = arrays[name]
    shape = f"{name or 'the array'} is {list(values.shape)}"
    layers = max(site.layer for site in manifest.sites) + 1
    sites = (manifest.num_sites, num_ws_rows(manifest))
    if values.dtype.kind == "U" or values.ndim not in (1, 2, 3) or not values.size:
        expected = f"1 to 3 dimensions of numbers, the last {manifest.w_dim}"
        raise _unusable(path, shape, expected)
    if values.shape[-1] != manifest.w_dim:
        raise _unusable(path, shape, f"w_dim, {manifest.w_dim}, as the last dimension")
    numbers = values.astype(np.float64)
    if not np.isfinite(numbers).all():
        raise _unusable(path, "values are not finite")
    kind = name if known else _kind(numbers, layers, sites)
    if kind == "layers" and numbers.ndim == 3 and len(numbers) == layers:
        return kind, numbers
    if kind == "ws" and numbers.ndim >= 2 and numbers.shape[-2] in sites:
        return kind, numbers.reshape(-1, *numbers.shape[-2:])
    if kind == "w" and numbers.ndim <= 2:
        return kind, numbers.reshape(-1, manifest.w_dim)
    expected = f"{name}, {_KEYS[name]}" if known else "; ".join(_KEYS.values())
    error = _unusable(path, shape, expected)
    error.remedy = (
        f"In this bundle num_layers is {layers}, num_sites {sites[0]}, num_ws {sites[1]} and w_dim "
        f"{manifest.w_dim}."
    )
    raise error


def _kind(values: F64, layers: int, sites: tuple[int, int]) -> str:
    """Return the key of an array without a known name, by its shape; '' if none fits."""
    if values.ndim == 3:
        if len(values) == layers:
            return "layers"
        return "ws" if values.shape[1] in sites else ""
    return "ws" if values.ndim == 2 and len(values) in sites else "w"
