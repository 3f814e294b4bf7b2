"""Seeded images: the same as the sample sheets', with sliders and directions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from segan.runtime.layout import Slider
from segan.runtime.pixels import to_uint8
from segan.train.generator import Generator
from segan.train.metrics.seeded_images import SeededImages
from segan.train.presets import preset
from segan.train.sample_sheets import seed_images


@pytest.fixture(params=[0, 1, 2])
def generator(request: pytest.FixtureRequest) -> Generator:
    torch.manual_seed(0)
    config = preset("tiny", resolution=16, mode=request.param)
    generator = Generator(config.network, config.subspace)
    for value in generator.parameters():
        value.data.add_(torch.randn_like(value) * 0.1)
    return generator.eval().requires_grad_(False)


def test_images_are_those_of_the_sample_sheets(generator: Generator) -> None:
    images = SeededImages(generator)
    for seeds in (range(3), range(2, 6), range(3)):
        found = to_uint8(images.render(seeds).numpy())
        assert np.abs(found.astype(int) - seed_images(generator, seeds)).max() <= 1


def test_a_slider_sets_its_coordinate(generator: Generator) -> None:
    if not generator.table:
        pytest.skip("mode 0 has no sliders")
    slider = Slider(1, 0, 3)
    found = to_uint8(SeededImages(generator).slider(slider)(range(3), 1.5).numpy())
    expected = seed_images(generator, range(3), slider, 1.5)
    assert np.abs(found.astype(int) - expected).max() <= 1


def test_a_direction_moves_w_at_its_sites_only(generator: Generator) -> None:
    images = SeededImages(generator)
    offset = np.linspace(-1, 1, generator.network.w_dim)
    render = images.direction(offset, [2, 3])
    assert torch.equal(render(range(2), 0.0), images.render(range(2)))
    w = generator.broadcast(images._w).clone()
    w[:, 2:4] += 2 * torch.from_numpy(offset).float()
    ws, shifts = generator.offsets(w, images._coords)
    expected = generator.synthesis(ws, shifts, generator.synthesis.noise_const())
    torch.testing.assert_close(render(range(2), 2.0), expected)
