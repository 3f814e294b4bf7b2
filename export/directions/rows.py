"""Directions in the form that a bundle holds: rows of vectors, with units and names."""

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
        site: number of the first moved site.
        layers: the moved layers.
        vectors: [dims, num_sites, w_dim] float64, what a coordinate of 1 adds to the sites' w; 0
            at other sites.
        sigma: [dims], the unit: standard deviation of w along each direction.
        explained: [dims], share of the variance (sefa: of the squared weights) of each direction.
        names: one for each direction.
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
    """Return every layer as a group of its own."""
    return tuple((layer,) for layer in sorted({site.layer for site in manifest.sites}))


def parse_groups(manifest: Manifest, text: str | None) -> tuple[tuple[int, ...], ...]:
    """Parse layer groups: ``0-1,3`` is layers 0 and 1 together, and layer 3.

    None is every layer as a group of its own.

    Raises:
        ConfigError: the text is not understood, a layer does not exist, or a layer appears twice.
    """
    if text is None:
        return default_groups(manifest)
    last = max(site.layer for site in manifest.sites)
    expected = f"layers and groups such as 0-1,3, from 0 to {last}"
    groups = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,4})\s*(?:-\s*([0-9]{1,4})\s*)?", part)
        if match is None:
            problem = f"`layers` is {text!r}, and {part.strip()!r} is not a layer or group"
            raise ConfigError(problem, field="layers", value=text, expected=expected)
        start, end = int(match[1]), int(match[2] or match[1])
        if end < start:
            problem = f"`layers` is {text!r}, and {part.strip()} is in descending order"
            raise ConfigError(problem, field="layers", value=text, expected=expected)
        if end > last:
            raise ConfigError(field="layers", value=text, expected=f"0 to {last}")
        groups.append(tuple(range(start, end + 1)))
    every = [layer for group in groups for layer in group]
    if len(set(every)) < len(every):
        raise ConfigError(field="layers", value=text, expected="each layer at most once")
    return tuple(groups)


def group_sites(manifest: Manifest, group: Sequence[int]) -> list[int]:
    """Return the numbers of the sites of some layers, in synthesis order."""
    return [number for number, site in enumerate(manifest.sites) if site.layer in group]


def check_dims(manifest: Manifest, dims: int) -> None:
    """Raise ConfigError unless w has that many orthogonal directions."""
    if not 1 <= dims <= manifest.w_dim:
        raise ConfigError(field="dims", value=dims, expected=f"1 to w_dim ({manifest.w_dim})")


def oriented(vectors: F64) -> F64:
    """Return eigenvectors [dims, w_dim] with signs that make their largest components positive."""
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
    """Scale directions to their unit, one standard deviation of w along them.

    A direction is scaled to a mean square norm of 1 over the moved sites. Its unit is the root mean
    square over the sites of the standard deviation of w along the site's vector. For the same
    vector at all sites, the result is its unit vector times the standard deviation of w along it.

    Args:
        manifest: manifest of the bundle.
        statistics: statistics of its w.
        sites: numbers of the moved sites, in order.
        directions: [dims, w_dim], the same at all sites, or [dims, len(sites), w_dim]; of any norm.
        method: method, for names.
        explained: [dims]; None takes the share of w's variance along each direction.
        names: [dims]; None takes names of method, number and layers.

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
                f"direction {dim} of {where} is {'zero' if norm == 0 else 'not finite'}",
                field="vectors",
                value=dim,
                expected="a finite vector other than zero",
            )
    unit = directions / norms[:, None, None]
    sigma = np.sqrt(np.square(statistics.deviation(unit)).mean(axis=1))
    total = statistics.total_variance
    if not (sigma > 1e-6 * math.sqrt(max(total, 0.0) / manifest.w_dim)).all() or total <= 0:
        dim = int(sigma.argmin())
        raise DataError(
            f"w does not vary along direction {dim} of {where}, which therefore has no unit",
            field="dims",
            value=len(unit),
            remedy="Lower `dims`, or leave that direction out.",
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
