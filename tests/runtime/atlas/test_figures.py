"""Figures of pictures that are made so that the answers are known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from segan.runtime.atlas.figures import measure, reduce_side
from segan.runtime.readings.effects import DEAD_BELOW


def blank(seeds: int = 3, steps: int = 5, side: int = 16) -> NDArray[np.uint8]:
    return np.full((seeds, steps, side, side, 3), 100, np.uint8)


def test_an_even_change_of_a_square() -> None:
    images = blank()
    for step in range(5):
        images[:, step, 2:6, 8:12] += np.uint8(10 * step)
    found = measure(images)
    figures = found.figures
    assert figures.effect == pytest.approx(40 / 127.5 * (1 / 16) ** 0.5, rel=1e-6)
    assert figures.locality == pytest.approx(1 - 1 / 16)
    assert figures.consistency == pytest.approx(1)
    assert figures.straightness == pytest.approx(1, rel=1e-6)
    assert figures.monotonicity == pytest.approx(1)
    assert figures.span == (0, 4)
    assert figures.score == figures.effect * figures.locality
    assert not figures.dead
    assert found.heat.shape == (16, 16)
    assert found.heat[2:6, 8:12] == pytest.approx(40 / 127.5)
    assert np.count_nonzero(found.heat) == 16


def test_an_even_change_of_everything_is_not_local() -> None:
    images = blank()
    images[:, -1] += np.uint8(20)
    assert measure(images).figures.locality == pytest.approx(0, abs=1e-9)


def test_locality_is_that_of_each_seed() -> None:
    """Each seed changes another pixel: each change is local, wherever it is."""
    images = blank(seeds=4)
    for seed in range(4):
        images[seed, -1, seed, seed] += np.uint8(50)
    found = measure(images)
    assert found.figures.locality == pytest.approx(1 - 1 / 256)
    assert found.figures.consistency == pytest.approx(0, abs=1e-9)


def test_locality_of_uneven_energy_and_seeds() -> None:
    """(Σ e)² / (P Σ e²), seeds weighted by their energy, computed another way."""
    rng = np.random.RandomState(0)
    images = blank(seeds=5, steps=2)
    images[:, 1] = rng.randint(60, 180, images[:, 1].shape)
    images[3, 1] = images[3, 0]  # one seed that does not change
    change = (images[:, 1].astype(float) - images[:, 0]) / 127.5
    shares, weights = [], []
    for part in change:
        energy = (part**2).mean(-1).ravel()
        if energy.any():
            weights.append(energy.sum())
            shares.append(1 / (256 * ((energy / energy.sum()) ** 2).sum()))
    expected = 1 - np.average(shares, weights=weights)
    assert measure(images).figures.locality == pytest.approx(expected)


def test_consistency_is_the_mean_cosine_over_pairs() -> None:
    rng = np.random.RandomState(1)
    images = blank(seeds=4, steps=2)
    images[:, 1] = rng.randint(90, 140, images[:, 1].shape)
    flat = (images[:, 1].astype(float) - images[:, 0]).reshape(4, -1)
    cosines = [
        a @ b / np.linalg.norm(a) / np.linalg.norm(b)
        for place, a in enumerate(flat)
        for b in flat[place + 1 :]
    ]
    assert measure(images).figures.consistency == pytest.approx(np.mean(cosines))


def test_opposite_changes_are_inconsistent() -> None:
    images = blank(seeds=2)
    images[0, -1, 0, 0] += np.uint8(50)
    images[1, -1, 0, 0] -= np.uint8(50)
    assert measure(images).figures.consistency == pytest.approx(-1)


def test_there_and_back() -> None:
    """The span ends where the change is largest; the whole way turns back."""
    images = blank()
    for step, value in enumerate([0, 20, 40, 20, 0]):
        images[:, step, :4] += np.uint8(value)
    figures = measure(images).figures
    assert figures.span == (0, 2)
    assert figures.effect == pytest.approx(40 / 127.5 / 2)
    assert figures.straightness == pytest.approx(1)
    assert figures.monotonicity == pytest.approx(0)


@pytest.mark.parametrize(("peak", "span"), [(101, (0, 2)), (102, (0, 2)), (103, (0, 1))])
def test_another_pair_than_the_ends_needs_a_change_that_is_two_percent_larger(
    peak: int, span: tuple[int, int]
) -> None:
    images = blank(steps=3)
    images[:, 1] += np.uint8(peak)
    images[:, 2] += np.uint8(100)
    assert measure(images).figures.span == span


def test_a_corner_in_the_path() -> None:
    """Red, then green by as much: the way is two sides of a square, the change its diagonal."""
    images = blank(steps=3)
    images[:, 1:, :4, :, 0] += np.uint8(60)
    images[:, 2:, :4, :, 1] += np.uint8(60)
    figures = measure(images).figures
    assert figures.straightness == pytest.approx(2**-0.5)
    assert figures.monotonicity == pytest.approx(1)


def test_a_dead_slider() -> None:
    found = measure(blank())
    assert found.figures.dead
    assert found.figures[:5] == (0, 0, 0, 0, 0)
    assert not found.heat.any()
    assert not found.change.any()


def test_one_step_of_a_few_pixels_is_dead() -> None:
    images = blank()
    images[:, -1, 0] += np.uint8(1)
    assert 0 < measure(images).figures.effect < DEAD_BELOW


def test_no_figure_is_nan_where_only_one_seed_changes() -> None:
    images = blank()
    images[1, -1, 0, 0] += np.uint8(200 - 100)
    figures = measure(images).figures
    assert np.isfinite(figures[:5]).all()
    assert figures.consistency == 0


def test_reduce_side_takes_means_of_blocks() -> None:
    pixels = np.arange(2 * 8 * 8 * 1, dtype=np.float32).reshape(2, 8, 8, 1)
    found = reduce_side(pixels, 4)
    assert found.shape == (2, 4, 4, 1)
    assert found[0, 0, 0, 0] == pixels[0, :2, :2].mean()
    assert reduce_side(pixels, 32) is pixels


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_other_numbers_of_channels(channels: int) -> None:
    images = np.full((2, 3, 16, 16, channels), 100, np.uint8)
    images[:, 1:, :4, :4] += np.uint8(30)
    assert measure(images).figures.locality == pytest.approx(1 - 1 / 16)
