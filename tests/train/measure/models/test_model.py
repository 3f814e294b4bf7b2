"""Images of checkpoints and bundles: those that the sample sheets, generate and sweep give."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from segan.export.directions.write import DirectionsConfig, write_directions
from segan.runtime import load
from segan.runtime.backends.pixels import to_uint8
from segan.runtime.bundle.layout import Slider
from segan.runtime.bundle.shipped import shipped_bundle
from segan.runtime.errors import CheckpointError, ConfigError
from segan.runtime.generate.generator import Generator
from segan.runtime.latents.draws import sample_coords, sample_z
from segan.train.measure.control.attributes import AttributeNetwork
from segan.train.measure.control.slider_effects import read_sliders
from segan.train.measure.models.model import ImageOptions, MeasuredModel
from segan.train.measure.models.open import Compute, open_model
from segan.train.measure.models.torch_graphs import generator_model
from segan.train.networks.config import Mode
from segan.train.networks.stylegan2.generator import Generator as TrainedGenerator
from segan.train.runs.presets import preset

CONSTANT = ImageOptions(noise="const")

# Of a checkpoint's generator.


def trained(mode: Mode) -> TrainedGenerator:
    config = preset("tiny", resolution=16, mode=mode)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        generator = TrainedGenerator(config.network, config.subspace)
        for value in generator.parameters():
            value.data.add_(torch.randn_like(value) * 0.1)
    return generator.eval().requires_grad_(False)


def direct_images(
    generator: TrainedGenerator, seeds: range, slider: Slider | None = None, value: float = 0.0
) -> NDArray[np.uint8]:
    """The images of the network itself."""
    z, coords = torch.from_numpy(sample_z(seeds, generator.network.z_dim)), None
    if generator.table:
        drawn = sample_coords(seeds, generator.table, generator.coords_shape[1])
        if slider is not None:
            row = [(entry.layer, entry.index) for entry in generator.table].index(slider[:2])
            drawn[:, row, slider.dim] = value
        coords = torch.from_numpy(drawn)
    noise = generator.synthesis.noise_const()
    return to_uint8(generator(z, None, coords, noise=noise).numpy())


@pytest.mark.parametrize("mode", [0, 1, 2])
def test_images_are_those_of_the_network(mode: Mode) -> None:
    generator = trained(mode)
    images = generator_model(generator, CONSTANT)
    for seeds in (range(3), range(2, 6), range(3)):
        found = to_uint8(images.render(seeds).numpy())
        assert np.abs(found.astype(int) - direct_images(generator, seeds)).max() <= 1
    assert bool(images.sliders) == (mode > 0)


@pytest.mark.parametrize("mode", [1, 2])
def test_a_slider_sets_its_coordinate(mode: Mode) -> None:
    generator, slider = trained(mode), Slider(1, 0, 3)
    found = to_uint8(generator_model(generator, CONSTANT).slider(slider)(range(3), 1.5).numpy())
    expected = direct_images(generator, range(3), slider, 1.5)
    assert np.abs(found.astype(int) - expected).max() <= 1


def test_a_seeds_noise_stays_while_a_slider_moves() -> None:
    images = generator_model(trained(2), ImageOptions(noise="random", batch_size=2))
    (slider, low, _), *_ = images.sliders
    once = images.slider(slider)(range(3), low)
    assert torch.equal(images.slider(slider)(range(3), low), once)
    alone = images.slider(slider)([2], low)
    torch.testing.assert_close(alone[0], once[2], atol=1e-5, rtol=0)


# Of a bundle.


@pytest.fixture(scope="module")
def bundle() -> Iterator[Generator]:
    with load(shipped_bundle(), "cpu", threads=1) as generator:
        yield generator


@pytest.fixture
def open_images() -> Iterator[Callable[[Path], MeasuredModel]]:
    opened: list[MeasuredModel] = []

    def make(path: Path) -> MeasuredModel:
        opened.append(open_model(path, CONSTANT, Compute(threads=1)))
        return opened[-1]

    yield make
    for images in opened:
        images.close()


Open = Callable[[Path], MeasuredModel]


def test_images_are_those_of_generate(bundle: Generator, open_images: Open) -> None:
    images = open_images(shipped_bundle())
    for seeds in (range(3), range(2, 40), range(3)):
        found = to_uint8(images.render(seeds).numpy())
        assert np.abs(found.astype(int) - bundle.generate(seeds)).max() <= 1


def test_a_slider_is_set_as_in_a_sweep(bundle: Generator, open_images: Open) -> None:
    images = open_images(shipped_bundle())
    slider, low, high = images.sliders[7]
    for value in (low, 0.4, high):
        found = to_uint8(images.slider(slider)([5], value).numpy())
        expected = bundle.sweep(5, slider.layer, slider.dim, index=slider.index, values=[value])
        assert np.abs(found.astype(int) - expected).max() <= 1


def test_codes_are_what_seeds_stand_for(bundle: Generator, open_images: Open) -> None:
    images = open_images(shipped_bundle())
    codes = images.codes(range(4))
    manifest = bundle.manifest
    assert codes.z.shape == (4, manifest.z_dim)
    assert codes.w.shape == (4, manifest.w_dim)
    assert codes.coords.shape == (4, sum(entry.dims for entry in manifest.subspaces))
    again = images.codes([3])
    np.testing.assert_allclose(again.w[0], codes.w[3], atol=1e-5)
    assert np.array_equal(again.coords[0], codes.coords[3])


def test_every_slider_of_the_table_is_there(bundle: Generator, open_images: Open) -> None:
    images = open_images(shipped_bundle())
    assert len(images.sliders) == sum(entry.dims for entry in bundle.manifest.subspaces)
    assert images.resolution == bundle.manifest.resolution
    with pytest.raises(ConfigError, match="99"):
        images.slider(images.sliders[0].slider._replace(layer=99))


def test_nothing_at_a_path(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        open_model(tmp_path / "nothing")


def test_added_directions_are_sliders_over_their_own_range(
    toy_bundle_plain: Path, tmp_path: Path, open_images: Open
) -> None:
    directed = tmp_path / "directed.segan"
    plain = open_images(toy_bundle_plain)
    assert plain.sliders == ()
    before = plain.render(range(3))
    with load(toy_bundle_plain, "cpu", threads=1) as opened:
        write_directions(opened, directed, DirectionsConfig(method="pca", dims=2, samples=500))
    images = open_images(directed)
    assert [str(row.slider) for row in images.sliders[:3]] == ["L0N0D0", "L0N0D1", "L1N0D0"]
    assert images.codes(range(2)).coords.shape == (2, 0)
    slider, low, high = images.sliders[3]
    assert (low, high) == (-3, 3)
    render = images.slider(slider)
    assert float((render(range(3), 0.0) - before).abs().max()) < 1e-4
    found = to_uint8(render(range(3), high).numpy())
    with load(directed, "cpu", threads=1) as generator:
        expected = generator.generate(range(3), sliders={str(slider): high})
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert np.abs(found.astype(int) - to_uint8(before.numpy())).max() > 1
    effects = read_sliders(images, AttributeNetwork(16), range(2), 2)
    assert len(effects) == len(images.sliders) == 6


def test_a_grey_model_is_refused(toy_bundle_zip: Path) -> None:
    with pytest.raises(ConfigError) as error:
        open_model(toy_bundle_zip, CONSTANT, Compute(threads=1)).require_rgb()
    assert (error.value.field, error.value.value) == ("img_channels", 1)
