"""Style mixing: some layers of an image taken from another seed."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Literal

import numpy as np

from segan.runtime.bundle.sliders import check_layers
from segan.runtime.errors import ConfigError
from segan.runtime.generate.renderer import Images, Renderer, by_site
from segan.runtime.latents.options import Settings


def mix(
    renderer: Renderer,
    settings: Settings,
    rows: list[int],
    cols: list[int],
    layers: str | int | Iterable[int],
    cols_from: Literal["seeds", "latents"] = "seeds",
) -> Images:
    """Rows' styles with ``layers`` taken from the columns; see ``Generator.mix``.

    Style mixing as in Karras et al. 2019, Sec. 3.1, whole layers at a time.
    """
    manifest = renderer.manifest
    crossed = check_layers(manifest, layers)
    if cols_from not in ("seeds", "latents"):
        raise ConfigError(field="cols_from", value=cols_from, expected="seeds or latents")
    of_cols = settings if cols_from == "latents" else settings.without_latents()
    from_cols = np.array([site.layer in crossed for site in manifest.sites])
    coords_from_cols = np.array([s.layer in crossed for s in manifest.subspaces], bool)
    images = np.empty((len(rows), len(cols), *renderer.image_shape), np.uint8)
    pairs = itertools.product(range(len(rows)), range(len(cols)))
    while batch := list(itertools.islice(pairs, settings.options.batch_size)):
        row_seeds, col_seeds = [rows[r] for r, _ in batch], [cols[c] for _, c in batch]
        w_rows = by_site(renderer.map_seeds(row_seeds, settings))
        w_cols = by_site(renderer.map_seeds(col_seeds, of_cols))
        w = np.where(from_cols[:, None], w_cols, w_rows)  # [n, num_sites, w_dim]
        coords = np.where(
            coords_from_cols[:, None],
            of_cols.coords_of(col_seeds),
            settings.coords_of(row_seeds),
        )
        noise = renderer.noise_of(row_seeds, settings)
        rendered = renderer.render_with(w, coords, noise, settings)
        for (r, c), image in zip(batch, rendered, strict=True):
            images[r, c] = image
    return images
