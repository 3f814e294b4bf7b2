"""Everything in one request, sliders, psi by layer, mixing and noise, against the toy's float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

from segan.runtime.bundle.attributes_editing import name_slider, write_attributes
from segan.runtime.bundle.layout import Slider
from segan.runtime.bundle.reader import open_bundle
from segan.runtime.errors import ConfigError
from segan.runtime.generate.generator import Generator, load
from segan.runtime.latents.files import Latents

if TYPE_CHECKING:
    from tests.conftest import RaisesError
    from tests.runtime.conftest import Oracle

Same = Callable[[NDArray[np.uint8], NDArray[np.float64]], None]
SEEDS = [3, 0, 7]
# Layers of toy.segan's sites: 0 0 1 1 1 2 2 2.
LAYERS = np.array([0, 0, 1, 1, 1, 2, 2, 2])


@pytest.fixture
def toy(toy_bundle: Path) -> Iterator[Generator]:
    bundle = open_bundle(toy_bundle)
    write_attributes(bundle, name_slider(bundle, Slider(1, 0, 2), "smile", sign=-1))
    with load(toy_bundle, "cpu", threads=1) as generator:
        yield generator


def mixed(oracle: Oracle, own: NDArray[np.float64], other: int, layers: set[int]) -> Any:
    """W by site with layers from another seed, [N, sites, w_dim]."""
    w = np.repeat(own[:, None], len(LAYERS), axis=1)
    w[:, np.isin(LAYERS, list(layers))] = oracle.w(oracle.z([other]))[:, None]
    return w


def test_all_edits_in_one_request(toy: Generator, oracle: Oracle, same_images: Same) -> None:
    psi = np.array([0.25] * 2 + [0.5] * 3 + [1.0] * 3)
    w = mixed(oracle, oracle.w(oracle.z(SEEDS)), 17, {0, 2})
    coords = oracle.coords(SEEDS, psi)
    coords[:, [0, 2]] = oracle.coords([17], psi)[:, [0, 2]]
    coords[:, 1, 2] -= 1.5  # smile runs against its coordinate
    coords[:, 2, 3] += 0.75
    expected = oracle.image(w, psi=psi, coords=coords, noise=oracle.noise(SEEDS))
    by_layer: Any = {0: 0.25, "2": 1}
    found = toy.generate(
        SEEDS,
        psi=0.5,
        psi_layers=by_layer,
        mix={"0,2": 17},
        sliders={"smile": 1.5, "L2N0D3": 0.75},
        noise="random",
        batch_size=2,
    )
    same_images(found, expected)


def test_a_mixed_request_is_what_mix_draws(toy: Generator) -> None:
    crossed = toy.mix(SEEDS, [17], layers="1-2", psi=0.8)
    assert (toy.generate(SEEDS, psi=0.8, mix={"1-2": 17}) == crossed[:, 0]).all()


def test_layers_may_come_from_different_seeds(
    toy: Generator, oracle: Oracle, same_images: Same
) -> None:
    w = mixed(oracle, oracle.w(oracle.z(SEEDS)), 17, {0})
    w[:, LAYERS == 2] = oracle.w(oracle.z([5]))[:, None]
    coords = oracle.coords(SEEDS)
    coords[:, 0], coords[:, 2] = oracle.coords([17])[:, 0], oracle.coords([5])[:, 2]
    same_images(toy.generate(SEEDS, mix={0: 17, 2: 5}), oracle.image(w, coords=coords))


def test_sweeps_and_walks_mix_too(toy: Generator) -> None:
    options: Any = {"mix": {"0": 17}, "psi_layers": {2: 0.5}}
    whole = toy.generate([3, 7], **options)
    own = toy.sweep(3, 1, 2, values=[0.0], coords="zero", **options)
    assert (own == toy.generate([3], coords="zero", **options)).all()
    for space in ("w", "z"):
        walk = list(toy.interpolate([3, 7], 2, space=space, **options))
        assert np.abs(walk[0].astype(int) - whole[0]).max() <= 1
        assert np.abs(walk[-1].astype(int) - whole[1]).max() <= 1


def test_a_photo_takes_layers_of_a_seed(toy: Generator, oracle: Oracle, same_images: Same) -> None:
    own = np.random.RandomState(1).randn(2, len(LAYERS), 8).astype(np.float32)
    latents = Latents(own)
    w = own.astype(np.float64)
    w[:, LAYERS == 1] = oracle.w(oracle.z([17]))[:, None]
    coords = np.zeros((2, 3, 6))
    coords[:, 1] = oracle.coords([17])[:, 1]
    found = toy.generate([0, 1], latents=latents, mix={1: 17})
    same_images(found, oracle.image(w, coords=coords))


def test_a_layer_without_subspaces_is_mixed(toy_bundle_plain: Path) -> None:
    with load(toy_bundle_plain, "cpu", threads=1) as plain:
        assert (plain.generate([1], mix={"0-2": 4}) == plain.generate([4])).all()


@pytest.mark.parametrize(
    ("options", "data"),
    [
        ({"psi_layers": {"0-1": 1.5}}, {"field": "psi_layers", "value": 1.5}),
        ({"psi_layers": {0: "1"}}, {"field": "psi_layers", "value": "1"}),
        ({"psi_layers": {0: float("nan")}}, {"field": "psi_layers", "value": float("nan")}),
        ({"psi_layers": 0.5}, {"field": "psi_layers", "value": 0.5}),
        ({"psi_layers": {"0-1": 1, 1: 0.5}}, {"field": "psi_layers", "problem": "layer 1 twice"}),
        ({"psi_layers": {9: 0.5}}, {"field": "psi_layers", "problem": "layer is 9"}),
        ({"mix": {"x": 1}}, {"field": "mix", "value": "x"}),
        ({"mix": {0: -1}}, {"field": "seed", "value": -1}),
        ({"mix": {0: 1, "0-2": 2}}, {"field": "mix", "problem": "layer 0 twice"}),
        ({"mix": [1]}, {"field": "mix", "value": [1]}),
    ],
)
def test_what_cannot_be(toy: Generator, options: Any, data: Any, raises_error: RaisesError) -> None:
    with raises_error(ConfigError, **data):
        toy.generate([0], **options)
