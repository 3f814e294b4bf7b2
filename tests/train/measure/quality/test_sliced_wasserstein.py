from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from segan.train.measure.quality.sliced_wasserstein import (
    SlicedWasserstein,
    in_8_bits,
    laplacian_pyramid,
    sliced_distance,
    sorted_projections,
    unit_directions,
)


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def distance(one: torch.Tensor, two: torch.Tensor, directions: torch.Tensor) -> float:
    return sliced_distance(sorted_projections(one, directions), sorted_projections(two, directions))


def test_shifted_and_widened_gaussians_in_one_dimension() -> None:
    """W1 of N(0, 1) and N(m, 1) is |m|; of N(0, 1) and N(0, s²) it is |s - 1| · √(2/π)."""
    points = torch.randn(200_000, 1, generator=stream())
    axis = torch.ones(1, 1)
    assert distance(points, points, axis) == 0
    assert distance(points, points - 0.75, axis) == pytest.approx(0.75, rel=1e-5)
    others = torch.randn(200_000, 1, generator=stream(1))
    assert distance(points, others + 0.5, axis) == pytest.approx(0.5, rel=0.02)
    assert distance(points, others * 1.5, axis) == pytest.approx(
        0.5 * math.sqrt(2 / math.pi), rel=0.03
    )


@pytest.mark.parametrize("width", [2, 3, 147])
def test_a_shift_in_many_dimensions(width: int) -> None:
    """A shift by v costs |u·v| along u: |v| Γ(d/2) / (√π Γ((d+1)/2)) on average."""
    points = torch.randn(50, width, generator=stream())
    shift = torch.randn(width, generator=stream(1))
    found = distance(points, points + shift, unit_directions(100_000, width, stream(2)))
    mean = math.exp(math.lgamma(width / 2) - math.lgamma((width + 1) / 2)) / math.sqrt(math.pi)
    assert found == pytest.approx(float(shift.norm()) * mean, rel=0.01)


def test_the_pyramid_against_plain_loops() -> None:
    """Every pixel of one level from its definition, in float64."""
    image = np.random.RandomState(0).randn(32, 32)
    row = np.array([1, 4, 6, 4, 1]) / 16

    def blur(pixels: np.ndarray) -> np.ndarray:
        padded = np.pad(pixels, 2, mode="reflect")
        found = np.zeros_like(pixels)
        for i in range(5):
            for j in range(5):
                part = padded[i : i + pixels.shape[0], j : j + pixels.shape[1]]
                found += row[i] * row[j] * part
        return found

    coarse = blur(image)[::2, ::2]
    spread = np.zeros((32, 32))
    spread[::2, ::2] = coarse
    detail = image - 4 * blur(spread)
    found = laplacian_pyramid(torch.from_numpy(image)[None, None])
    assert [tuple(level.shape) for level in found] == [(1, 1, 32, 32), (1, 1, 16, 16)]
    np.testing.assert_allclose(found[0][0, 0].numpy(), detail, atol=1e-12)
    np.testing.assert_allclose(found[1][0, 0].numpy(), coarse, atol=1e-12)


def test_a_plain_image_has_no_detail() -> None:
    levels = laplacian_pyramid(torch.full((2, 3, 64, 64), 0.3))
    assert [level.shape[2] for level in levels] == [64, 32, 16]
    assert max(float(level.abs().max()) for level in levels[:-1]) < 1e-6
    torch.testing.assert_close(levels[-1], torch.full((2, 3, 16, 16), 0.3))
    assert [level.shape[2] for level in laplacian_pyramid(torch.zeros(1, 1, 8, 8))] == [8]


@pytest.mark.parametrize(("size", "channels"), [(8, 3), (16, 1), (32, 4), (64, 3)])
def test_the_same_images_are_at_distance_0(size: int, channels: int) -> None:
    images = torch.rand(24, channels, size, size, generator=stream()) * 2 - 1
    metric = SlicedWasserstein(images.split(10), 24, stream(1))
    assert metric.distance(images.split(7)) == 0  # however they are batched
    assert metric.distance([images + 0.1]) > 0


def test_a_tint_is_seen_at_the_coarsest_level_alone() -> None:
    """Patches shifted by a constant t: mean |Σ u| t / σ over directions u, from the definition."""
    images = torch.rand(64, 1, 32, 32, generator=stream()) - 0.5
    metric = SlicedWasserstein([images], 64, stream(1), directions=2048)
    fine, coarse = metric.levels([images + 0.2])
    assert fine < 1e-5
    deviation = float(laplacian_pyramid(images)[1].std())
    # |u·1| for u uniform on the sphere in 49 dimensions; |1| = 7.
    mean = math.exp(math.lgamma(24.5) - math.lgamma(25)) / math.sqrt(math.pi)
    assert coarse == pytest.approx(0.2 / deviation * 7 * mean, rel=0.1)


def test_worse_images_are_farther() -> None:
    """Blurred and noisy copies of a set, by how much they are."""
    random = stream()
    real = torch.rand(256, 3, 32, 32, generator=random) * 2 - 1
    again = torch.rand(256, 3, 32, 32, generator=random) * 2 - 1
    metric = SlicedWasserstein([real], 256, stream(1))
    found = [metric.distance([again * contrast]) for contrast in (1.0, 0.9, 0.5, 0.0)]
    assert found == sorted(found)
    assert found[0] < found[1] / 2


def test_a_channel_that_never_changes_does_not_blow_up() -> None:
    """The alpha of opaque images: a difference of one step of 8 bits counts as one deviation."""
    images = torch.rand(16, 4, 16, 16, generator=stream()) * 2 - 1
    images[:, 3] = 1
    other = images.clone()
    other[:, 3] -= 2 / 255
    metric = SlicedWasserstein([images], 16, stream(1))
    assert 0 < metric.distance([other]) < 1


def test_another_number_of_images_is_a_mistake() -> None:
    images = torch.zeros(8, 1, 8, 8)
    metric = SlicedWasserstein([images], 8, stream())
    with pytest.raises(ValueError, match="4 images were given; expected 8"):
        metric.distance([images[:4]])


def test_rounding_to_8_bits() -> None:
    given = torch.tensor([-2.0, -1.0, 0.0, 0.0041, 1.0, 3.0])
    found = (in_8_bits(given) + 1) * 127.5
    assert found.tolist() == pytest.approx([0, 0, 128, 128, 255, 255])
