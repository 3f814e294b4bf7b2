"""Geometric augmentation: random parameters, and one inverse matrix for each image.

``GatedDraws`` draws the parameters, also those of colour augmentation. A matrix maps a point of the
result to the point of the input that is shown there. Points are (x, y, 1), x to the right, y down,
with the image's centre at 0 and its edges at ±1, so a matrix is independent of the resolution.
Source of the transformations, their order and their distributions: Karras et al. 2020a, Appendix B,
and its code.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

#: Largest integer translation, as a share of the width.
TRANSLATION_END = 0.125

#: Standard deviation of log2 of the isotropic scale, and of log2 √(width / height).
SCALE_STD = 0.2

#: Standard deviation of the fractional translation, as a share of the width.
TRANSLATION_STD = 0.125


class GatedDraws:
    """Random parameters of n images; 0 in the images that are not transformed.

    Each method draws the gates and the values for any probability, so that the number of draws from
    the stream does not depend on it.

    Args:
        n: number of images.
        random: the stream; the results are on its device.
    """

    def __init__(self, n: int, random: torch.Generator) -> None:
        self.n, self.random = n, random

    def uniform(self, p: torch.Tensor, end: float, size: int = 1) -> torch.Tensor:
        """U(-end, end) with probability ``p`` (a scalar), else 0: [n, size] float32."""
        gate = self._gate(p)
        return torch.where(gate, (self._rand(size) * 2 - 1) * end, 0.0)

    def normal(self, p: torch.Tensor, std: float, size: int = 1) -> torch.Tensor:
        """N(0, std²) with probability ``p`` (a scalar), else 0: [n, size] float32."""
        gate = self._gate(p)
        values = torch.randn(self.n, size, generator=self.random, device=self.random.device)
        return torch.where(gate, values * std, 0.0)

    def choice(self, p: torch.Tensor, count: int) -> torch.Tensor:
        """0 … count - 1, equally likely, with probability ``p`` (a scalar), else 0: [n] int64."""
        gate = self._gate(p)
        # rand's largest value times count may round up to count.
        values = (self._rand(1) * count).long().clamp(max=count - 1)
        return torch.where(gate, values, 0)[:, 0]

    def _gate(self, p: torch.Tensor) -> torch.Tensor:
        return self._rand(1) < p  # rand is in [0, 1): p = 0 is never, p = 1 is always

    def _rand(self, size: int) -> torch.Tensor:
        return torch.rand(self.n, size, generator=self.random, device=self.random.device)


class Geometry(NamedTuple):
    """The geometric transformation of n images."""

    inverse: torch.Tensor  # [n, 3, 3]
    blit: torch.Tensor  # [n] bool: whether it only moves whole pixels, or nothing


def draw_geometry(
    draws: GatedDraws, pixel: torch.Tensor, geometric: torch.Tensor, resolution: int
) -> Geometry:
    """Draw the transformations of both groups, in the order in which they act.

    Args:
        draws: the images' stream.
        pixel: probability of each pixel blitting (mirroring, quarter turns, integer translation).
        geometric: probability of each general transformation (isotropic scale, rotation,
            anisotropic scale, rotation again, fractional translation).
        resolution: width and height in pixels, which integer translation refers to.
    """
    mirrored = draws.choice(pixel, 2)
    turns = draws.choice(pixel, 4)
    pixels = (draws.uniform(pixel, TRANSLATION_END, 2) * resolution).round()
    blits = _product(
        _matrix(1.0 - 2.0 * mirrored, 0.0, 0.0, 1.0),
        _quarter_turn(turns),
        _translation(pixels * (2 / resolution)),
    )

    scale = draws.normal(geometric, SCALE_STD)[:, 0].exp2()
    # At least one of the two rotations then happens with the probability of the group.
    each = 1 - (1 - geometric).clamp(min=0).sqrt()
    before = draws.uniform(each, math.pi)[:, 0]
    aspect = draws.normal(geometric, SCALE_STD)[:, 0].exp2()
    after = draws.uniform(each, math.pi)[:, 0]
    shift = draws.normal(geometric, TRANSLATION_STD, 2)
    general = _product(
        _matrix(1 / scale, 0.0, 0.0, 1 / scale),
        _rotation(-before),
        _matrix(1 / aspect, 0.0, 0.0, aspect),
        _rotation(-after),
        _translation(shift * 2),
    )
    identity = torch.eye(3, device=general.device)
    return Geometry(_product(blits, general), (general == identity).flatten(1).all(dim=1))


def _product(*matrices: torch.Tensor) -> torch.Tensor:
    """The product of [n, 3, 3] matrices; the first is the inverse of what acts first."""
    result = matrices[0]
    for matrix in matrices[1:]:
        # No matmul: in TF32 the error of an angle is several pixels at high resolutions.
        result = (result[:, :, :, None] * matrix[:, None]).sum(dim=2)
    return result


def _matrix(
    xx: torch.Tensor | float,
    xy: torch.Tensor | float,
    yx: torch.Tensor | float,
    yy: torch.Tensor | float,
) -> torch.Tensor:
    """The linear map (xx, xy; yx, yy) in homogeneous form, [n, 3, 3]; any may be an [n]."""
    n, device = next((v.shape[0], v.device) for v in (xx, xy, yx, yy) if torch.is_tensor(v))
    result = torch.eye(3, device=device).repeat(n, 1, 1)
    result[:, 0, 0], result[:, 0, 1] = xx, xy
    result[:, 1, 0], result[:, 1, 1] = yx, yy
    return result


def _rotation(angle: torch.Tensor) -> torch.Tensor:
    """The rotation from the x axis towards the y axis, [n] radians → [n, 3, 3]."""
    cos, sin = angle.cos(), angle.sin()
    return _matrix(cos, -sin, sin, cos)


def _quarter_turn(turns: torch.Tensor) -> torch.Tensor:
    """The exact inverse of 0 to 3 quarter turns [n] as by torch.rot90: [n, 3, 3]."""
    odd = turns % 2 == 1
    cos, sin = torch.where(odd, 0, 1 - turns), torch.where(odd, 2 - turns, 0)
    return _matrix(cos, -sin, sin, cos)


def _translation(shift: torch.Tensor) -> torch.Tensor:
    """The inverse of moving the image by ``shift`` [n, 2], in half widths."""
    result = torch.eye(3, device=shift.device).repeat(shift.shape[0], 1, 1)
    result[:, :2, 2] = -shift
    return result
