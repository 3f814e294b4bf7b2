"""Sample sheets against the network's own images."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from PIL import Image

from segan.runtime.backends.pixels import to_uint8
from segan.runtime.bundle.layout import Slider
from segan.runtime.latents.draws import sample_coords, sample_z
from segan.train.loop.watch.sheets import seed_probe, write_slider_sheet
from segan.train.networks.config import Mode
from segan.train.networks.stylegan2.generator import Generator
from segan.train.runs.presets import preset


def trained(mode: Mode, classes: int = 0) -> Generator:
    config = preset("tiny", resolution=16, mode=mode)
    network = msgspec.structs.replace(config.network, c_dim=classes)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        generator = Generator(network, config.subspace)
        for value in generator.parameters():
            value.data.add_(torch.randn_like(value) * 0.1)
    return generator.eval().requires_grad_(False)


@pytest.mark.parametrize("mode", [0, 1, 2])
@pytest.mark.parametrize("classes", [0, 3])
def test_seeds_have_their_latents_and_the_classes_in_turn(mode: Mode, classes: int) -> None:
    generator, seeds = trained(mode, classes), range(2, 7)
    z, labels, coords = torch.from_numpy(sample_z(seeds, generator.network.z_dim)), None, None
    if classes:
        labels = torch.eye(3)[[0, 1, 2, 0, 1]]
    if mode:
        coords = torch.from_numpy(sample_coords(seeds, generator.table, generator.coords_shape[1]))
    image = generator(z, labels, coords, noise=generator.synthesis.noise_const())
    apart = seed_probe(generator, seeds).images().astype(int) - to_uint8(image.numpy())
    assert np.abs(apart).max() <= 1


def test_a_slider_is_set_for_all_seeds() -> None:
    generator = trained(2)
    probe = seed_probe(generator, range(3))
    row = [(entry.layer, entry.index) for entry in generator.table].index((1, 0))
    coords = torch.from_numpy(probe.coords.copy())
    coords[:, row, 3] = 1.5
    z = torch.from_numpy(sample_z(range(3), generator.network.z_dim))
    image = generator(z, None, coords, noise=generator.synthesis.noise_const())
    found = probe.images({Slider(1, 0, 3): 1.5})
    assert np.abs(found.astype(int) - to_uint8(image.numpy())).max() <= 1


def test_a_sheet_has_a_strip_for_each_slider(tmp_path: Path) -> None:
    assert not write_slider_sheet(trained(0), tmp_path / "a.png")
    assert not (tmp_path / "a.png").exists()
    heights = []
    for rows in (1, 3):
        assert write_slider_sheet(trained(2), tmp_path / "a.png", max_rows=rows)
        with Image.open(tmp_path / "a.png") as sheet:
            heights.append(sheet.height)
    assert heights[1] - heights[0] >= 2 * 96
