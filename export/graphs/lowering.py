"""Forms of upsampling: the same linear map, written with different operators.

Style-based generators double the resolution by inserting zeros, convolving, and filtering with a
small FIR kernel. Three forms compute the same numbers up to rounding; which is fastest depends on
the backend:

``transposed``  a transposed convolution with stride 2, then a depthwise FIR
``subpixel``    one 2 × 2 convolution to 4 C channels, DepthToSpace, then the depthwise FIR
``folded``      one 3 × 3 convolution to 4 C channels with the FIR in it, then DepthToSpace

Kernels are composed in float64 and are constants. ``weight`` includes its gains, ``fir`` [4, 4]
sums to 1, and the gain of 4 for the inserted zeros is applied here. Imported networks may have
filters of 6 or more taps, an even number: they are always written in the transposed form.

Sources: Karras et al. 2020b, Section 5; Shi et al. 2016 for DepthToSpace.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import nn

Lowering = Literal["transposed", "subpixel", "folded"]
LOWERINGS: tuple[Lowering, ...] = get_args(Lowering)

#: Gain that compensates for the inserted zeros.
UP_GAIN = 4.0

#: Default form of a site by the resolution of its output: the fastest on ONNX Runtime's CPU
#: provider, measured by benchmarks/backends.py.
DEFAULT_LOWERING: dict[int, Lowering] = {8 << number: "transposed" for number in range(8)}


def lower_convolution(weight: torch.Tensor, fir: torch.Tensor, form: Lowering) -> nn.Module:
    """Return a module that doubles the resolution and convolves: [N, I, H, W] → [N, O, 2H, 2W].

    Args:
        weight: [O, I, 3, 3], or [O, I, 1, 1] for the 1 × 1 path of the residual architecture.
        fir: filter, [T, T], T even.
        form: form of the upsampling.
    """
    weight, fir = weight.double(), fir.double() * UP_GAIN
    form = _form(fir, form)
    if weight.shape[-1] == 1:
        if form == "folded":
            return FoldedConvolution(F.pad(weight * fir, (1, 1, 1, 1)))
        return nn.Sequential(_Pointwise(weight), _depthwise(weight.shape[0], fir, form))
    if form == "transposed":
        return TransposedConvolution(weight, fir)
    if form == "subpixel":
        return SubpixelConvolution(weight, fir)
    return FoldedConvolution(_compose(weight, fir))


def lower_upsampling(channels: int, fir: torch.Tensor, form: Lowering) -> nn.Module:
    """Return a module that doubles the resolution of an image: [N, C, H, W] → [N, C, 2H, 2W]."""
    return _depthwise(channels, fir.double() * UP_GAIN, _form(fir, form))


def _form(fir: torch.Tensor, form: Lowering) -> Lowering:
    """Return the form to use for a filter: only the transposed one takes other than 4 taps."""
    return form if len(fir) == 4 else "transposed"


def _depthwise(channels: int, fir: torch.Tensor, form: Lowering) -> nn.Module:
    if form == "transposed":
        return TransposedUpsampling(channels, fir)
    if form == "subpixel":
        return SubpixelUpsampling(channels, fir)
    identity = torch.eye(channels, dtype=torch.float64)[:, :, None, None]
    return FoldedConvolution(F.pad(identity * fir, (1, 1, 1, 1)))


def _compose(weight: torch.Tensor, fir: torch.Tensor) -> torch.Tensor:
    """Return the convolution of [O, I, 3, 3] with [4, 4]: [O, I, 6, 6]."""
    out, into = weight.shape[:2]
    # F.conv2d correlates, so the second kernel is flipped to convolve.
    full = F.conv2d(weight.reshape(-1, 1, 3, 3), fir.flip(0, 1)[None, None], padding=3)
    return full.view(out, into, 6, 6)


def _phases(kernel: torch.Tensor) -> torch.Tensor:
    """Split the 6 × 6 kernel over zero-inserted pixels into four 3 × 3 kernels over pixels.

    Output pixel 2i + a of an axis takes the kernel's taps 4 + a, 2 + a and a at the pixels i - 1, i
    and i + 1. [O, I, 6, 6] → [4 O, I, 3, 3], in DepthToSpace's order (o, a, b).
    """
    out, into = kernel.shape[:2]
    taps = kernel.view(out, into, 3, 2, 3, 2).flip(2, 4)  # [O, I, tap, a, tap, b]
    return taps.permute(0, 3, 5, 1, 2, 4).reshape(out * 4, into, 3, 3)


class _Pointwise(nn.Module):
    """A 1 × 1 convolution."""

    weight: torch.Tensor

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight.contiguous())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, self.weight)


class TransposedConvolution(nn.Module):
    """Zero insertion and convolution in one operator, then the filter."""

    weight: torch.Tensor
    fir: torch.Tensor

    def __init__(self, weight: torch.Tensor, fir: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight.transpose(0, 1).contiguous())
        self.register_buffer("fir", _per_channel(fir.flip(0, 1), len(weight)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, I, H, W] → [N, O, 2H, 2W]."""
        x = F.conv_transpose2d(x, self.weight, stride=2)  # [N, O, 2H + 1, 2W + 1]
        padding = self.fir.shape[-1] // 2 - 1
        return F.conv2d(x, self.fir, padding=padding, groups=len(self.fir))


class SubpixelConvolution(nn.Module):
    """The four phases of the transposed convolution as 2 × 2 kernels, then the filter."""

    weight: torch.Tensor
    fir: torch.Tensor

    def __init__(self, weight: torch.Tensor, fir: torch.Tensor) -> None:
        super().__init__()
        out, into = weight.shape[:2]
        # Output pixel 2i + a of an axis takes tap 2 + a at pixel i - 1 and tap a at pixel i.
        taps = F.pad(weight, (0, 1, 0, 1)).view(out, into, 2, 2, 2, 2).flip(2, 4)
        phases = taps.permute(0, 3, 5, 1, 2, 4).reshape(out * 4, into, 2, 2)
        self.register_buffer("weight", phases.contiguous())
        self.register_buffer("fir", _per_channel(fir.flip(0, 1), out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, I, H, W] → [N, O, 2H, 2W]."""
        x = F.pixel_shuffle(F.conv2d(x, self.weight, padding=1), 2)  # [N, O, 2H + 2, 2W + 2]
        # The last row and column are outside the support of the transposed convolution.
        x = x.narrow(2, 0, x.shape[2] - 1).narrow(3, 0, x.shape[3] - 1)
        return F.conv2d(x, self.fir, padding=1, groups=len(self.fir))


class FoldedConvolution(nn.Module):
    """The four phases of convolution and filter together, as 3 × 3 kernels.

    Args:
        kernel: over the zero-inserted pixels, [O, I, 6, 6].
    """

    weight: torch.Tensor

    def __init__(self, kernel: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", _phases(kernel).contiguous())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, I, H, W] → [N, O, 2H, 2W]."""
        return F.pixel_shuffle(F.conv2d(x, self.weight, padding=1), 2)


class TransposedUpsampling(nn.Module):
    """Zero insertion and filter as one depthwise transposed convolution."""

    weight: torch.Tensor

    def __init__(self, channels: int, fir: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", _per_channel(fir, channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, C, H, W] → [N, C, 2H, 2W]."""
        padding = self.weight.shape[-1] // 2 - 1
        groups = len(self.weight)
        return F.conv_transpose2d(x, self.weight, stride=2, padding=padding, groups=groups)


class SubpixelUpsampling(nn.Module):
    """The filter's four phases as one depthwise convolution to 4 C channels, and DepthToSpace."""

    weight: torch.Tensor

    def __init__(self, channels: int, fir: torch.Tensor) -> None:
        super().__init__()
        kernel = F.pad(fir, (1, 1, 1, 1))[None, None].expand(channels, 1, -1, -1)
        self.register_buffer("weight", _phases(kernel.contiguous()).contiguous())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, C, H, W] → [N, C, 2H, 2W]."""
        x = F.conv2d(x, self.weight, padding=1, groups=len(self.weight) // 4)
        return F.pixel_shuffle(x, 2)


def _per_channel(kernel: torch.Tensor, channels: int) -> torch.Tensor:
    """Return the kernel for each channel of a depthwise convolution: [channels, 1, T, T]."""
    return kernel[None, None].expand(channels, 1, -1, -1).contiguous()
