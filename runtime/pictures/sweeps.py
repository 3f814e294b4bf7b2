"""Sweeps as pictures: labelled sheets, and animations that run through the values and back."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segan.runtime.bundle.attributes import names_of, read_attributes
from segan.runtime.generate.generator import Generator
from segan.runtime.generate.sweep import SweptSlider, sweep, sweep_grid
from segan.runtime.latents.options import Settings
from segan.runtime.pictures.sheets import labelled_sheet, value_label, write_sheet
from segan.runtime.pictures.video import write_animation


class SweepTable(NamedTuple):
    """Images of a sweep with their labels.

    Attributes:
        images: [R, V, H, W, C] uint8, a column for each value.
        rows: R labels.
        values: V values of the slider that is swept across.
        title: the slider and its site, or both sliders.
        subtitle: the bundle's name and, where the title has none, the seed.
    """

    images: NDArray[np.uint8]
    rows: list[str]
    values: list[float]
    title: str
    subtitle: str


def sweep_rows(
    generator: Generator,
    settings: Settings,
    sliders: Sequence[SweptSlider],
    seeds: Sequence[int],
    values: list[float],
    on_images: Callable[[int], object] = lambda images: None,
) -> SweepTable:
    """A row for each slider and seed, over the same values.

    Args:
        generator: makes the images.
        settings: from ``generator.resolve``.
        sliders: one or more of the same subspace.
        seeds: one or more, or positions in the settings' latents.
        values: of each slider.
        on_images: called with the number of images after each row.
    """
    names = names_of(read_attributes(generator.bundle))
    seed_word = settings.seed_word
    images, labels = [], []
    for chosen in sliders:
        dim = f"D{chosen.slider.dim} {names.get(chosen.slider, '')}".strip()
        for seed in seeds:
            images.append(sweep(generator, settings, seed, chosen, values))
            on_images(len(values))
            if len(sliders) == 1:
                labels.append(f"{seed_word} {seed}")
            else:
                labels.append(dim if len(seeds) == 1 else f"{dim}  {seed_word} {seed}")
    first = sliders[0].slider
    _, subspace = generator.slider(first.layer, first.dim, first.index)
    site = generator.manifest.sites[subspace.site]
    where = f"layer {subspace.layer} ({site.name}, {site.resolution} x {site.resolution})"
    if len(sliders) == 1:
        called = f"{first} {sliders[0].name or names.get(first, '')}".strip()
        title = f"{called}: {where}, dim {first.dim}"
        if sliders[0].adds:
            title = f"{sliders[0].label}: {len(sliders[0].weights)} sliders"
    else:
        seed_text = f", {seed_word} {seeds[0]}" if len(seeds) == 1 else ""
        title = f"L{subspace.layer}N{subspace.index}: {where}, all dims{seed_text}"
    return SweepTable(np.stack(images), labels, values, title, generator.manifest.name)


def sweep_by(
    generator: Generator,
    settings: Settings,
    seed: int,
    cols: SweptSlider,
    rows: SweptSlider,
    col_values: list[float],
    row_values: list[float],
    on_images: Callable[[int], object] = lambda images: None,
) -> SweepTable:
    """One slider across and another one down; see ``sweep_rows`` for the arguments."""
    images = sweep_grid(generator, settings, seed, cols, rows, col_values, row_values)
    on_images(len(col_values) * len(row_values))
    across, down = cols.name or cols.label, rows.name or rows.label
    return SweepTable(
        images,
        [f"{down}  {value_label(value)}" for value in row_values],
        col_values,
        f"{across} across, {down} down",
        f"{generator.manifest.name}, {settings.seed_word} {seed}",
    )


def write_sweep_sheet(
    path: str | os.PathLike[str], table: SweepTable, scale: int | None = None
) -> None:
    """Draw a table as one labelled sheet. Raises: ConfigError, OutputError; see ``write_sheet``.

    Args:
        path: png, jpeg or webp.
        table: the images.
        scale: whole factor of enlargement; None enlarges small images to a readable size.
    """
    sheet = labelled_sheet(
        table.images,
        rows=table.rows,
        cols=[value_label(value) for value in table.values],
        title=table.title,
        subtitle=table.subtitle,
        scale=scale,
    )
    write_sheet(path, sheet)


def write_sweep_animation(
    path: str | Path, tables: Sequence[SweepTable], *, fps: float, scale: int | None = None
) -> int:
    """Draw tables as one animation, from the first value to the last and back.

    The rows of a table stand side by side, the tables below each other. ``write_animation``
    describes the other arguments and the errors.

    Returns:
        How many frames there are, of which a gif may show fewer.
    """
    steps = len(tables[0].values)
    order = [*range(steps), *range(steps - 2, 0, -1)]
    frames = (
        np.concatenate([np.concatenate(t.images[:, step], axis=1) for t in tables], axis=0)
        for step in order
    )
    write_animation(path, frames, fps=fps, scale=scale)
    return len(order)
