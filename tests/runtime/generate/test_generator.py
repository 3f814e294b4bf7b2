"""The generator against the float64 computation of the toy bundles in conftest.py."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from segan.runtime.backends.choose import candidates
from segan.runtime.backends.pixels import to_uint8
from segan.runtime.bundle import shipped
from segan.runtime.bundle.layout import Slider
from segan.runtime.errors import NO_VALUE, BackendError, BundleError, ConfigError
from segan.runtime.generate.generator import Generator, load
from segan.runtime.latents.options import GenerationOptions

if TYPE_CHECKING:
    from tests.conftest import RaisesError
    from tests.runtime.conftest import Oracle

Same = Callable[[NDArray[np.uint8], NDArray[np.float64]], None]
SEEDS = [3, 0, 4294967295, 7]

# Sites of toy.segan: b4.conv1 b4.to_rgb b8.conv0 b8.conv1 b8.to_rgb b16.conv0 b16.conv1 b16.to_rgb
PSI_TO_8 = np.array([0.5] * 5 + [1.0] * 3)


@pytest.fixture
def toy(toy_bundle: Path) -> Iterator[Generator]:
    with load(toy_bundle, threads=1) as generator:
        yield generator


@pytest.fixture
def shifts(toy_bundle_zip: Path) -> Iterator[Generator]:
    with load(toy_bundle_zip, "cpu", threads=1) as generator:
        yield generator


@pytest.fixture
def plain(toy_bundle_plain: Path) -> Iterator[Generator]:
    with load(toy_bundle_plain, threads=1) as generator:
        yield generator


# generate against the oracle.


def test_images_of_seeds(toy: Generator, oracle: Oracle, same_images: Same) -> None:
    image = oracle.image(oracle.w(oracle.z(SEEDS)), coords=oracle.coords(SEEDS))
    same_images(toy.generate(SEEDS), image)


def test_the_float_images_agree_to_rounding(toy: Generator, oracle: Oracle) -> None:
    w, coords = oracle.w(oracle.z(SEEDS)), oracle.coords(SEEDS)
    ws, none = toy.style(toy.map(oracle.z(SEEDS)), 1.0, coords)
    assert none is None
    np.testing.assert_allclose(toy.synthesize(ws), oracle.image(w, coords=coords), atol=1e-5)


@pytest.mark.parametrize(
    ("cutoff", "psi"),
    [(None, 0.5), (8, PSI_TO_8), ("b8.to_rgb", PSI_TO_8), ("8", PSI_TO_8)],
)
def test_psi_scales_w_and_coords_up_to_the_cutoff(
    toy: Generator,
    oracle: Oracle,
    same_images: Same,
    cutoff: int | str | None,
    psi: float | NDArray[np.float64],
) -> None:
    image = oracle.image(oracle.w(oracle.z(SEEDS)), psi=psi, coords=oracle.coords(SEEDS, psi))
    same_images(toy.generate(SEEDS, psi=0.5, cutoff=cutoff), image)


def test_psi_zero_is_one_mean_image(toy: Generator) -> None:
    images = toy.generate(SEEDS, psi=0)
    assert (images == images[0]).all()


def test_coords_zero(toy: Generator, oracle: Oracle, same_images: Same) -> None:
    image = oracle.image(oracle.w(oracle.z(SEEDS)), coords=np.zeros((4, 3, 6)))
    same_images(toy.generate(SEEDS, coords="zero"), image)


@pytest.mark.parametrize("coords", ["sampled", "zero"])
def test_sliders_are_added_and_not_scaled_by_psi(
    toy: Generator, oracle: Oracle, same_images: Same, coords: Any
) -> None:
    expected = oracle.coords(SEEDS, 0.5) if coords == "sampled" else np.zeros((4, 3, 6))
    expected[:, 1, 4] += 1.25
    expected[:, 2, 0] -= 7.5  # beyond the slider's range: extrapolation
    image = oracle.image(oracle.w(oracle.z(SEEDS)), psi=0.5, coords=expected)
    sliders: dict[Slider | str, float] = {"L1N0D4": 1.25, Slider(2, 0, 0): -7.5}
    same_images(toy.generate(SEEDS, psi=0.5, coords=coords, sliders=sliders), image)


def test_noise_modes(toy: Generator, oracle: Oracle, same_images: Same) -> None:
    w, coords = oracle.w(oracle.z(SEEDS)), oracle.coords(SEEDS)
    silent = np.zeros((1, oracle.k["noise"].size))
    same_images(toy.generate(SEEDS, noise="none"), oracle.image(w, coords=coords, noise=silent))
    own = oracle.noise(SEEDS)
    same_images(toy.generate(SEEDS, noise="random"), oracle.image(w, coords=coords, noise=own))


@pytest.mark.parametrize("label", [0, 2])
def test_shifts_and_classes(
    shifts: Generator, oracle_shifts: Oracle, same_images: Same, label: int
) -> None:
    w = oracle_shifts.w(oracle_shifts.z(SEEDS), label)
    image = oracle_shifts.image(w, psi=0.7, coords=oracle_shifts.coords(SEEDS, 0.7))
    found = shifts.generate(SEEDS, psi=0.7, class_index=label)
    same_images(found, image)
    assert found.shape == (4, 16, 16, 1)
    assert shifts.image_shape == (16, 16, 1)


def test_without_subspaces_and_noise(
    plain: Generator, oracle_plain: Oracle, same_images: Same
) -> None:
    image = oracle_plain.image(oracle_plain.w(oracle_plain.z(SEEDS)), psi=0.7)
    for noise in ("const", "none"):
        same_images(plain.generate(SEEDS, psi=0.7, noise=noise), image)


# What a seed promises.


@pytest.mark.parametrize("batch_size", [1, 3, 100])
@pytest.mark.parametrize("noise", ["const", "random"])
def test_images_do_not_depend_on_batch_size_or_order(
    toy: Generator, batch_size: int, noise: Any
) -> None:
    seeds = list(range(10))
    images = toy.generate(seeds, noise=noise)
    again = toy.generate(seeds[::-1], noise=noise, batch_size=batch_size)[::-1]
    # Matrix products of other sizes may add up in another order: a pixel on the edge may flip.
    assert np.abs(images.astype(int) - again).max() <= 1
    assert np.abs(images.astype(int) - again).mean() < 1e-3


def test_every_input_changes_the_image(toy: Generator) -> None:
    one = toy.generate(1).astype(int)
    others = [
        toy.generate(2),
        toy.generate(1, psi=0.5),
        toy.generate(1, psi=0.5, cutoff=4),
        toy.generate(1, coords="zero"),
        toy.generate(1, noise="none"),
        toy.generate(1, noise="random"),
        *(toy.generate(1, sliders={f"L{layer}N0D{dim}": 1}) for layer, dim in [(0, 5), (2, 3)]),
    ]
    for other in others:
        assert np.abs(one - other).mean() > 2


def test_batches_are_computed_when_asked_for(toy: Generator) -> None:
    batches = toy.generate_batches(itertools.count(), batch_size=3)
    seeds, images = next(batches)
    assert seeds == [0, 1, 2]
    np.testing.assert_array_equal(images, toy.generate([0, 1, 2]))
    assert next(batches)[0] == [3, 4, 5]
    parts = list(toy.generate_batches(range(5), batch_size=3))
    assert [seeds for seeds, _ in parts] == [[0, 1, 2], [3, 4]]
    assert [len(images) for _, images in parts] == [3, 2]


def test_no_seeds_give_no_images(toy: Generator) -> None:
    assert toy.generate([]).shape == (0, 16, 16, 3)
    assert list(toy.generate_batches([])) == []


def test_seeds_of_any_iterable(toy: Generator) -> None:
    expected = toy.generate([1, 2])
    np.testing.assert_array_equal(toy.generate(iter([1, 2])), expected)
    np.testing.assert_array_equal(toy.generate(np.array([1, 2])), expected)
    np.testing.assert_array_equal(toy.generate(range(1, 3)), expected)


# Editing.


def test_a_sweep_replaces_the_seeds_own_coordinate(
    toy: Generator, oracle: Oracle, same_images: Same
) -> None:
    values = [-3.0, 0.0, 0.5, 2.0]
    coords = np.repeat(oracle.coords([5], 0.5), 4, axis=0)
    coords[:, 2, 3] = values
    coords[:, 0, 1] += 0.4
    w = np.repeat(oracle.w(oracle.z([5])), 4, axis=0)
    noise = np.repeat(oracle.noise([5]), 4, axis=0)
    image = oracle.image(w, psi=0.5, coords=coords, noise=noise)
    sliders = {"L0N0D1": 0.4}
    found = toy.sweep(
        5, 2, 3, values=values, psi=0.5, sliders=sliders, noise="random", batch_size=3
    )
    same_images(found, image)


def test_a_sweep_covers_the_sliders_own_range(shifts: Generator) -> None:
    found = shifts.sweep(5, 1, 0, index=0, steps=5, class_index=0)
    values = [-2.0, -1.0, 0.0, 1.0, 2.0]  # the toy's range of a normal prior
    again = shifts.sweep(5, 1, 0, values=values, class_index=0)
    np.testing.assert_array_equal(found, again)
    assert len(shifts.sweep(5, 1, 0, index=1, class_index=0)) == 9
    assert shifts.sweep(5, 1, 0, values=[], class_index=0).shape == (0, 16, 16, 1)


def test_the_slider_table(shifts: Generator) -> None:
    row, subspace = shifts.slider(1, 2, 1)
    assert row == 2
    assert (subspace.site, subspace.dims) == (2, 3)


@pytest.mark.parametrize("layers", ["0,2", [2, 0, 2], (0, 2), iter([0, 2])])
def test_mixing_takes_styles_and_coords_of_the_layers_from_the_columns(
    toy: Generator, oracle: Oracle, same_images: Same, layers: Any
) -> None:
    rows, cols = [1, 2, 3], [8, 9]
    found = toy.mix(rows, cols, layers=layers, psi=0.5, noise="random", batch_size=4)
    assert found.shape == (3, 2, 16, 16, 3)
    from_cols = [site["layer"] in (0, 2) for site in oracle.sites]
    for r, c in itertools.product(range(3), range(2)):
        w_row, w_col = oracle.w(oracle.z([rows[r]])), oracle.w(oracle.z([cols[c]]))
        w = np.stack([w_col if taken else w_row for taken in from_cols], axis=1)
        coords = oracle.coords([cols[c]], 0.5)
        coords[:, 1] = oracle.coords([rows[r]], 0.5)[:, 1]
        image = oracle.image(w, psi=0.5, coords=coords, noise=oracle.noise([rows[r]]))
        same_images(found[r, c][None], image)


def test_mixing_all_layers_gives_the_columns_images(toy: Generator) -> None:
    found = toy.mix([1, 2], [8, 9], layers="0-2")
    for row in found:
        assert np.abs(row.astype(int) - toy.generate([8, 9])).max() <= 1


@pytest.mark.parametrize("loop", [False, True])
def test_a_walk_in_w_is_linear(
    toy: Generator, oracle: Oracle, same_images: Same, loop: bool
) -> None:
    seeds = [4, 6, 9]
    found = list(toy.interpolate(seeds, 4, loop=loop, psi=0.5, noise="random", batch_size=5))
    assert len(found) == (12 if loop else 9)
    w, coords = oracle.w(oracle.z(seeds)), oracle.coords(seeds, 0.5)
    for n, frame in enumerate(found):
        at, t = divmod(n / 4, 1)
        one, two = int(at) % 3, (int(at) + 1) % 3
        image = oracle.image(
            ((1 - t) * w[one] + t * w[two])[None],
            psi=0.5,
            coords=((1 - t) * coords[one] + t * coords[two])[None],
            noise=oracle.noise([4]),
        )
        same_images(frame[None], image)


def test_a_walk_in_z_is_spherical(
    shifts: Generator, oracle_shifts: Oracle, same_images: Same
) -> None:
    found = list(shifts.interpolate([4, 6], 5, space="z", class_index=1))
    assert len(found) == 6
    (a, b), (coords_a, coords_b) = oracle_shifts.z([4, 6]), oracle_shifts.coords([4, 6])
    omega = np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    for n, frame in enumerate(found):
        t = n / 5
        z = (np.sin((1 - t) * omega) * a + np.sin(t * omega) * b) / np.sin(omega)
        coords = ((1 - t) * coords_a + t * coords_b)[None]
        image = oracle_shifts.image(oracle_shifts.w(z[None], 1), coords=coords)
        same_images(frame[None], image)


def test_a_walk_leads_through_classes(
    shifts: Generator, oracle_shifts: Oracle, same_images: Same
) -> None:
    # One seed and three classes, back to the first: linear in w between the classes' own.
    found = list(shifts.interpolate([4], 2, classes=["star", 0, 1], loop=True, batch_size=4))
    z, coords = oracle_shifts.z([4]), oracle_shifts.coords([4])
    w = [oracle_shifts.w(z, number) for number in (2, 0, 1, 2)]
    assert len(found) == 6
    for n, frame in enumerate(found):
        at, t = divmod(n / 2, 1)
        between = (1 - t) * w[int(at)] + t * w[int(at) + 1]
        same_images(frame[None], oracle_shifts.image(between, coords=coords))
    # More seeds than classes: the classes begin anew, also in z.
    spaces: tuple[Literal["w", "z"], ...] = ("w", "z")
    for space in spaces:
        stops = list(shifts.interpolate([4, 6, 9], 1, space=space, classes=[0, 2]))
        for frame, seed, number in zip(stops, (4, 6, 9), (0, 2, 0), strict=True):
            same_images(
                frame[None],
                oracle_shifts.image(
                    oracle_shifts.w(oracle_shifts.z([seed]), number),
                    coords=oracle_shifts.coords([seed]),
                ),
            )
    # One class all the way is what class_index is.
    for space in spaces:
        one = shifts.interpolate([4, 6], 3, space=space, classes=[1])
        same = shifts.interpolate([4, 6], 3, space=space, class_index=1)
        np.testing.assert_array_equal(list(one), list(same))


def test_what_is_no_walk_through_classes(
    shifts: Generator, toy: Generator, raises_error: RaisesError
) -> None:
    with raises_error(ConfigError, field="classes", expected="1 or more, or None"):
        shifts.interpolate([4, 6], 3, classes=[])
    with raises_error(ConfigError, field="classes", problem="exclude each other"):
        shifts.interpolate([4, 6], 3, classes=[0, 1], class_index=1)
    with raises_error(ConfigError, field="class_index", value="sta", remedy="'star'"):
        shifts.interpolate([4, 6], 3, classes=[0, "sta"])
    with raises_error(ConfigError, field="class_index", value=0):
        toy.interpolate([4, 6], 3, classes=[0, 1])
    with raises_error(ConfigError, field="seeds", value=[], expected="2 or more"):
        shifts.interpolate([], 3, classes=[0, 1])


def test_a_walk_is_computed_when_asked_for(toy: Generator) -> None:
    frames = toy.interpolate([1, 2], 10**6, batch_size=1)
    assert next(frames).shape == (16, 16, 3)


# The three graphs by themselves.


def test_a_style_for_each_site_and_image(toy: Generator, oracle: Oracle) -> None:
    rng = np.random.RandomState(0)
    w, psi, coords = rng.randn(2, 8, 8), rng.rand(2, 8), rng.randn(2, 3, 6)
    noise = rng.randn(2, oracle.k["noise"].size)
    ws, _ = toy.style(w, psi, coords)
    expected = oracle.image(w, psi=psi, coords=coords, noise=noise)
    np.testing.assert_allclose(toy.synthesize(ws, noise=noise), expected, atol=1e-5)


def test_coords_may_be_left_out(shifts: Generator) -> None:
    w = np.zeros((2, 8))
    ws, found = shifts.style(w)
    assert found is not None
    assert found.shape == (2, 4, 6)
    assert not found.any()
    assert shifts.synthesize(ws, found).shape == (2, 1, 16, 16)


def test_wrong_shapes_are_refused(toy: Generator, plain: Generator, shifts: Generator) -> None:
    with pytest.raises(ConfigError, match=r"z is float32 \[2, 9\]"):
        toy.map(np.zeros((2, 9)))
    with pytest.raises(ConfigError, match="got the inputs z; expected c, z"):
        shifts.map(np.zeros((2, 8)))
    with pytest.raises(ConfigError, match="psi has shape"):
        toy.style(np.zeros((2, 8)), np.ones(7))
    with pytest.raises(ConfigError, match="coords has 1 rows; expected 2"):
        toy.style(np.zeros((2, 8)), 1, np.zeros((1, 3, 6)))
    with pytest.raises(ConfigError, match="no subspaces"):
        plain.style(np.zeros((2, 8)), 1, np.zeros((2, 3, 6)))
    with pytest.raises(ConfigError, match="noise has 3 rows; expected 2"):
        toy.synthesize(np.zeros((2, 8, 8)), noise=np.zeros((3, 656)))


def test_pixels_are_rounded_as_stylegan2_does() -> None:
    x = np.array([-2, -1.0039, -1, -1 / 255, 0, 0.5, 1, 2], np.float32).reshape(1, 2, 2, 2)
    expected = np.clip(np.floor(x.astype(np.float64) * 127.5 + 128), 0, 255).astype(np.uint8)
    np.testing.assert_array_equal(to_uint8(x), expected.transpose(0, 2, 3, 1))
    assert to_uint8(x).flags["C_CONTIGUOUS"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_not_finite(value: float) -> None:
    with pytest.raises(BackendError, match="not finite"):
        to_uint8(np.full((1, 3, 2, 2), value, np.float32))


def test_a_closed_generator(toy: Generator) -> None:
    toy.close()
    with pytest.raises(BackendError, match="closed"):
        toy.generate(0)


# Wrong use.


@pytest.mark.parametrize(
    ("arguments", "data"),
    [
        ({"psi": 1.8}, {"field": "psi", "value": 1.8, "expected": "0 to 1"}),
        ({"cutoff": 32}, {"field": "cutoff", "value": 32}),
        ({"coords": "mean"}, {"field": "coords", "value": "mean", "expected": "sampled or zero"}),
        ({"noise": "off"}, {"field": "noise", "value": "off", "expected": "const, random or none"}),
        ({"class_index": 0}, {"field": "class_index", "value": 0}),
        ({"batch_size": 0}, {"field": "batch_size", "value": 0, "expected": "1 or more"}),
        ({"batch_size": 2.5}, {"field": "batch_size", "value": 2.5}),
        ({"sliders": {"L9N0D0": 1}}, {"value": "L9N0D0", "problem": "layer is 9"}),
        ({"sliders": {"L0N3D0": 1}}, {"value": "L0N3D0", "problem": "index is 3"}),
        ({"sliders": {"L2N0D4": 1}}, {"field": "sliders", "problem": "dim is 4"}),
        ({"sliders": {"smile": 1}}, {"problem": "'smile'"}),
        ({"sliders": {5: 1}}, {"field": "slider", "value": 5}),
        ({"sliders": [1]}, {"field": "sliders", "value": [1]}),
        ({"sliders": {"L0N0D0": float("nan")}}, {"field": "sliders", "problem": "L0N0D0"}),
        ({"sliders": {"L0N0D0": float("inf")}}, {"field": "sliders", "problem": "L0N0D0"}),
        ({"sliders": {"L0N0D0": 1e39}}, {"field": "sliders", "problem": "L0N0D0"}),
        ({"sliders": {"L0N0D0": "1"}}, {"field": "sliders", "problem": "L0N0D0"}),
        ({"sliders": {"L0N0D0": 1, Slider(0, 0, 0): 2}}, {"value": "L0N0D0"}),
        ({"seeds": [0, -1]}, {"field": "seed", "value": -1, "expected": "0 to 4294967295"}),
        ({"seeds": 2**32}, {"field": "seed", "value": 2**32}),
        ({"seeds": [0.5]}, {"field": "seed", "value": 0.5}),
        ({"seeds": "0-3"}, {"field": "seeds", "value": "0-3", "remedy": "parse_seeds"}),
    ],
)
def test_arguments_out_of_range(
    toy: Generator, arguments: dict[str, Any], data: dict[str, Any], raises_error: RaisesError
) -> None:
    seeds = arguments.pop("seeds", [0])
    with raises_error(ConfigError, **data):
        toy.generate(seeds, **arguments)
    with raises_error(ConfigError, **data):
        list(toy.generate_batches(seeds, **arguments))


def test_an_unknown_option_is_a_type_error(toy: Generator) -> None:
    with pytest.raises(TypeError, match="psy"):
        toy.generate([0], psy=0.7)  # type: ignore[call-arg]


def test_help_lists_the_options() -> None:
    for function in (Generator.generate, Generator.sweep, Generator.interpolate):
        shown = inspect.signature(function).parameters
        assert {entry.name for entry in dataclasses.fields(GenerationOptions)} <= shown.keys()
        assert shown["psi"].default == 1.0


def test_wrong_options_are_named_before_anything_is_computed(
    toy: Generator, raises_error: RaisesError
) -> None:
    with raises_error(ConfigError, field="psi", value=2):
        toy.generate_batches([0], psi=2)
    with raises_error(ConfigError, field="frames", value=0, expected="1 or more"):
        toy.interpolate([0, 1], 0)
    with raises_error(ConfigError, field="seeds", value=[0], expected="2 or more"):
        toy.interpolate([0], 3)
    with raises_error(ConfigError, field="space", value="x", expected="w or z"):
        toy.interpolate([0, 1], 3, space="x")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("layer", "dim", "index", "field", "value", "expected"),
    [
        (3, 0, 0, "layer", 3, "0 to 2"),
        (-1, 0, 0, "layer", -1, "0 to 2"),
        (1, 7, 0, "dim", 7, "0 to 5 at layer 1, index 0"),
        (1, -1, 0, "dim", -1, "0 to 5"),
        (1, 3, 1, "dim", 3, "0 to 2 at layer 1, index 1"),
        (1, 0, 2, "index", 2, "0 to 1"),
        (1.0, 0, 0, "layer", 1.0, "an integer"),
    ],
)
def test_sliders_out_of_range(
    shifts: Generator,
    layer: Any,
    dim: int,
    index: int,
    field: str,
    value: object,
    expected: str,
    raises_error: RaisesError,
) -> None:
    for attempt in (
        lambda: shifts.slider(layer, dim, index),
        lambda: shifts.sweep(0, layer, dim, index=index, class_index=0),
    ):
        with raises_error(ConfigError, field=field, value=value) as caught:
            attempt()
        assert caught.value.expected.startswith(expected)


def test_wrong_sweeps(toy: Generator, plain: Generator, raises_error: RaisesError) -> None:
    with pytest.raises(ConfigError, match="no sliders, since mode 0"):
        plain.sweep(0, 0, 0)
    with raises_error(ConfigError, field="layer", value=NO_VALUE):
        toy.sweep(0)
    with raises_error(ConfigError, field="attr", value="smile"):
        toy.sweep(0, 1, 2, attr="smile")
    with raises_error(ConfigError, field="steps", value=1, expected="2 or more"):
        toy.sweep(0, 0, 0, steps=1)
    with raises_error(ConfigError, problem="a value of slider L0N0D0 is nan"):
        toy.sweep(0, 0, 0, values=[0, float("nan")])
    with raises_error(ConfigError, field="values", value=5):
        toy.sweep(0, 0, 0, values=5)  # type: ignore[arg-type]
    with raises_error(ConfigError, field="sliders", value=Slider(0, 0, 0), problem="is swept"):
        toy.sweep(0, 0, 0, sliders={"L0N0D0": 1})
    with raises_error(ConfigError, field="seed", value=-1):
        toy.sweep(-1, 0, 0)


@pytest.mark.parametrize(
    ("layers", "field", "value"),
    [
        ("", "layers", ""),
        ("a", "layers", "a"),
        ("2-1", "layers", "2-1"),
        ("0-3", "layer", 3),
        ([], "layers", []),
        ([-1], "layer", -1),
        ([0.5], "layer", 0.5),
        (9, "layer", 9),
    ],
)
def test_layers_out_of_range(
    toy: Generator, layers: Any, field: str, value: object, raises_error: RaisesError
) -> None:
    with raises_error(ConfigError, field=field, value=value):
        toy.mix([0], [1], layers=layers)


@pytest.mark.parametrize("label", [None, 3, -1, 1.0, True])
def test_classes_out_of_range_list_the_classes(
    shifts: Generator, label: Any, raises_error: RaisesError
) -> None:
    with raises_error(ConfigError, field="class_index", value=label) as caught:
        shifts.generate(0, class_index=label)
    assert caught.value.expected == "0 to 2 (0 circle, 1 square, 2 star)"


def test_random_noise_where_there_is_none(plain: Generator, raises_error: RaisesError) -> None:
    with raises_error(ConfigError, field="noise", value="random", expected="const or none"):
        plain.generate(0, noise="random")


# Loading.


def test_the_newest_bundle_under_the_current_folder_is_loaded(
    toy_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(toy_bundle.parent)
    with load() as generator:
        assert generator.manifest.name == "toy"
        assert generator.backend == candidates()[0].backend
        assert generator.bundle.path.resolve() == toy_bundle.resolve()


def test_no_bundle_under_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with load() as generator:
        assert generator.bundle.path == shipped.shipped_bundle()
    monkeypatch.setattr(shipped, "MODELS", tmp_path)
    with pytest.raises(BundleError, match="write one with 'segan export'"):
        load()


# Names.


@pytest.fixture
def named(toy_bundle: Path, replace_file: Callable[[Path, str, bytes], None]) -> Generator:
    entry = {"name": "smile", "layer": 1, "dim": 2, "range": [-1, 2], "sign": -1}
    replace_file(toy_bundle, "attributes.json", json.dumps({"attributes": [entry]}).encode())
    return load(toy_bundle, "cpu")


def test_sliders_by_name_are_those_by_place(named: Generator) -> None:
    expected = named.generate([0, 1], sliders={"L1N0D2": -1.5})
    assert np.array_equal(named.generate([0, 1], sliders={"smile": 1.5}), expected)
    mixed = named.mix([0], [1], layers=0, sliders={"smile": 1.5})
    assert np.array_equal(mixed, named.mix([0], [1], layers=0, sliders={"L1N0D2": -1.5}))
    strip = named.sweep(seed=3, attr="smile", steps=4)
    assert np.array_equal(strip, named.sweep(3, 1, 2, values=[1, 0, -1, -2]))
    strip = named.sweep(3, attr="SMILE", values=[0.5])
    assert np.array_equal(strip, named.sweep(3, 1, 2, values=[-0.5]))


@pytest.mark.parametrize(
    ("arguments", "data"),
    [
        ({}, {"field": "layer"}),
        ({"layer": 1}, {"field": "layer"}),
        ({"attr": "smile", "layer": 1, "dim": 2}, {"field": "attr", "value": "smile"}),
        ({"attr": "smile", "index": 1}, {"field": "attr", "value": "smile"}),
        ({"attr": "grin"}, {"value": "grin", "expected": "one of smile"}),
        ({"attr": "smile", "steps": 1}, {"field": "steps", "value": 1}),
        ({"attr": "smile", "sliders": {"L1N0D2": 1}}, {"problem": "L1N0D2 is swept"}),
        ({"layer": 1, "dim": 2, "sliders": {"smile": 1}}, {"problem": "L1N0D2 is swept"}),
        ({"attr": "smile", "sliders": {"smile": "1"}}, {"problem": "smile is '1'"}),
    ],
)
def test_wrong_names_in_a_sweep(
    named: Generator, arguments: Any, data: Any, raises_error: RaisesError
) -> None:
    with raises_error(ConfigError, **data):
        named.sweep(0, **arguments)


def test_an_unknown_backend_lists_those_that_exist(toy_bundle: Path) -> None:
    with pytest.raises(ConfigError, match="expected one of auto, tensorrt, cuda, openvino, cpu"):
        load(toy_bundle, "tpu")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"z_dim": 9}, r"mapping graph has the input z float32 \[N, 8\]; .*z float32 \[N, 9\]"),
        ({"c_dim": 2}, r"mapping graph has the inputs z; expected c, z"),
        ({"w_dim": 16}, r"mapping graph has the output w"),
        ({"subspaces": []}, r"offsets graph has the inputs coords, psi, w"),
        ({"coords_dim": 7}, r"offsets graph has the input coords float32 \[N, 3, 6\]"),
        ({"mode": 1}, r"offsets graph has the outputs ws; expected shifts, ws"),
        ({"noise": None}, r"synthesis graph has the inputs noise, ws"),
        ({"img_channels": 1}, r"synthesis graph has the output image"),
        ({"resolution": 32}, r"synthesis graph has the output image"),
    ],
)
def test_graphs_that_do_not_fit_the_manifest(
    toy_bundle: Path, edit_manifest: Callable[..., None], fields: dict[str, Any], message: str
) -> None:
    edit_manifest(toy_bundle, **fields)
    with pytest.raises(BundleError, match=message):
        load(toy_bundle)


def test_a_graph_that_is_no_model_but_has_the_stated_digest(
    toy_bundle: Path, replace_file: Callable[[Path, str, bytes], None]
) -> None:
    replace_file(toy_bundle, "synthesis.onnx", b"garbage")
    with pytest.raises(BundleError, match=r"toy\.segan: .*synthesis graph"):
        load(toy_bundle)


@pytest.mark.parametrize("kind", ["short", "float64", "shape", "pickle", "garbage", "nan", "huge"])
def test_noise_that_cannot_be_used(
    toy_bundle: Path, replace_file: Callable[[Path, str, bytes], None], kind: str
) -> None:
    import io

    data = (toy_bundle / "noise.npy").read_bytes()
    values = np.load(io.BytesIO(data), allow_pickle=False)
    wrong: dict[str, NDArray[Any]] = {
        "float64": values.astype(np.float64),
        "shape": values[:-1],
        "nan": np.where(np.arange(len(values)) == 3, np.nan, values),
        "pickle": np.array([{"a": 1}], object),
    }
    if kind in wrong:
        buffer = io.BytesIO()
        np.save(buffer, wrong[kind], allow_pickle=True)
        data = buffer.getvalue()
    elif kind == "short":
        data = data[:-4]
    elif kind == "huge":
        data = data.replace(b"(656,), }    ", b"(999999999,),}")
    else:
        data = b"garbage"
    replace_file(toy_bundle, "noise.npy", data)
    with pytest.raises(BundleError, match=r"noise\.npy: "):
        load(toy_bundle)


def test_a_missing_graph_is_named(toy_bundle: Path) -> None:
    (toy_bundle / "offsets.onnx").unlink()
    with pytest.raises(BundleError, match=r"offsets\.onnx is missing"):
        load(toy_bundle)


@pytest.mark.parametrize(
    ("backend", "light"),
    # OpenVINO imports zipfile and more by itself.
    [("auto", {"torch", "onnx", "PIL"}), ("cpu", {"zipfile", "click", "tqdm", "openvino"})],
)
def test_a_sweep_in_a_fresh_process_imports_little(
    toy_bundle: Path, backend: str, light: set[str]
) -> None:
    code = (
        "import sys\n"
        "from segan.runtime import load\n"
        f"images = load(sys.argv[1], {backend!r}).sweep(seed=7, layer=1, dim=3)\n"
        "assert images.shape == (9, 16, 16, 3)\n"
        f"heavy = {light | {'torch', 'onnx', 'PIL'}} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, os.fspath(toy_bundle)], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_moved_bundle_still_works(toy_bundle: Path, tmp_path: Path) -> None:
    generator = load(toy_bundle)
    expected = generator.generate(0)
    moved = shutil.move(toy_bundle, tmp_path / "elsewhere.segan")
    np.testing.assert_array_equal(generator.generate(0), expected)
    np.testing.assert_array_equal(load(moved).generate(0), expected)
