"""Colour matrices against the five steps carried out one by one, in float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from segan.train.loop.augment.color import Color, draw_color, recolor
from segan.train.loop.augment.geometry import GatedDraws

ONE = torch.ones(())
N = 50_000


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.RandomState(seed).uniform(-1, 1, shape)).float()


def one_by_one(
    rgb: torch.Tensor, brightness: float, contrast: float, flip: int, hue: float, saturation: float
) -> torch.Tensor:
    """[N, 3, H, W] through the steps; hue rotates by the exponential of a skew matrix."""
    rgb = (rgb.double() + brightness) * math.exp2(contrast)
    if flip:
        rgb = rgb - 2 * rgb.mean(dim=1, keepdim=True)
    skew = torch.tensor([[0, -1.0, 1], [1, 0, -1], [-1, 1, 0]], dtype=torch.float64)
    turn = torch.linalg.matrix_exp(skew * (hue / math.sqrt(3)))
    rgb = torch.einsum("ij,njhw->nihw", turn, rgb)
    grey = rgb.mean(dim=1, keepdim=True)
    return grey + math.exp2(saturation) * (rgb - grey)


@pytest.mark.parametrize(
    "values",
    [
        (0.3, 0, 0, 0, 0),
        (0, -0.8, 0, 0, 0),
        (0, 0, 1, 0, 0),
        (0, 0, 0, 1.1, 0),
        (0, 0, 0, 0, 1.5),
        (-0.2, 0.6, 1, -2.4, -1.2),
    ],
)
def test_the_matrix_equals_the_steps(values: Any, scripted_draws: Any) -> None:
    images = noise(2, 3, 5, 5)
    result = recolor(images, draw_color(scripted_draws(2, values), ONE, chroma=ONE))
    expected = one_by_one(images, *values).float()
    torch.testing.assert_close(result, expected, atol=2e-6, rtol=1e-5)


def test_what_each_step_means(scripted_draws: Any) -> None:
    images = noise(1, 3, 5, 5)

    def recolored(*values: float) -> torch.Tensor:
        return recolor(images, draw_color(scripted_draws(1, values), ONE, chroma=ONE))

    def close(a: torch.Tensor, b: torch.Tensor) -> None:
        torch.testing.assert_close(a, b, atol=2e-6, rtol=0)

    luma = images.mean(dim=1)
    close(recolored(0.25, 0, 0, 0, 0), images + 0.25)
    close(recolored(0, 1, 0, 0, 0), images * 2)
    # A third of a turn takes red to green, green to blue, blue to red.
    close(recolored(0, 0, 0, 2 * math.pi / 3, 0), images.roll(1, 1))
    close(recolored(0, 0, 0, 1.0, 0).mean(dim=1), luma)
    close(recolored(0, 0, 0, 1.0, 0).norm(dim=1), images.norm(dim=1))
    close(recolored(0, 0, 0, 0, -60), luma[:, None].expand_as(images))
    flipped = recolored(0, 0, 1, 0, 0)
    close(flipped.mean(dim=1), -luma)
    close(recolor(flipped, draw_color(scripted_draws(1, (0, 0, 1, 0, 0)), ONE, chroma=ONE)), images)
    assert torch.equal(recolored(0, 0, 0, 0, 0), images)


@pytest.mark.parametrize("channels", [1, 2])
def test_grey_is_the_mean_of_three_equal_channels(channels: int, scripted_draws: Any) -> None:
    images = noise(2, channels, 4, 4)
    color = draw_color(scripted_draws(2, (-0.2, 0.6, 1, 0, 0)), ONE, chroma=ONE)
    expected = recolor(images[:, :1].expand(-1, 3, -1, -1), color).mean(dim=1)
    torch.testing.assert_close(recolor(images, color)[:, 0], expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("channels", [2, 4])
def test_alpha_stays(channels: int, scripted_draws: Any) -> None:
    images = noise(2, channels, 4, 4)
    color = draw_color(scripted_draws(2, (-0.2, 0.6, 1, 1.0, 0.5)), ONE, chroma=ONE)
    result = recolor(images, color)
    assert result.shape == images.shape
    assert torch.equal(result[:, -1], images[:, -1])
    assert not torch.equal(result[:, 0], images[:, 0])
    torch.testing.assert_close(result[:, :-1], recolor(images[:, :-1], color))


def test_only_images_that_stay_are_marked(scripted_draws: Any) -> None:
    same = draw_color(scripted_draws(1, (0, 0, 0, 0, 0)), ONE, chroma=ONE)
    assert same.identity.all()
    assert torch.equal(same.matrix, torch.eye(4)[None])
    for position, value in enumerate((1e-3, 1e-3, 1, 1e-3, 1e-3)):
        values = [0.0] * 5
        values[position] = value
        assert not draw_color(scripted_draws(1, values), ONE, chroma=ONE).identity.any()
    images = noise(2, 3, 4, 4)
    color = Color(torch.full((2, 4, 4), 0.3), torch.tensor([True, False]))
    assert torch.equal(recolor(images, color)[0], images[0])
    assert not torch.equal(recolor(images, color)[1], images[1])


def color_of(p: float, chroma: float, seed: int = 0) -> Color:
    random = torch.Generator().manual_seed(seed)
    return draw_color(GatedDraws(N, random), torch.tensor(p), chroma=torch.tensor(chroma))


@pytest.mark.parametrize("p", [0.2, 0.6])
def test_the_share_of_images_that_stay(p: float) -> None:
    expected = (1 - p) ** 4 * (1 - p / 2)
    share = float(color_of(p, p).identity.double().mean())
    assert abs(share - expected) < 4.5 * math.sqrt(expected * (1 - expected) / N)


@pytest.mark.parametrize("p", [0.0, 0.5, 0.8])
def test_the_mean_keeps_the_sign_of_what_it_saw(p: float) -> None:
    """In closed form: luma by (1 - p) E c, chroma by (1 - p) E c E s; only p = 1 loses either.

    Then two sets of images that differ in mean colour still do after augmentation: no leak.
    """
    color = color_of(p, p, seed=1)
    contrast = 1 - p + p * math.exp((0.5 * math.log(2)) ** 2 / 2)  # of 2^N(0, 0.5²)
    saturation = 1 - p + p * math.exp(math.log(2) ** 2 / 2)
    luma, chroma = (1 - p) * contrast, (1 - p) * contrast * saturation
    third = np.full((3, 3), 1 / 3)
    expected = luma * third + chroma * (np.eye(3) - third)
    mean = color.matrix.double().mean(dim=0).numpy()
    np.testing.assert_allclose(mean[:3, :3], expected, atol=0.02)
    np.testing.assert_allclose(mean[:3, 3], 0, atol=0.01)


def test_grey_images_draw_no_chroma() -> None:
    linear = color_of(0.7, 0.0).matrix[:, :3, :3]
    factor = linear.sum(dim=2).mean(dim=1)
    # Without hue and saturation: contrast, and the reflection of the luma axis.
    chroma = linear[:, 0, 0] - linear[:, 0, 1]
    torch.testing.assert_close(chroma, factor.abs())
