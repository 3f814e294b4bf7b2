"""Images transformed by their inverse matrices: whole pixels exactly, all else by filters.

Both are linear in the image and can be differentiated any number of times; R1 differentiates
through them twice. Outside of an image lies its infinite reflection about the centres of the
outermost pixels, so that no transformation shows a border, and no image depends on the others of
its batch.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from segan.train.loop.augment.geometry import Geometry
from segan.train.networks.stylegan2.resample import filter2d, fir_kernel, upsample2d

#: Lowpass of the orthogonal wavelet sym6 (Daubechies 1992, least asymmetric, 6 vanishing moments).
#: Its even shifts are orthonormal: the transpose of supersampling inverts it, and white noise stays
#: white.
SYM6 = (
    0.015404109327027373,
    0.0034907120842174702,
    -0.11799011114819057,
    -0.048311742585633,
    0.4910559419267466,
    0.787641141030194,
    0.3379294217276218,
    -0.07263752278646252,
    -0.021060292512300564,
    0.04472490177066578,
    0.0017677118642428036,
    -0.007800708325034148,
)
#: Delay of sym6, which is not symmetric, relative to a symmetric filter, in fine pixels. Without a
#: correction, half a turn moves an image by 0.4 pixels.
_DELAY = sum(k * tap for k, tap in enumerate(SYM6)) / sum(SYM6) - (len(SYM6) - 1) / 2
#: Fine pixels kept on each side, for bilinear interpolation next to the outermost pixels' centres,
#: and the pixels of reflection that the filter computes them from.
_KEPT, _PADDING = 2, 4
#: Fine pixels past the result's edge that the downsampling filter reads.
_REACH = len(SYM6) // 2 - 1


def supersampling_kernel() -> torch.Tensor:
    """The lowpass of ``warp``: sym6 in two dimensions with a sum of 1, [12, 12] float32."""
    return fir_kernel(SYM6)


def transform(images: torch.Tensor, geometry: Geometry, kernel: torch.Tensor) -> torch.Tensor:
    """Transform images [N, C, R, R] by their matrices; R is 8 or more, kernel as for ``warp``."""
    return torch.where(
        geometry.blit[:, None, None, None],
        move_pixels(images, geometry.inverse),
        warp(images, geometry.inverse, kernel),
    )


def move_pixels(images: torch.Tensor, inverse: torch.Tensor) -> torch.Tensor:
    """Transform by nearest pixels: exact for mirroring, quarter turns and whole pixels.

    Args:
        images: [N, C, R, R].
        inverse: [N, 3, 3]; see ``geometry``.
    """
    n, channels, size, _ = images.shape
    at = torch.arange(size, device=images.device, dtype=inverse.dtype)
    x, y = _input_pixels(inverse, at, size)
    x, y = (_reflect(v.round(), size).long() for v in (x, y))
    index = (y * size + x).view(n, 1, -1).expand(-1, channels, -1)
    return images.flatten(2).gather(2, index).view(images.shape)


def warp(images: torch.Tensor, inverse: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """Transform by twofold supersampling, bilinear interpolation and downsampling with sym6.

    Frequencies up to twice the data's pass without aliasing, which suffices for zooming out to
    half.

    Args:
        images: [N, C, R, R].
        inverse: [N, 3, 3]; see ``geometry``.
        kernel: of ``supersampling_kernel``, on the images' device.

    Source: Karras et al. 2020a, Appendix B.2. Unlike its code, this compensates the delay of the
    filter, and reflects coordinates instead of padding a margin of pixels.
    """
    size = images.shape[-1]
    fine = upsample2d(F.pad(images, [_PADDING] * 4, mode="reflect"), kernel)
    cut = 2 * _PADDING - _KEPT
    fine = fine[:, :, cut:-cut, cut:-cut]  # [N, C, 2R + 4, 2R + 4], from fine pixel -2 on

    # Fine pixel u shows x = (u - 1/2 - delay) / 2, in pixels of the image.
    u = torch.arange(-_REACH, 2 * size + _REACH, device=images.device, dtype=inverse.dtype)
    x, y = _input_pixels(inverse, (u - 0.5 - _DELAY) / 2, size)
    grid = torch.stack([_reflect(x, size), _reflect(y, size)], dim=-1)  # [N, 2R + 10, 2R + 10, 2]
    grid = (grid * 2 + (1 + _DELAY + _KEPT)) / (size + _KEPT) - 1
    moved = grid_sample(fine, grid.to(images.dtype))
    # The transpose of supersampling, with the gain that inverts it.
    return filter2d(moved, kernel.flip(0, 1), padding=0, stride=2)


def _input_pixels(
    inverse: torch.Tensor, at: torch.Tensor, size: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions in the input, in pixels, of the result's points at × at; x and y, [N, T, T]."""
    point = (at - (size - 1) / 2) * (2 / size)
    across, down = point[None, None, :], point[None, :, None]
    m = inverse[:, :2, :, None, None]
    x, y = (m[:, row, 0] * across + m[:, row, 1] * down + m[:, row, 2] for row in (0, 1))
    return x * (size / 2) + (size - 1) / 2, y * (size / 2) + (size - 1) / 2


def _reflect(position: torch.Tensor, size: int) -> torch.Tensor:
    """Fold positions, in pixels, into [0, size - 1] about its ends."""
    last = size - 1
    return last - (position.remainder(2 * last) - last).abs()


def grid_sample(images: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    """Bilinear ``torch.nn.functional.grid_sample`` that can be differentiated again by images.

    Args:
        images: [N, C, H, W].
        grid: [N, T, T, 2] of (x, y), edges at ±1; no gradient reaches it.
    """
    result: torch.Tensor = _GridSample.apply(images, grid)
    return result


class _GridSample(torch.autograd.Function):
    """Torch's kernel, which is linear in the images; its backward is the transpose."""

    @staticmethod
    def forward(ctx: Any, images: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(grid)
        ctx.shape = images.shape
        return F.grid_sample(images, grid, padding_mode="border", align_corners=False)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (grid,) = ctx.saved_tensors
        return _GridSampleTransposed.apply(gradient, grid, ctx.shape), None


class _GridSampleTransposed(torch.autograd.Function):
    """The transpose, for which torch has no derivative; its own transpose is the sampling."""

    @staticmethod
    def forward(
        ctx: Any, gradient: torch.Tensor, grid: torch.Tensor, shape: torch.Size
    ) -> torch.Tensor:
        ctx.save_for_backward(grid)
        # Only the shape of the images is used, since no gradient of the grid is requested.
        images = gradient.new_zeros(()).expand(shape)
        bilinear, border = 0, 1
        result: torch.Tensor = torch.ops.aten.grid_sampler_2d_backward(
            gradient, images, grid, bilinear, border, False, [True, False]
        )[0]
        return result

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (grid,) = ctx.saved_tensors
        return _GridSample.apply(gradient, grid), None, None
