"""Sliders set by the probe: against the float64 computation, and bit by bit against ``render``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

from segan.runtime.backends.pixels import to_uint8
from segan.runtime.bundle.layout import Slider
from segan.runtime.errors import ConfigError
from segan.runtime.generate.generator import Generator, load
from segan.runtime.generate.probe import Probe
from segan.runtime.generate.renderer import Renderer
from segan.runtime.latents.files import Latents

if TYPE_CHECKING:
    from tests.conftest import RaisesError
    from tests.runtime.conftest import Oracle

Same = Callable[[NDArray[np.uint8], NDArray[np.float64]], None]
SEEDS = [3, 0, 7]
SLIDER, OTHER = Slider(1, 0, 4), Slider(2, 0, 0)


@pytest.fixture
def toy(toy_bundle: Path) -> Iterator[Generator]:
    with load(toy_bundle, "cpu", threads=1) as generator:
        yield generator


@pytest.fixture
def shifts(toy_bundle_zip: Path) -> Iterator[Generator]:
    with load(toy_bundle_zip, "cpu", threads=1) as generator:
        yield generator


def test_a_value_replaces_the_seeds_coordinate(
    toy: Generator, oracle: Oracle, same_images: Same
) -> None:
    probe = Probe(toy, SEEDS, toy.settings(psi=0.5))
    w = oracle.w(oracle.z(SEEDS))
    for value in (-1.5, 0, 4):
        coords = oracle.coords(SEEDS, 0.5)
        coords[:, 1, 4] = value
        same_images(probe.images({SLIDER: value}), oracle.image(w, psi=0.5, coords=coords))
    # Setting a slider leaves no trace in the next images.
    expected = oracle.image(w, psi=0.5, coords=oracle.coords(SEEDS, 0.5))
    same_images(probe.images(), expected)


def test_added_sliders_stay_beside_those_that_are_set(
    toy: Generator, oracle: Oracle, same_images: Same
) -> None:
    probe = Probe(toy, SEEDS, toy.settings(sliders={SLIDER: 1.25, OTHER: -0.5}))
    coords = oracle.coords(SEEDS)
    coords[:, 1, 4] = 2  # replaced, whatever was added
    coords[:, 2, 0] -= 0.5
    same_images(probe.images({SLIDER: 2}), oracle.image(oracle.w(oracle.z(SEEDS)), coords=coords))


@pytest.mark.parametrize("noise", ["const", "random", "none"])
@pytest.mark.parametrize("batch_size", [2, 16])
def test_images_are_those_of_the_renderer_bit_by_bit(
    toy: Generator, noise: Any, batch_size: int
) -> None:
    settings = toy.settings(noise=noise, batch_size=batch_size, sliders={OTHER: 1})
    rows, values = [0, 0, 2, 1, 2], [-1, 1, 0.5, 3, -0.25]
    seeds = [SEEDS[row] for row in rows]
    counted: list[int] = []
    probe = Probe(toy, SEEDS, settings, on_images=counted.append)
    found = list(probe.batches({SLIDER: values, OTHER: 0.75}, rows))
    coords = settings.coords_of(seeds)
    coords[:, 1, 4], coords[:, 2, 0] = values, 0.75
    w = toy.map_seeds(SEEDS, settings)[rows]
    for start, batch in zip(range(0, 5, batch_size), found, strict=True):
        part = slice(start, start + batch_size)
        np.testing.assert_array_equal(
            batch,
            toy.render(w[part], coords[part], seeds[part], settings),
        )
    assert counted == [len(batch) for batch in found]
    assert max(counted) <= batch_size
    np.testing.assert_array_equal(
        probe.images({SLIDER: values, OTHER: 0.75}, rows)[:2], found[0][:2]
    )


def test_noise_is_drawn_once_for_all_values(
    toy: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = toy.settings(noise="random", batch_size=2)
    drawn: list[list[int]] = []
    noise_of = toy.noise_of

    def counted(seeds: Sequence[int], settings: Any) -> Any:
        drawn.append(list(seeds))
        return noise_of(seeds, settings)

    monkeypatch.setattr(toy, "noise_of", counted)
    probe = Probe(toy, SEEDS, settings)
    first = probe.images({SLIDER: 1})
    probe.images({SLIDER: -1})
    np.testing.assert_array_equal(probe.images({SLIDER: 1}), first)
    assert drawn == [list(SEEDS[:2]), list(SEEDS[2:])]


def test_only_little_noise_is_kept(toy: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = toy.settings(noise="random", batch_size=1)
    expected = Probe(toy, SEEDS, settings).images({SLIDER: 1})
    of_an_image = toy.noise_of([0], settings)
    assert of_an_image is not None
    monkeypatch.setattr("segan.runtime.generate.probe._KEPT_NOISE_BYTES", of_an_image.nbytes)
    probe = Probe(toy, SEEDS, settings)
    for _ in range(2):
        np.testing.assert_array_equal(probe.images({SLIDER: 1}), expected)
    kept = [noise.nbytes for noise in probe._noise.values() if noise is not None]
    assert kept == [of_an_image.nbytes]


def test_float_images_are_those_before_rounding(toy: Generator) -> None:
    probe = Probe(toy, SEEDS, toy.settings(psi=0.7, noise="random", batch_size=2))
    pixels = np.concatenate(list(probe.float_batches({SLIDER: 1.5})))
    assert pixels.shape == (3, 3, 16, 16)
    assert pixels.dtype == np.float32
    np.testing.assert_array_equal(to_uint8(pixels), probe.images({SLIDER: 1.5}))


def test_each_seed_has_its_class(
    shifts: Generator, oracle_shifts: Oracle, same_images: Same
) -> None:
    settings = shifts.settings(class_index=0)
    probe = Probe(shifts, SEEDS, settings, classes=[2, "star", 0])
    z, labels = oracle_shifts.z(SEEDS), [2, 2, 0]
    w = np.concatenate([oracle_shifts.w(z[n : n + 1], label) for n, label in enumerate(labels)])
    same_images(probe.images(), oracle_shifts.image(w, coords=oracle_shifts.coords(SEEDS)))


def test_classes_go_in_turn(
    toy: Generator, shifts: Generator, oracle_shifts: Oracle, same_images: Same
) -> None:
    probe = Probe.in_turn(shifts, range(5), psi=0.5)
    assert probe.classes == [0, 1, 2, 0, 1]
    z = oracle_shifts.z(range(5))
    w = np.concatenate([oracle_shifts.w(z[n : n + 1], n % 3) for n in range(5)])
    coords = oracle_shifts.coords(range(5), 0.5)
    same_images(probe.images(), oracle_shifts.image(w, psi=0.5, coords=coords))
    one = Probe.in_turn(shifts, range(5), class_index="star")
    assert one.classes is None
    np.testing.assert_array_equal(one.images(), shifts.generate(range(5), class_index=2))
    assert Probe.in_turn(toy, range(5)).classes is None


def test_latents_and_mixed_layers_are_probed(toy: Generator) -> None:
    latents = Latents(np.random.RandomState(0).randn(2, 8, 8).astype(np.float32))
    for options in ({"latents": latents}, {"mix": {"0": 5}}):
        settings = toy.settings(**options)
        probe = Probe(toy, [1, 0], settings)
        assert probe.w.shape == (2, 8, 8)
        expected = toy.generate([1, 0], **options)
        np.testing.assert_array_equal(probe.images(), expected)


def test_a_renderer_without_a_bundle_is_probed(toy: Generator) -> None:
    renderer = Renderer(toy._graphs)
    found = Probe(renderer, SEEDS, renderer.settings()).images({SLIDER: 1})
    np.testing.assert_array_equal(found, Probe(toy, SEEDS, toy.settings()).images({SLIDER: 1}))


def test_unknown_sliders_and_no_rows(toy: Generator, raises_error: RaisesError) -> None:
    probe = Probe(toy, SEEDS, toy.settings())
    with raises_error(ConfigError):
        probe.images({Slider(9, 0, 0): 1})
    assert probe.images({SLIDER: []}, []).shape == (0, 16, 16, 3)
