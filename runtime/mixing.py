"""Style mixing: some layers of an image taken from another seed."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from segan.runtime.errors import ConfigError
from segan.runtime.settings import Settings
from segan.runtime.sliders import check_layers

if TYPE_CHECKING:
    from segan.runtime.generator import Generator

Images = NDArray[np.uint8]


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
        w_rows = by_site(generator.map_seeds(row_seeds, settings))
        w_cols = by_site(generator.map_seeds(col_seeds, crossed))
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


def mix_in(generator: Generator, settings: Settings, w: NDArray[np.float32]) -> NDArray[np.float32]:
    """The styles with the layers of ``settings.mixed`` replaced by those of their seeds.

    Args:
        generator: maps the seeds.
        settings: without mixed layers, w is returned as it is.
        w: [N, w_dim] or [N, num_sites, w_dim].

    Returns:
        [N, num_sites, w_dim] float32 where layers are mixed.
    """
    if not settings.mixed:
        return w
    manifest = generator.manifest
    shape = (len(w), manifest.num_sites, manifest.w_dim)
    styles = np.array(np.broadcast_to(by_site(w), shape))
    own = replace(settings, latents=None, mixed={})
    seeds = sorted(set(settings.mixed.values()))
    taken = dict(zip(seeds, generator.map_seeds(seeds, own), strict=True))
    for number, site in enumerate(manifest.sites):
        if site.layer in settings.mixed:
            styles[:, number] = taken[settings.mixed[site.layer]]
    return styles


def by_site(w: NDArray[np.float32]) -> NDArray[np.float32]:
    """[n, w_dim] → [n, 1, w_dim]; one vector for each site stays as it is."""
    return w[:, None] if w.ndim == 2 else w
