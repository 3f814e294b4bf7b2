"""Directions as they are written into a bundle: rows of vectors, with their units and names."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segan.export.directions.statistics import WStatistics
from segan.runtime.bundle.manifest import Manifest
from segan.runtime.errors import ConfigError, DataError

F64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False, kw_only=True)
class DirectionRow:
    """One new row of ``coords``: directions that move the same sites.

    Attributes:
        site: the first site that is moved.
        layers: the layers that are moved.
        vectors: [dims, num_sites, w_dim] float64, what a coordinate of 1 adds to the sites' w; 0
            at sites that are not moved.
        sigma: [dims], the unit: the standard deviation of w along each direction.
        explained: [dims], share of the variance (sefa: of the squared weights) that each explains.
        names: one for each dim.
    """

    site: int
    layers: tuple[int, ...]
    vectors: F64
    sigma: F64
    explained: F64
    names: tuple[str, ...]

    @property
    def where(self) -> str:
        """The moved layers in words: ``layer 1``, ``layers 0 to 2``."""
        return _where(self.layers)


def _where(layers: tuple[int, ...]) -> str:
    return f"layer {layers[0]}" if len(layers) == 1 else f"layers {layers[0]} to {layers[-1]}"


def default_groups(manifest: Manifest) -> tuple[tuple[int, ...], ...]:
    """Every layer by itself."""
    return tuple((layer,) for layer in sorted({site.layer for site in manifest.sites}))


def parse_groups(manifest: Manifest, text: str | None) -> tuple[tuple[int, ...], ...]:
    """Layer groups from ``0-1,3``: layers 0 and 1 together, and layer 3.

    None is every layer by itself.

    Raises:
        ConfigError: not understood, or a layer that does not exist, or one given twice.
    """
    if text is None:
        return default_groups(manifest)
    last = max(site.layer for site in manifest.sites)
    groups = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,4})\s*(?:-\s*([0-9]{1,4})\s*)?", part)
        if match is None:
            raise ConfigError(
                f"layers {text!r}: {part.strip()!r} is not understood; expected layers and groups "
                f"such as 0-1,3, from 0 to {last}."
            )
        start, end = int(match[1]), int(match[2] or match[1])
        if end < start:
            raise ConfigError(f"layers {text!r}: {part.strip()} runs backwards.")
        if end > last:
            raise ConfigError(f"layers is {text!r}; expected 0 to {last}.")
        groups.append(tuple(range(start, end + 1)))
    every = [layer for group in groups for layer in group]
    if len(set(every)) < len(every):
        raise ConfigError(f"layers is {text!r}: a layer is given twice; expected each once.")
    return tuple(groups)


def group_sites(manifest: Manifest, group: Sequence[int]) -> list[int]:
    """Numbers of the sites of some layers, in synthesis order."""
    return [number for number, site in enumerate(manifest.sites) if site.layer in group]


def check_dims(manifest: Manifest, dims: int) -> None:
    """Raises ConfigError unless there can be so many orthogonal directions."""
    if not 1 <= dims <= manifest.w_dim:
        raise ConfigError(f"dims is {dims}; expected 1 to w_dim, {manifest.w_dim}.")


def oriented(vectors: F64) -> F64:
    """Eigenvectors [dims, w_dim] with the sign that makes the largest component positive."""
    largest = np.abs(vectors).argmax(axis=1)
    signs = np.sign(vectors[np.arange(len(vectors)), largest])
    return np.asarray(vectors * np.where(signs == 0, 1, signs)[:, None], np.float64)


def build_row(
    manifest: Manifest,
    statistics: WStatistics,
    sites: Sequence[int],
    directions: F64,
    *,
    method: str,
    explained: F64 | None = None,
    names: Sequence[str] | None = None,
) -> DirectionRow:
    """Scales directions to their unit, one standard deviation of w along them.

    A direction is brought to a mean square norm of 1 over the moved sites; its unit is the root
    mean square over them of the standard deviation of w along each site's vector. For one vector
    at all sites that is its unit vector times the standard deviation of w along it.

    Args:
        manifest: the bundle's.
        statistics: of its w.
        sites: numbers of the moved sites, in order.
        directions: [dims, w_dim], the same at all sites, or [dims, len(sites), w_dim]; of any norm.
        method: for names and messages.
        explained: [dims]; None is the share of w's variance along each direction.
        names: [dims]; None makes some.

    Raises:
        DataError: a direction is zero or not finite, or w does not vary along it.
    """
    if directions.ndim == 2:
        directions = np.repeat(directions[:, None], len(sites), axis=1)
    layers = tuple(sorted({manifest.sites[site].layer for site in sites}))
    where = _where(layers)
    norms = np.sqrt(np.square(directions).sum(axis=2).mean(axis=1))  # [dims]
    for dim, norm in enumerate(norms):
        if not math.isfinite(norm) or norm == 0:
            raise DataError(
                f"direction {dim} of {where} is {'zero' if norm == 0 else 'not finite'}; expected "
                "a vector with a direction. Leave it out."
            )
    unit = directions / norms[:, None, None]
    sigma = np.sqrt(np.square(statistics.deviation(unit)).mean(axis=1))
    total = statistics.total_variance
    if not (sigma > 1e-6 * math.sqrt(max(total, 0.0) / manifest.w_dim)).all() or total <= 0:
        dim = int(sigma.argmin())
        raise DataError(
            f"w does not vary along direction {dim} of {where}, so it has no unit. Ask for fewer "
            "directions (--dims), or leave that one out."
        )
    vectors = np.zeros((len(unit), manifest.num_sites, manifest.w_dim))
    vectors[:, sites] = unit * sigma[:, None, None]
    if explained is None:
        explained = np.square(sigma) / total
    return DirectionRow(
        site=sites[0],
        layers=layers,
        vectors=vectors,
        sigma=sigma,
        explained=explained,
        names=tuple(names or (f"{method} {dim}, {where}" for dim in range(len(unit)))),
    )
