"""Colour augmentation: one 4 × 4 matrix for each image, on homogeneous RGB in about [-1, 1].

Source of the transformations, their order and their distributions: Karras et al. 2020a, Appendix B,
and its code.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from segan.train.loop.augment.geometry import GatedDraws

#: Standard deviation of the brightness, an offset in the units of the image.
BRIGHTNESS_STD = 0.2
#: Standard deviation of log2 of the contrast, a factor.
CONTRAST_STD = 0.5
#: Standard deviation of log2 of the saturation, a factor.
SATURATION_STD = 1.0


class Color(NamedTuple):
    """The colour transformation of n images."""

    matrix: torch.Tensor  # [n, 4, 4], result = matrix @ (red, green, blue, 1)
    identity: torch.Tensor  # [n] bool


def draw_color(draws: GatedDraws, p: torch.Tensor, *, chroma: torch.Tensor) -> Color:
    """Draw brightness, contrast, luma flip, hue rotation and saturation, which act in this order.

    Args:
        draws: the images' stream.
        p: probability of each of the first three.
        chroma: probability of hue rotation and of saturation, which do not change grey images.
    """
    brightness = draws.normal(p, BRIGHTNESS_STD)
    contrast = draws.normal(p, CONTRAST_STD).exp2()
    flipped = draws.choice(p, 2)[:, None]
    hue = draws.uniform(chroma, math.pi)
    saturation = draws.normal(chroma, SATURATION_STD).exp2()

    # All five treat the luma axis and the colours across it separately. Together they are a factor
    # and an offset along the axis, and a factor and a rotation across it.
    sign = 1.0 - 2.0 * flipped
    return _assemble(sign * contrast, sign * brightness * contrast, hue, contrast * saturation)


def _assemble(
    luma: torch.Tensor, offset: torch.Tensor, hue: torch.Tensor, chroma: torch.Tensor
) -> Color:
    """The matrix that scales luma, adds an offset to it, and rotates and scales chroma; all [n, 1].

    Rotation about the unit vector (1, 1, 1)/√3 by Rodrigues' formula.
    """
    third = torch.full((3, 3), 1 / 3, device=luma.device)
    eye = torch.eye(3, device=luma.device)
    # Cyclic: the vector product with (1, 1, 1)/√3.
    cross = (eye.roll(1, 0) - eye.roll(1, 1)) / math.sqrt(3.0)
    cos, sin = (hue.cos() * chroma)[:, :, None], (hue.sin() * chroma)[:, :, None]
    matrix = torch.eye(4, device=luma.device).repeat(luma.shape[0], 1, 1)
    linear = luma[:, :, None] * third + cos * (eye - third) + sin * cross
    identity = (luma == 1) & (offset == 0) & (cos[:, 0] == 1) & (sin[:, 0] == 0)
    matrix[:, :3, :3] = torch.where(identity[:, :, None], eye, linear)
    matrix[:, :3, 3] = offset
    return Color(matrix, identity[:, 0])


def recolor(images: torch.Tensor, color: Color) -> torch.Tensor:
    """Apply the matrices to the colour channels of [N, C, H, W]; alpha is not changed.

    C is 1 (grey), 2 (grey and alpha), 3 (RGB) or 4 (RGBA). Grey is treated as RGB of three equal
    channels whose result is averaged, as in the published code.
    """
    matrix = color.matrix.to(images.dtype)[:, :3, :, None, None]  # [N, 3, 4, 1, 1]
    channels = images.shape[1]
    if channels < 3:
        mean = matrix.mean(dim=1, keepdim=True)
        result = images[:, :1] * mean[:, :, :3].sum(dim=2) + mean[:, :, 3]
    else:
        # Not a matmul: TF32 would round the pixels to 10 bits.
        result = matrix[:, :, 3]
        for channel in range(3):
            result = result + matrix[:, :, channel] * images[:, channel : channel + 1]
    if channels in (2, 4):
        result = torch.cat([result, images[:, -1:]], dim=1)
    return torch.where(color.identity[:, None, None, None], images, result)
