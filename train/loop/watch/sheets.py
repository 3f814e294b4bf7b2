"""Sample sheets of a run, always of the same seeds, so that they can be compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from segan.runtime.bundle.layout import Slider
from segan.runtime.files.atomic import atomic_file
from segan.runtime.generate.probe import Probe
from segan.runtime.generate.renderer import Renderer
from segan.runtime.pictures.sheets import grid, labelled_sheet, value_label
from segan.train.measure.models.torch_graphs import TorchGraphs
from segan.train.networks.stylegan2.generator import Generator

#: Positions on a slider's range that its strip shows.
SLIDER_STEPS = 7


def seed_probe(generator: Generator, seeds: range) -> Probe:
    """Return a probe of seeds with constant noise, as the runtime draws them.

    Args:
        generator: any generator; a conditional one shows its classes in turn.
        seeds: the seeds.
    """
    return Probe.in_turn(Renderer(TorchGraphs(generator)), seeds)


def write_sample_sheet(generator: Generator, path: Path, *, count: int = 64) -> None:
    """Write a grid of the images of seeds 0 … count - 1. Raises: OutputError."""
    sheet = grid(seed_probe(generator, range(count)).images(), 8)
    with atomic_file(path) as file:
        sheet.save(file, "png")


def write_slider_sheet(
    generator: Generator, path: Path, *, seed: int = 0, max_rows: int = 48
) -> bool:
    """Write one strip for each slider, of one seed's image.

    Returns:
        Whether there is a sheet; mode 0 has no sliders.

    Raises:
        OutputError: it cannot be written.
    """
    sliders = [
        (entry, Slider(entry.layer, entry.index, dim))
        for entry in generator.table
        for dim in range(entry.dims)
    ][:max_rows]
    if not sliders:
        return False
    steps = np.linspace(-1, 1, SLIDER_STEPS)
    ends = np.array([[entry.low, entry.high] for entry, _ in sliders])
    probe = seed_probe(generator, range(seed, seed + 1))
    strips = [
        [probe.images({slider: float(np.interp(t, (-1, 1), end))}) for t in steps]
        for (_, slider), end in zip(sliders, ends, strict=True)
    ]
    sheet = labelled_sheet(
        np.array(strips)[:, :, 0],
        rows=[str(slider) for _, slider in sliders],
        cols=[value_label(float(np.interp(t, (-1, 1), ends[0]))) for t in steps],
        title=f"seed {seed}: every slider over its range",
    )
    with atomic_file(path) as file:
        sheet.save(file, "png")
    return True
