"""Executing matrices: exact on whole pixels, close to the closed form on smooth images."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from segan.train.loop.augment.geometry import Geometry
from segan.train.loop.augment.warp import (
    SYM6,
    grid_sample,
    move_pixels,
    supersampling_kernel,
    transform,
    warp,
)

KERNEL = supersampling_kernel()


def inverse_of(forward: np.ndarray, size: int) -> torch.Tensor:
    """The [1, 3, 3] matrix of a forward map in pixels, 0 at the first pixel's centre."""
    units = np.array([[size / 2, 0, (size - 1) / 2], [0, size / 2, (size - 1) / 2], [0, 0, 1]])
    return torch.from_numpy(np.linalg.inv(units) @ np.linalg.inv(forward) @ units).float()[None]


def about_centre(linear: np.ndarray, shift: tuple[float, float], size: int) -> np.ndarray:
    """Pixels → pixels: a linear map about the image's centre, then a shift."""
    centre = np.full(2, (size - 1) / 2)
    full = np.eye(3)
    full[:2, :2], full[:2, 2] = linear, centre - linear @ centre + shift
    return full


def turned(angle: float, scale: float = 1.0, aspect: float = 1.0) -> np.ndarray:
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array([[cos, -sin], [sin, cos]]) @ np.diag([scale * aspect, scale / aspect])


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.RandomState(seed).uniform(-1, 1, shape)).float()


def smooth_image(size: int, highest: int) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """A function of pixel coordinates that equals its own reflections about the outer pixels."""
    weights = np.random.RandomState(4).randn(highest, highest) / highest

    def value(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        k = np.arange(highest)[:, None, None] * math.pi / (size - 1)
        return np.asarray(np.einsum("ij,ihw,jhw->hw", weights, np.cos(k * x), np.cos(k * y)))

    return value


def test_sym6_is_the_orthogonal_lowpass_with_six_vanishing_moments() -> None:
    taps = np.array(SYM6)
    assert taps.sum() == pytest.approx(math.sqrt(2))
    for shift in range(0, 12, 2):
        assert taps[: 12 - shift] @ taps[shift:] == pytest.approx(float(shift == 0), abs=1e-10)
    for moment in range(6):
        alternating = taps * (-1.0) ** np.arange(12) * np.arange(12.0) ** moment
        assert alternating.sum() == pytest.approx(0, abs=1e-8)


@pytest.mark.parametrize("size", [8, 15, 32])
def test_whole_pixels_move_exactly(size: int) -> None:
    images = noise(3, 2, size, size)
    mirror = about_centre(np.diag([-1.0, 1.0]), (0, 0), size)
    moved = move_pixels(images, inverse_of(mirror, size).expand(3, -1, -1))
    assert torch.equal(moved, images.flip(3))
    for turns in range(4):  # torch.rot90 turns against the clock, y points down
        forward = about_centre(turned(-math.pi / 2 * turns), (0, 0), size)
        moved = move_pixels(images, inverse_of(forward, size).expand(3, -1, -1))
        assert torch.equal(moved, images.rot90(turns, (2, 3)))
    for x, y in ((2, 0), (0, -1), (-3, 4), (5, 7)):
        forward = about_centre(np.eye(2), (x, y), size)
        moved = move_pixels(images, inverse_of(forward, size).expand(3, -1, -1))
        padded = np.pad(images.numpy(), ((0, 0), (0, 0), (7, 7), (7, 7)), mode="reflect")
        window = padded[:, :, 7 - y : 7 - y + size, 7 - x : 7 - x + size]
        np.testing.assert_array_equal(moved.numpy(), window)


WARPS = [
    (turned(0.0), (0.0, 0.0)),
    (turned(0.5), (0.0, 0.0)),
    (turned(-2.2), (3.3, -1.7)),
    (turned(math.pi), (0.0, 0.0)),  # where the filter's delay would show twice
    (turned(0.0, scale=1.4), (0.5, 0.25)),
    (turned(0.0, scale=0.7), (-9.2, 14.1)),
    (turned(0.9, scale=0.8, aspect=1.3), (-5.0, 30.0)),  # far outside, where reflections show
    (turned(0.2, scale=0.6), (70.0, -90.0)),  # reflections of reflections
]


@pytest.mark.parametrize(("linear", "shift"), WARPS)
@pytest.mark.parametrize(("highest", "tolerance"), [(4, 1e-3), (8, 1e-2)])
def test_a_smooth_image_warps_as_its_closed_form(
    linear: np.ndarray, shift: tuple[float, float], highest: int, tolerance: float
) -> None:
    """Against f(T⁻¹ p); f reaches 1.3 and 1.8, with up to (highest - 1) / 2 periods over 64 pixels.

    Most of the difference is bilinear interpolation between half pixels. A filter whose delay was
    not compensated would be off by 0.04 in the fourth case.
    """
    size = 64
    value = smooth_image(size, highest)
    y, x = np.mgrid[0:size, 0:size].astype(np.float64)
    images = torch.from_numpy(value(x, y))[None, None].float()
    forward = about_centre(linear, shift, size)
    moved = warp(images, inverse_of(forward, size), KERNEL)[0, 0].numpy()
    back = np.linalg.inv(forward)
    source = np.einsum("ij,jhw->ihw", back[:2, :2], np.stack([x, y])) + back[:2, 2, None, None]
    expected = value(*source)
    assert np.abs(expected).max() > 0.3
    assert np.abs(moved - expected).max() < tolerance


def test_supersampling_and_back_is_the_identity() -> None:
    """For any image, white noise included; but within 6 pixels of the edge, where it reflects."""
    images = noise(2, 3, 32, 32)
    moved = warp(images, torch.eye(3).expand(2, -1, -1), KERNEL)
    torch.testing.assert_close(moved[:, :, 6:-6, 6:-6], images[:, :, 6:-6, 6:-6], atol=1e-5, rtol=0)


def test_zooming_out_does_not_alias() -> None:
    """0.45 periods a pixel become 0.81, which 0.19 would stand for."""
    size, period = 64, 0.45
    x = torch.arange(size) * (2 * math.pi * period)
    images = (x.cos()[None, :] * torch.ones(size, 1))[None, None]
    inverse = inverse_of(about_centre(turned(0, scale=1 / 1.8), (0, 0), size), size)
    naive = torch.nn.functional.affine_grid(inverse[:, :2], [1, 1, size, size], align_corners=False)
    aliased = torch.nn.functional.grid_sample(images, naive, align_corners=False)
    inner = slice(16, 48)  # 1/1.8 of the image: past it are reflections, where the wave breaks
    assert aliased[0, 0, :, inner].square().mean() > 0.05
    assert warp(images, inverse, KERNEL)[0, 0, :, inner].square().mean() < 2e-3


def test_transform_chooses_for_each_image() -> None:
    images = noise(3, 3, 16, 16)
    some = inverse_of(about_centre(turned(0.3), (1.5, 0), 16), 16)
    inverse = torch.cat([torch.eye(3)[None], some, some])
    blit = torch.tensor([True, False, True])
    result = transform(images, Geometry(inverse, blit), KERNEL)
    assert torch.equal(result[0], images[0])
    torch.testing.assert_close(result[1:2], warp(images[1:2], some, KERNEL))
    assert torch.equal(result[2:], move_pixels(images[2:], some))


def test_an_image_does_not_depend_on_its_batch() -> None:
    images = noise(6, 3, 16, 16)
    inverse = torch.cat([inverse_of(about_centre(turned(i), (i, 0), 16), 16) for i in range(6)])
    whole = warp(images, inverse, KERNEL)
    for start, stop in ((0, 1), (1, 3), (3, 6)):
        part = warp(images[start:stop], inverse[start:stop], KERNEL)
        torch.testing.assert_close(part, whole[start:stop], rtol=0, atol=1e-6)


def test_first_and_second_derivatives() -> None:
    """Against finite differences, in float64; the cube makes the second one count."""
    images = noise(2, 1, 8, 8).double().requires_grad_(True)
    inverse = torch.cat(
        [inverse_of(about_centre(turned(a, 0.8), (1.3, a), 8), 8) for a in (0.4, 2.0)]
    ).double()
    geometry = Geometry(inverse, torch.tensor([False, True]))

    def cube(x: torch.Tensor) -> torch.Tensor:
        return transform(x, geometry, KERNEL) ** 3

    assert torch.autograd.gradcheck(cube, images, fast_mode=True)
    assert torch.autograd.gradgradcheck(cube, images, fast_mode=True)


def test_grid_sample_is_torchs_own_with_a_transpose_as_its_backward() -> None:
    images = noise(2, 3, 9, 9).double().requires_grad_(True)
    grid = noise(2, 5, 5, 2, seed=1).double()
    result = grid_sample(images, grid)
    plain = torch.nn.functional.grid_sample(
        images, grid, padding_mode="border", align_corners=False
    )
    assert torch.equal(result, plain)
    weights = noise(*result.shape, seed=2).double()
    (found,) = torch.autograd.grad((result * weights).sum(), images)
    (expected,) = torch.autograd.grad((plain * weights).sum(), images)
    torch.testing.assert_close(found, expected)
    assert torch.autograd.gradgradcheck(lambda x: grid_sample(x, grid).sin(), images)
