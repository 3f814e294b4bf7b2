"""Sample sheets of a run, always of the same seeds, so that they can be compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from segan.runtime.backends.pixels import to_uint8
from segan.runtime.bundle.layout import Slider
from segan.runtime.files.atomic import atomic_file
from segan.runtime.latents.draws import sample_coords, sample_z
from segan.runtime.pictures.sheets import grid, labelled_sheet, value_label
from segan.train.networks.stylegan2.generator import Generator

#: Positions on a slider's range that its strip shows.
SLIDER_STEPS = 7


@torch.no_grad()
def seed_images(
    generator: Generator, seeds: range, slider: Slider | None = None, value: float = 0.0
) -> np.ndarray:
    """Return images of seeds with constant noise, uint8 [N, H, W, C], as the runtime draws them.

    Args:
        generator: any generator; a conditional one shows its classes in turn.
        seeds: the seeds.
        slider: a coordinate to set; None = all coordinates are drawn.
        value: of the slider.
    """
    device, network = generator.w_avg.device, generator.network
    z = torch.from_numpy(sample_z(seeds, network.z_dim)).to(device)
    labels = None
    if network.c_dim:
        classes = torch.arange(len(seeds), device=device) % network.c_dim
        labels = torch.nn.functional.one_hot(classes, network.c_dim).float()
    coords = None
    rows, dims = generator.coords_shape
    if rows:
        coords = torch.from_numpy(sample_coords(seeds, generator.table, dims)).to(device)
        if slider is not None:
            row = [(entry.layer, entry.index) for entry in generator.table].index(slider[:2])
            coords[:, row, slider.dim] = value
    noise = generator.synthesis.noise_const()
    parts = [
        generator(
            z[i : i + 16],
            None if labels is None else labels[i : i + 16],
            None if coords is None else coords[i : i + 16],
            noise=noise,
        )
        for i in range(0, len(seeds), 16)
    ]
    return to_uint8(torch.cat(parts).cpu().numpy())


def write_sample_sheet(generator: Generator, path: Path, *, count: int = 64) -> None:
    """Write a grid of the images of seeds 0 … count - 1. Raises: OutputError."""
    sheet = grid(seed_images(generator, range(count)), 8)
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
    strips = [
        [
            seed_images(generator, range(seed, seed + 1), slider, float(np.interp(t, (-1, 1), end)))
            for t in steps
        ]
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
