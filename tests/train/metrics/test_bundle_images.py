"""Images of a bundle: those that generate and sweep give."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from segan.export.directions import DirectionsConfig, write_directions
from segan.runtime import load
from segan.runtime.errors import CheckpointError, ConfigError
from segan.runtime.generator import Generator
from segan.runtime.pixels import to_uint8
from segan.train.metrics.attributes import AttributeNetwork
from segan.train.metrics.bundle_images import BundleImages
from segan.train.metrics.control import read_sliders
from segan.train.metrics.model_images import open_model

SHIPPED = Path(__file__).parents[3] / "runtime" / "models" / "faces32.segan"


@pytest.fixture(scope="module")
def bundle() -> Iterator[Generator]:
    with load(SHIPPED, "cpu", threads=1) as generator:
        yield generator


def test_images_are_those_of_generate(bundle: Generator) -> None:
    images = BundleImages(bundle)
    for seeds in (range(3), range(2, 40), range(3)):
        found = to_uint8(images.render(seeds).numpy())
        assert np.abs(found.astype(int) - bundle.generate(seeds)).max() <= 1


def test_a_slider_is_set_as_in_a_sweep(bundle: Generator) -> None:
    images = BundleImages(bundle)
    slider, low, high = images.sliders[7]
    for value in (low, 0.4, high):
        found = to_uint8(images.slider(slider)([5], value).numpy())
        expected = bundle.sweep(5, slider.layer, slider.dim, index=slider.index, values=[value])
        assert np.abs(found.astype(int) - expected).max() <= 1


def test_codes_are_what_seeds_stand_for(bundle: Generator) -> None:
    codes = BundleImages(bundle).codes(range(4))
    manifest = bundle.manifest
    assert codes.z.shape == (4, manifest.z_dim)
    assert codes.w.shape == (4, manifest.w_dim)
    assert codes.coords.shape == (4, sum(entry.dims for entry in manifest.subspaces))
    again = BundleImages(bundle).codes([3])
    np.testing.assert_allclose(again.w[0], codes.w[3], atol=1e-5)
    assert np.array_equal(again.coords[0], codes.coords[3])


def test_every_slider_of_the_table_is_there(bundle: Generator) -> None:
    images = BundleImages(bundle)
    assert len(images.sliders) == sum(entry.dims for entry in bundle.manifest.subspaces)
    assert images.resolution == 32
    with pytest.raises(ConfigError, match="layer is 99"):
        images.slider(images.sliders[0].slider._replace(layer=99))


def test_a_path_opens_as_what_it_is(tmp_path: Path) -> None:
    assert isinstance(open_model(SHIPPED, threads=1), BundleImages)
    with pytest.raises(CheckpointError, match="does not exist"):
        open_model(tmp_path / "nothing")


def test_added_directions_are_sliders_over_their_own_range(
    toy_bundle_plain: Path, tmp_path: Path
) -> None:
    directed = tmp_path / "directed.segan"
    with load(toy_bundle_plain, "cpu", threads=1) as plain:
        assert BundleImages(plain).sliders == ()
        before = BundleImages(plain).render(range(3))
        config = DirectionsConfig(method="pca", dims=2, samples=500)
        write_directions(plain, directed, config)
    with load(directed, "cpu", threads=1) as generator:
        images = BundleImages(generator)
        assert [str(row.slider) for row in images.sliders[:3]] == ["L0N0D0", "L0N0D1", "L1N0D0"]
        assert images.codes(range(2)).coords.shape == (2, 0)
        slider, low, high = images.sliders[3]
        assert (low, high) == (-3, 3)
        render = images.slider(slider)
        assert float((render(range(3), 0.0) - before).abs().max()) < 1e-4
        found = to_uint8(render(range(3), high).numpy())
        expected = generator.generate(range(3), sliders={str(slider): high})
        assert np.abs(found.astype(int) - expected).max() <= 1
        assert np.abs(found.astype(int) - to_uint8(before.numpy())).max() > 1
        effects = read_sliders(images, AttributeNetwork(16), range(2), 2)
        assert len(effects) == len(images.sliders) == 6


def test_a_grey_bundle_is_refused(toy_bundle_zip: Path) -> None:
    with (
        load(toy_bundle_zip, "cpu", threads=1) as generator,
        pytest.raises(ConfigError, match="1 channels; expected 3"),
    ):
        BundleImages(generator)
