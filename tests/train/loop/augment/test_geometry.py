"""Geometric matrices against a composition in pixels, in float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from segan.train.loop.augment.geometry import GatedDraws, draw_geometry

R = 16
HALF = torch.tensor(0.5)


def to_pixels(inverse: torch.Tensor, size: int) -> np.ndarray:
    """The matrix on pixel coordinates, 0 at the first pixel's centre."""
    units = np.array([[size / 2, 0, (size - 1) / 2], [0, size / 2, (size - 1) / 2], [0, 0, 1]])
    return np.asarray(units @ inverse.double().numpy() @ np.linalg.inv(units))


def forward(
    flip: int, turns: int, pixels: Any, scale: float, before: float, aspect: float, after: float,
    shift: Any, size: int,
) -> np.ndarray:  # fmt: skip
    """Where each transformation takes a pixel: one after the other, about the image's centre."""
    c = (size - 1) / 2

    def move(x: float, y: float) -> np.ndarray:
        return np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]])

    def about_centre(matrix: np.ndarray) -> np.ndarray:
        full = np.eye(3)
        full[:2, :2] = matrix
        return np.asarray(move(c, c) @ full @ move(-c, -c))

    def clockwise(angle: float) -> np.ndarray:  # y points down
        cos, sin = math.cos(angle), math.sin(angle)
        return about_centre(np.array([[cos, -sin], [sin, cos]]))

    steps = [
        about_centre(np.diag([-1.0 if flip else 1.0, 1.0])),
        clockwise(-math.pi / 2 * turns),
        move(*(round(v * size) for v in pixels)),
        about_centre(np.diag([scale, scale])),
        clockwise(before),
        about_centre(np.diag([aspect, 1 / aspect])),
        clockwise(after),
        move(*(v * size for v in shift)),
    ]
    total = np.eye(3)
    for step in steps:
        total = step @ total
    return total


@pytest.mark.parametrize(
    "values",
    [
        (1, 0, (0, 0), 0, 0, 0, 0, (0, 0)),
        (0, 1, (0, 0), 0, 0, 0, 0, (0, 0)),
        (0, 3, (0, 0), 0, 0, 0, 0, (0, 0)),
        (0, 0, (0.1, -0.07), 0, 0, 0, 0, (0, 0)),
        (0, 0, (0, 0), 0.3, 0, 0, 0, (0, 0)),
        (0, 0, (0, 0), 0, 0.7, 0, 0, (0, 0)),
        (0, 0, (0, 0), 0, 0, -0.4, 0, (0, 0)),
        (0, 0, (0, 0), 0, 0, 0, -2.0, (0, 0)),
        (0, 0, (0, 0), 0, 0, 0, 0, (0.13, -0.2)),
        (1, 3, (-0.12, 0.06), -0.35, 2.5, 0.25, -1.2, (-0.1, 0.3)),
    ],
)
def test_the_matrix_inverts_the_steps_in_their_order(values: Any, scripted_draws: Any) -> None:
    geometry = draw_geometry(scripted_draws(2, values), HALF, HALF, R)
    flip, turns, pixels, scale, before, aspect, after, shift = values
    expected = forward(
        flip, turns, pixels, 2.0**scale, before, 2.0**aspect, after, shift, R
    )  # fmt: skip
    for inverse, blit in zip(*geometry, strict=True):
        found = to_pixels(inverse, R)
        np.testing.assert_allclose(found @ expected, np.eye(3), atol=2e-5)
        assert bool(blit) == (not any((scale, before, aspect, after, *shift)))


def test_a_matrix_means_the_same_at_every_resolution(scripted_draws: Any) -> None:
    values = (1, 1, (0, 0), 0.2, 1.0, -0.3, 0.5, (0.1, 0.2))
    small = draw_geometry(scripted_draws(1, values), HALF, HALF, 8).inverse
    assert torch.equal(small, draw_geometry(scripted_draws(1, values), HALF, HALF, 512).inverse)


def test_integer_translation_is_at_most_an_eighth() -> None:
    random = torch.Generator().manual_seed(1)
    geometry = draw_geometry(GatedDraws(2000, random), torch.ones(()), torch.zeros(()), R)
    assert geometry.blit.all()
    moved = geometry.inverse[:, :2, 2].double() * R / 2
    assert torch.equal(moved, moved.round())
    assert set(moved.flatten().tolist()) == {-2.0, -1.0, 0.0, 1.0, 2.0}
    linear = geometry.inverse[:, :2, :2]
    assert set(linear.flatten().tolist()) == {-1.0, 0.0, 1.0}
    # Eight orientations: four quarter turns of the image and of its mirror image.
    assert len(linear.flatten(1).unique(dim=0)) == 8


@pytest.mark.parametrize("p", [0.2, 0.7])
def test_how_often_and_how_far_images_turn(p: float) -> None:
    """One rotation or the other with probability p; general identity with (1 - p)⁴."""
    n = 20_000
    random = torch.Generator().manual_seed(2)

    class RotationsOnly(GatedDraws):
        def normal(self, p: torch.Tensor, std: float, size: int = 1) -> torch.Tensor:
            return super().normal(p, std, size) * 0

    turned = ~draw_geometry(RotationsOnly(n, random), torch.zeros(()), torch.tensor(p), R).blit
    assert abs(float(turned.double().mean()) - p) < 4.5 * math.sqrt(p * (1 - p) / n)
    same = draw_geometry(GatedDraws(n, random), torch.zeros(()), torch.tensor(p), R).blit
    expected = (1 - p) ** 4
    bound = 4.5 * math.sqrt(expected * (1 - expected) / n)
    assert abs(float(same.double().mean()) - expected) < bound


def test_scales_and_translations_are_as_published() -> None:
    """log2 of the area is twice the isotropic scale's; the aspect leaves it alone."""
    n, one = 20_000, torch.ones(())
    geometry = draw_geometry(
        GatedDraws(n, torch.Generator().manual_seed(3)), torch.zeros(()), one, R
    )
    inverse = geometry.inverse.double()
    linear = inverse[:, :2, :2]
    log_area = -torch.linalg.det(linear).log2()
    bound = 4.5 / math.sqrt(n)
    assert abs(float(log_area.mean())) < 0.4 * bound
    assert float(log_area.std()) == pytest.approx(2 * 0.2, rel=bound)
    singular = torch.linalg.svdvals(linear).log2()
    # ± the aspect: its absolute value has mean σ √(2/π).
    aspect = (singular[:, 0] - singular[:, 1]) / 2
    assert float(aspect.mean()) == pytest.approx(0.2 * math.sqrt(2 / math.pi), rel=bound)
    shift = torch.linalg.solve(linear, -inverse[:, :2, 2:])[:, :, 0] / 2
    assert float(shift.std()) == pytest.approx(0.125, rel=bound)
    assert float(shift.mean(dim=0).abs().max()) < 0.125 * bound
