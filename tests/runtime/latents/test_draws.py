from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray

from segan.runtime.bundle.layout import Prior, Subspace, build_sites
from segan.runtime.errors import ConfigError
from segan.runtime.latents.draws import lerp, psi_row, sample_coords, sample_noise, sample_z, slerp

if TYPE_CHECKING:
    from tests.conftest import RaisesError


def _subspace(dims: int, prior: Prior, index: int = 0) -> Subspace:
    return Subspace(site=0, layer=0, index=index, dims=dims, prior=prior, low=-1, high=1)


SUBSPACES = (
    _subspace(6, "uniform"),
    _subspace(2, "zero", 1),
    _subspace(5, "normal", 2),
    _subspace(3, "uniform", 3),
)


def _twister(seed: int, stream: int) -> random.Random:
    """Python's own Mersenne twister in the state that a seed's stream starts from."""
    bits = np.random.MT19937(np.random.SeedSequence((seed, stream)))
    state = bits.state["state"]
    twister = random.Random()
    twister.setstate((3, (*(int(word) for word in state["key"]), int(state["pos"])), None))
    return twister


def _polar(twister: random.Random) -> Iterator[float]:
    """Standard normals by Marsaglia's polar method, two at a time, the second one first."""
    while True:
        x, y = 2 * twister.random() - 1, 2 * twister.random() - 1
        square = x * x + y * y
        if 0 < square < 1:
            factor = math.sqrt(-2 * math.log(square) / square)
            yield y * factor
            yield x * factor


def test_z_is_the_published_stream() -> None:
    # np.random.RandomState(0).randn(4), as printed in numpy's documentation and many papers' code.
    published = [1.76405235, 0.40015721, 0.97873798, 2.2408932]
    np.testing.assert_allclose(sample_z([0], 4)[0], published, atol=1e-7)
    assert sample_z([0], 4).dtype == np.float32


def test_z_is_marsaglias_polar_method_on_the_mersenne_twister() -> None:
    twister = random.Random()
    key = np.random.RandomState(123).get_state()
    assert isinstance(key, tuple)
    twister.setstate((3, (*(int(word) for word in key[1]), int(key[2])), None))
    normals = _polar(twister)
    np.testing.assert_allclose(sample_z([123], 9)[0], [next(normals) for _ in range(9)], rtol=1e-6)


@pytest.mark.parametrize("z_dim", [7, 8])
def test_z_is_what_a_new_random_state_gives_for_each_seed(z_dim: int) -> None:
    # An odd z_dim leaves half a pair of normals behind, which must not reach the next seed.
    seeds = [5, 5, 0, 4294967295]
    expected = [np.random.RandomState(seed).randn(z_dim) for seed in seeds]
    np.testing.assert_array_equal(sample_z(seeds, z_dim), np.array(expected, np.float32))


def test_coords_follow_their_priors_in_table_order() -> None:
    coords = sample_coords([7], SUBSPACES, 6)[0]
    twister = _twister(7, 1)
    half = math.sqrt(3)

    def uniform(count: int) -> list[float]:
        return [half * (2 * twister.random() - 1) for _ in range(count)]

    expected = np.zeros((4, 6))
    expected[0] = uniform(6)
    normals = _polar(twister)
    expected[2, :5] = [next(normals) for _ in range(5)]
    expected[3, :3] = uniform(3)
    np.testing.assert_allclose(coords, expected, rtol=1e-6, atol=1e-7)
    assert coords.dtype == np.float32


def test_noise_is_the_second_stream() -> None:
    normals = _polar(_twister(4294967295, 2))
    found = sample_noise([4294967295], 11)[0]
    np.testing.assert_allclose(found, [next(normals) for _ in range(11)], rtol=1e-6)


def test_uniform_coords_have_unit_variance_and_stay_in_range() -> None:
    coords = sample_coords(range(2000), SUBSPACES[:1], 6).astype(np.float64)
    assert np.abs(coords).max() <= math.sqrt(3)
    # Standard error of the variance of U(-√3, √3): sqrt((9/5 - 1) / n).
    assert abs(coords.var() - 1) < 4 * math.sqrt(0.8 / coords.size)
    assert abs(coords.mean()) < 4 / math.sqrt(coords.size)


@pytest.mark.parametrize("seeds", [[5], [9, 5], [5, 9, 5], list(range(10))])
def test_a_seed_means_the_same_in_every_batch_and_order(seeds: list[int]) -> None:
    at = seeds.index(5)
    np.testing.assert_array_equal(sample_z(seeds, 8)[at], sample_z(5, 8)[0])
    np.testing.assert_array_equal(
        sample_coords(seeds, SUBSPACES, 6)[at], sample_coords([5], SUBSPACES, 6)[0]
    )
    np.testing.assert_array_equal(sample_noise(seeds, 20)[at], sample_noise([5], 20)[0])


def test_the_three_streams_differ() -> None:
    z, noise = sample_z([3], 8)[0], sample_noise([3], 8)[0]
    coords = sample_coords([3], (_subspace(8, "normal"),), 8)[0, 0]
    assert len({tuple(row) for row in (z, noise, coords)}) == 3


def test_the_global_random_state_is_neither_used_nor_moved() -> None:
    np.random.seed(1)
    before = sample_z([3], 8), sample_noise([3], 8)
    value = np.random.random()
    np.random.seed(1)
    assert np.random.random() == value
    np.testing.assert_array_equal(before[0], sample_z([3], 8))


def test_no_seeds_give_empty_arrays() -> None:
    assert sample_z([], 8).shape == (0, 8)
    assert sample_coords([], SUBSPACES, 6).shape == (0, 4, 6)
    assert sample_noise([], 5).shape == (0, 5)


# Interpolation.


def test_lerp_reaches_both_ends_exactly() -> None:
    a, b = sample_z([1, 2], 8)
    np.testing.assert_array_equal(lerp(a, b, 0), a)
    np.testing.assert_array_equal(lerp(a, b, 1), b)
    np.testing.assert_allclose(lerp(a, b, 0.25), 0.75 * a + 0.25 * b, rtol=1e-6)


def test_t_may_differ_for_each_vector() -> None:
    a, b = sample_z([1, 2, 3], 8), sample_z([4, 5, 6], 8)
    t = np.array([0.0, 0.3, 1.0])
    for blend in (lerp, slerp):
        rows = [blend(a[n], b[n], t[n]) for n in range(3)]
        np.testing.assert_array_equal(blend(a, b, t), np.stack(rows))


@pytest.mark.parametrize("angle", [1e-5, 0.1, 1.0, math.pi / 2, 3.0, math.pi - 1e-4])
@pytest.mark.parametrize("t", [0.0, 0.25, 0.5, 0.9, 1.0])
def test_slerp_turns_a_by_t_times_the_angle(angle: float, t: float) -> None:
    # In a plane of known orthonormal u, v: from 2u, at the angle, with the same length.
    u = np.array([0.6, 0.8, 0.0, 0.0])
    v = np.array([0.0, 0.0, 0.6, 0.8])
    a, b = 2 * u, 2 * (math.cos(angle) * u + math.sin(angle) * v)
    expected = 2 * (math.cos(t * angle) * u + math.sin(t * angle) * v)
    np.testing.assert_allclose(slerp(a, b, t), expected, atol=1e-6)


def test_slerp_of_different_lengths_is_shoemakes_formula() -> None:
    a, b = np.array([3.0, 0, 0]), np.array([0, 1.0, 0])
    middle = math.sin(math.pi / 4)
    np.testing.assert_allclose(slerp(a, b, 0.5), [3 * middle, middle, 0], atol=1e-6)


@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
def test_slerp_of_parallel_vectors_is_a_straight_line(t: float) -> None:
    a = np.array([1.0, 2.0, 2.0])
    np.testing.assert_allclose(slerp(a, 3 * a, t), (1 + 2 * t) * a, rtol=1e-6)
    np.testing.assert_allclose(slerp(a, a, t), a, rtol=1e-6)


@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_slerp_of_opposite_vectors_goes_round_and_keeps_its_length(scale: float) -> None:
    a = sample_z([3], 8)[0].astype(np.float64)
    path = np.stack([slerp(a, -scale * a, t) for t in np.linspace(0, 1, 11)]).astype(np.float64)
    np.testing.assert_allclose(path[0], a, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(path[-1], -scale * a, rtol=1e-6, atol=1e-6)
    lengths = np.linalg.norm(a) * np.linspace(1, scale, 11)
    np.testing.assert_allclose(np.linalg.norm(path, axis=1), lengths, rtol=1e-6)
    cosines = path @ a / np.linalg.norm(path, axis=1) / np.linalg.norm(a)
    np.testing.assert_allclose(np.arccos(np.clip(cosines, -1, 1))[5], math.pi / 2, atol=1e-6)
    assert (np.diff(cosines) < 0).all()


def test_slerp_with_a_zero_vector_or_one_dimension_is_a_straight_line() -> None:
    np.testing.assert_allclose(slerp([0, 0], [2, 4], 0.5), [1, 2])
    np.testing.assert_allclose(slerp([1], [-1], 0.5), [0], atol=1e-7)


def test_interpolation_of_different_shapes(raises_error: RaisesError) -> None:
    for blend in (lerp, slerp):
        with raises_error(ConfigError, field="b", value=(3,), problem="(2,)"):
            blend([0, 1], [0, 1, 2], 0.5)


# Truncation.

SITES = build_sites(16)  # 4: conv1, rgb; 8: conv0, conv1, rgb; 16: conv0, conv1, rgb


@pytest.mark.parametrize(
    ("cutoff", "held"),
    [
        (None, 8),
        (4, 2),
        (8, 5),
        (16, 8),
        ("8", 5),
        (np.int64(8), 5),
        ("b4.conv1", 1),
        ("b8.conv0", 3),
        ("b16.to_rgb", 8),
    ],
)
def test_psi_holds_up_to_and_including_the_cutoff(cutoff: int | str | None, held: int) -> None:
    row = psi_row(SITES, 0.25, cutoff)
    expected: NDArray[np.float32] = np.array([0.25] * held + [1.0] * (8 - held), np.float32)
    np.testing.assert_array_equal(row, expected)
    assert row.dtype == np.float32


@pytest.mark.parametrize("psi", [0, 1, 0.5, np.float32(0.5), np.int64(1)])
def test_psi_within_its_range(psi: float) -> None:
    assert (psi_row(SITES, psi, None) == np.float32(psi)).all()


@pytest.mark.parametrize("psi", [-0.1, 1.8, math.nan, math.inf, "0.7", None, True])
def test_psi_out_of_range(psi: float, raises_error: RaisesError) -> None:
    with raises_error(ConfigError, field="psi", value=psi):
        psi_row(SITES, psi, None)


@pytest.mark.parametrize("cutoff", [0, 24, 32, -8, "b32.conv0", "", "conv0", True, 8.0])
def test_a_cutoff_that_does_not_exist_names_those_that_do(
    cutoff: int | str, raises_error: RaisesError
) -> None:
    with raises_error(ConfigError, field="cutoff", value=cutoff) as caught:
        psi_row(SITES, 0.5, cutoff)
    assert "(4, 8, 16)" in caught.value.expected
    assert "(b4.conv1, " in caught.value.expected


def test_slerp_to_or_from_zero_is_straight() -> None:
    point, zero = np.array([[3.0, 4.0]], np.float32), np.zeros((1, 2), np.float32)
    assert slerp(point, zero, np.array([0.25])) == pytest.approx(0.75 * point)
    assert slerp(zero, point, np.array([0.25])) == pytest.approx(0.25 * point)
    assert slerp(zero, zero, np.array([0.25])) == pytest.approx(zero)


def test_slerp_on_a_line_goes_through_zero() -> None:
    # In one dimension there is no way round from a point to its opposite.
    one = np.array([[2.0]], np.float32)
    assert slerp(one, -one, np.array([0.25])) == pytest.approx(np.array([[1.0]]))
