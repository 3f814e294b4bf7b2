"""Directions that the user brings: vectors of w or W+ in an npz file."""

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
from segan.runtime.latents.files import expand_rows, num_ws_rows

F64 = NDArray[np.float64]

#: Names of arrays that say what the vectors are, and what they mean.
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
    """Reads directions from an npz or npy file.

    Arrays are named ``layers``, ``ws`` or ``w``; a single array of another name is told by its
    shape. ``names``, text [dims], may name the directions. Only their direction counts: the unit
    becomes one standard deviation of w.

    Args:
        manifest: the bundle's.
        statistics: of its w.
        groups: layer groups that directions of w are applied to, and layers whose own directions
            are taken.
        path: the file.
        dims: take the first so many; None takes all.

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
            raise DataError(f"{path}: all directions are zero. Give others.")
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
            raise DataError(f"{path}: the wanted layers' directions are zero. Give others.")
    return rows


def _choose(
    arrays: dict[str, NDArray[np.generic]], manifest: Manifest, path: Path
) -> tuple[str, F64]:
    """(which of _KEYS, its values with a dims axis)."""
    known = [name for name in _KEYS if name in arrays]
    name = known[0] if known else next(iter(arrays), "")
    if len(known) != 1 and len(arrays) != 1:
        raise DataError(
            f"{path} holds the arrays {', '.join(sorted(arrays)) or 'none'}; expected one of "
            f"{', '.join(_KEYS)}."
        )
    values = arrays[name]
    shape = f"{path}: {name or 'the array'} is {list(values.shape)}"
    layers = max(site.layer for site in manifest.sites) + 1
    sites = (manifest.num_sites, num_ws_rows(manifest))
    if values.dtype.kind == "U" or values.ndim not in (1, 2, 3) or not values.size:
        raise DataError(
            f"{shape}; expected 1 to 3 dimensions of numbers, the last {manifest.w_dim}."
        )
    if values.shape[-1] != manifest.w_dim:
        raise DataError(f"{shape}; expected w_dim, {manifest.w_dim}, as the last dimension.")
    numbers = values.astype(np.float64)
    if not np.isfinite(numbers).all():
        raise DataError(f"{path} holds values that are not finite. Give others.")
    kind = name if known else _kind(numbers, layers, sites)
    if kind == "layers" and numbers.ndim == 3 and len(numbers) == layers:
        return kind, numbers
    if kind == "ws" and numbers.ndim >= 2 and numbers.shape[-2] in sites:
        return kind, numbers.reshape(-1, *numbers.shape[-2:])
    if kind == "w" and numbers.ndim <= 2:
        return kind, numbers.reshape(-1, manifest.w_dim)
    expected = f"{name}, {_KEYS[name]}" if known else "; ".join(_KEYS.values())
    raise DataError(
        f"{shape}; expected {expected}. Here num_layers is {layers}, num_sites {sites[0]}, num_ws "
        f"{sites[1]} and w_dim {manifest.w_dim}."
    )


def _kind(values: F64, layers: int, sites: tuple[int, int]) -> str:
    """What an array without a known name holds, by its shape; '' when it fits nothing."""
    if values.ndim == 3:
        if len(values) == layers:
            return "layers"
        return "ws" if values.shape[1] in sites else ""
    return "ws" if values.ndim == 2 and len(values) in sites else "w"
