"""Resampling with a small FIR filter: zero insertion, filtering and decimation.

Signals are [N, C, H, W] float. The default filter [1, 3, 3, 1] is separable; it is applied as a
4 × 4 kernel with a sum of 1 (Karras et al. 2020b, Section 5 and its code).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

#: The filter of StyleGAN2, before normalisation.
DEFAULT_TAPS = (1.0, 3.0, 3.0, 1.0)


def fir_kernel(taps: tuple[float, ...] = DEFAULT_TAPS) -> torch.Tensor:
    """Return the two-dimensional kernel of separable ``taps``: [T, T] float32, sum 1."""
    row = torch.tensor(taps, dtype=torch.float64)
    kernel = torch.outer(row, row)
    return (kernel / kernel.sum()).float()


def depthwise(kernel: torch.Tensor, channels: int) -> torch.Tensor:
    """Return the kernel as the weight of a depthwise convolution: [channels, 1, T, T]."""
    return kernel[None, None].expand(channels, 1, -1, -1).contiguous()


def filter2d(
    x: torch.Tensor, kernel: torch.Tensor, *, padding: int, gain: float = 1.0, stride: int = 1
) -> torch.Tensor:
    """Convolve every channel with ``kernel`` [T, T]; zero padding on each side."""
    channels = x.shape[1]
    # torch computes correlations; the flip makes it a convolution for asymmetric filters.
    weight = depthwise((kernel * gain).flip(0, 1).to(x.dtype), channels)
    return F.conv2d(x, weight, padding=padding, stride=stride, groups=channels)


def upsample2d(x: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """Double the resolution: zero insertion, then ``kernel`` [T, T], T even, with gain 4.

    [N, C, H, W] → [N, C, 2H, 2W]. A transposed depthwise convolution does both at once.
    """
    channels = x.shape[1]
    weight = depthwise((kernel * 4).to(x.dtype), channels)
    padding = _up_padding(kernel)
    return F.conv_transpose2d(x, weight, stride=2, padding=padding, groups=channels)


def downsample2d(x: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """Halve the resolution: ``kernel`` [4, 4], then every second pixel. [N, C, H/2, W/2]."""
    if x.dtype == torch.bfloat16 and x.device.type == "cpu":
        # oneDNN has no fast gradient for a depthwise convolution of stride 2 in bf16: at
        # 16 x 32 x 32² slicing takes 1.3 ms, the stride 22 ms.
        return filter2d(x, kernel, padding=1)[:, :, ::2, ::2]
    return filter2d(x, kernel, padding=1, stride=2)


def conv2d_up(x: torch.Tensor, weight: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """Double the resolution and convolve with ``weight`` [O, I, 3, 3] or [O, I, 1, 1].

    The 3 × 3 case is a transposed convolution (zero insertion and convolution in one, output
    2H + 1) and then the filter [T, T], T even, with gain 4, as in StyleGAN2.
    """
    if weight.shape[-1] == 1:
        return upsample2d(F.conv2d(x, weight), kernel)
    x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
    return filter2d(x, kernel, padding=_up_padding(kernel), gain=4.0)


def _up_padding(kernel: torch.Tensor) -> int:
    """Padding on each side for a filter [T, T] after zero insertion: 1 for 4 taps."""
    return kernel.shape[-1] // 2 - 1


def conv2d_down(x: torch.Tensor, weight: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """Filter, convolve with ``weight`` [O, I, k, k] and halve the resolution; k = 1 or 3."""
    if weight.shape[-1] == 1:
        return F.conv2d(downsample2d(x, kernel), weight)
    return F.conv2d(filter2d(x, kernel, padding=2), weight, stride=2)
