"""The parts of a synthesis graph that computes in fp16 or bf16, scaled so that nothing overflows.

Feature maps and convolution weights are half precision. Style affines, styles, demodulation and the
sum of the layers' images are fp32. A plain cast fails where weights or styles are uneven: products
exceed 65504, or are below fp16's smallest numbers, and the image is grey. Here a weight is split in
float64 into W[o, i] = W'[o, i] · row[o] · column[i], with even rows and columns. Columns move into
the style affine, rows into the demodulation. Styles are divided by their largest magnitude in each
image, S. With t' = styles · columns / S, in [-1, 1],

    conv(x · s, W) · d = conv(x · t', W') · D,   D = rsqrt(Σ t'² ΣW'² + ε / (row S)²)

which equals the fp32 result, including ε, since the demodulation cancels any scale (Karras et al.
2020b, Eq. 3). to_rgb has no demodulation, so its fp32 output is multiplied by row · S.

|x| <= ACTIVATION_BOUND and Σ|W'| = KERNEL_SUM in each row, so no sum of a convolution can reach
65504 for any input.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from segan.export.graphs.lowering import UP_GAIN, Lowering, lower_convolution
from segan.export.graphs.stylegan2.graphs import Dense, Parts, bounded, fold, per_channel
from segan.train.networks.stylegan2.generator import SynthesisSite, ToRGB
from segan.train.networks.stylegan2.layers import DEMODULATION_EPS, LRELU_GAIN, LRELU_SLOPE, Conv2d
from segan.train.networks.stylegan2.subspace import FeatureBasis

DTYPES: dict[str, torch.dtype] = {"fp16": torch.float16, "bf16": torch.bfloat16}

#: Largest magnitude of a feature map: four times the bound of StyleGAN2-ADA's fp16 training.
ACTIVATION_BOUND = 1024.0

#: Σ|W'| of an output channel. Its product with the bound, 61440, is below fp16's maximum, 65504.
KERNEL_SUM = 60.0

#: Largest factor that a half tensor is multiplied by; below fp16's maximum.
_LARGEST_FACTOR = 60000.0

#: Smaller scales are not divided by: ε dominates there.
_SMALLEST_SCALE = 1e-12


@dataclass(frozen=True, kw_only=True)
class Balanced:
    """A convolution's weight as ``even`` · ``rows`` · ``columns``, in float64.

    Attributes:
        even: [O, I, k, k]; the magnitudes of each row sum to KERNEL_SUM.
        rows: [O], scales of the output channels.
        columns: [I], scales of the input channels.
    """

    even: torch.Tensor
    rows: torch.Tensor
    columns: torch.Tensor


def balance(weight: torch.Tensor, *, with_columns: bool = True) -> Balanced:
    """Split [O, I, k, k]; without columns their scales are 1. Zero rows and columns stay zero."""
    even = weight.double()
    rows = _scale(even.abs().amax((1, 2, 3)))
    even = even / _rows(rows)
    columns = torch.ones_like(even[0, :, 0, 0])
    if with_columns:
        columns = _scale(even.abs().amax((0, 2, 3)))
        even = even / columns[None, :, None, None]
    total = _scale(even.abs().sum((1, 2, 3)) / KERNEL_SUM)
    return Balanced(even=even / _rows(total), rows=rows * total, columns=columns)


def _scale(value: torch.Tensor) -> torch.Tensor:
    """Return the values as divisors: 1 in place of values near 0."""
    return torch.where(value > _SMALLEST_SCALE, value, torch.ones_like(value))


def _rows(value: torch.Tensor) -> torch.Tensor:
    return value[:, None, None, None]


def _lower(weight: torch.Tensor, fir: torch.Tensor, form: Lowering) -> tuple[nn.Module, float]:
    """Return an upsampling convolution whose filter does not raise the bound, and its lost gain."""
    gain = UP_GAIN * float(fir.abs().sum())
    return lower_convolution(weight, fir / gain, form), gain


class HalfStyles(nn.Module):
    """w [N, w_dim] → styles over their largest magnitude [N, I], and that magnitude [N, 1].

    Args:
        site: the trained site, with its affine.
        columns: factors of the styles, [I].
    """

    weight: torch.Tensor
    bias: torch.Tensor

    def __init__(self, site: SynthesisSite | ToRGB, columns: torch.Tensor) -> None:
        super().__init__()
        affine = Dense(site.affine)
        self.register_buffer("weight", affine.weight * columns[:, None])
        self.register_buffer("bias", affine.bias * columns)

    def forward(self, w: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute both in fp32."""
        styles = F.linear(w, self.weight, self.bias)
        largest = styles.abs().amax(1, keepdim=True).clamp(min=_SMALLEST_SCALE)
        return styles / largest, largest


class HalfConvolutionSite(nn.Module):
    """``graphs.ConvolutionSite`` in half precision.

    Args:
        site: the trained site.
        form: form of the upsampling, if the site doubles the resolution.
        gain: gain of the output.
        const: the learned constant, if it is the input: the scales of its channels are undone.
        dtype: the half precision.
    """

    weight: torch.Tensor
    power: torch.Tensor
    eps: torch.Tensor
    bias: torch.Tensor
    noise_strength: torch.Tensor

    def __init__(
        self,
        site: SynthesisSite,
        form: Lowering,
        gain: float,
        const: torch.Tensor | None = None,
        *,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        clamp = ACTIVATION_BOUND if site.clamp is None else site.clamp * gain
        self.clamp = min(clamp, ACTIVATION_BOUND)
        gain *= LRELU_GAIN
        split = balance(fold(site.weight, site.weight_gain))
        inputs = torch.ones_like(split.columns) if const is None else const_scale(const)
        self.affine = HalfStyles(site, split.columns * inputs)
        self.convolution: nn.Module | None = None
        factor = 1.0
        if site.up:
            self.convolution, factor = _lower(split.even, fold(site.fir), form)
            self.convolution.to(dtype)
        else:
            self.register_buffer("weight", split.even.to(dtype))
        power = split.even.square().sum(dim=(2, 3)) / (inputs * gain * factor).square()
        self.register_buffer("power", power)
        # Larger values than float32 holds are of channels that are 0 in the fp32 graph too.
        eps = DEMODULATION_EPS / (split.rows * gain * factor).square()
        self.register_buffer("eps", eps.clamp(max=1e37))
        bias = fold(site.bias, gain)[None, :, None, None]
        self.register_buffer("bias", bias.clamp(-ACTIVATION_BOUND, ACTIVATION_BOUND).to(dtype))
        self.register_buffer("noise_strength", fold(site.noise_strength, gain))

    def forward(self, x: torch.Tensor, w: torch.Tensor, noise: torch.Tensor | None) -> torch.Tensor:
        """x [N or 1, I, h, h] half under style w [N, w_dim]; noise [M, 1, r, r] or None."""
        styles, largest = self.affine(w)
        power = F.linear(styles * styles, self.power) + self.eps / (largest * largest)
        demodulation = power.rsqrt().clamp(max=_LARGEST_FACTOR)  # [N, O]
        x = x * per_channel(styles.to(x.dtype))
        if self.convolution is not None:
            x = self.convolution(x)
        else:
            x = F.conv2d(x, self.weight, padding=1)
        x = x * per_channel(demodulation.to(x.dtype))
        if noise is None:
            x = x + self.bias
        else:
            plane = bounded(noise * self.noise_strength, ACTIVATION_BOUND)
            x = x + (plane.to(x.dtype) + self.bias)
        return bounded(F.leaky_relu(x, LRELU_SLOPE), self.clamp)


class HalfRGBSite(nn.Module):
    """``graphs.RGBSite``: the convolution in half precision, its output in fp32."""

    weight: torch.Tensor
    rows: torch.Tensor
    bias: torch.Tensor

    def __init__(self, site: ToRGB, *, dtype: torch.dtype) -> None:
        super().__init__()
        self.clamp = site.clamp
        split = balance(fold(site.weight, site.weight_gain))
        self.affine = HalfStyles(site, split.columns)
        self.register_buffer("weight", split.even.to(dtype))
        self.register_buffer("rows", split.rows)
        self.register_buffer("bias", fold(site.bias)[None, :, None, None])

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        """x [N, I, r, r] half → [N, img_channels, r, r] float32."""
        styles, largest = self.affine(w)
        x = F.conv2d(x * per_channel(styles.to(x.dtype)), self.weight)
        return bounded(
            x.to(largest.dtype) * per_channel(self.rows * largest) + self.bias, self.clamp
        )


class HalfPlane(nn.Module):
    """``graphs.Plane``: basis and product in half precision.

    Args:
        basis: the trained basis.
        is_image: whether the plane is added to the image, which is fp32.
        dtype: the half precision.
    """

    scale: torch.Tensor
    basis: torch.Tensor
    mean: torch.Tensor

    def __init__(self, basis: FeatureBasis, is_image: bool, *, dtype: torch.dtype) -> None:
        super().__init__()
        self.shape, self.dims = tuple(basis.mean.shape), basis.basis.shape[1]
        self.is_image = is_image
        scale = _scale(basis.basis.detach().abs().amax(0).double())
        self.register_buffer("scale", scale)
        self.register_buffer("basis", (basis.basis.detach() / scale.float()).to(dtype))
        mean = fold(basis.mean)[None]
        if not is_image:
            mean = mean.clamp(-ACTIVATION_BOUND, ACTIVATION_BOUND).to(dtype)
        self.register_buffer("mean", mean)

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """t [N, K] float32, K at least this basis's."""
        if t.shape[1] > self.dims:
            t = t.narrow(1, 0, self.dims)
        t = bounded(t * self.scale, ACTIVATION_BOUND).to(self.basis.dtype)
        shift = F.linear(t, self.basis).view(-1, *self.shape)
        if self.is_image:
            return x + (shift.to(x.dtype) + self.mean)
        return bounded(x + shift + self.mean, ACTIVATION_BOUND)


class HalfAround(nn.Module):
    """The 1 × 1 path of the residual architecture, [N, I, h, h] → [N, O, 2h, 2h]."""

    gain: torch.Tensor

    def __init__(self, skip: Conv2d, form: Lowering, gain: float, *, dtype: torch.dtype) -> None:
        super().__init__()
        split = balance(fold(skip.weight, skip.weight_gain * gain), with_columns=False)
        self.convolution, factor = _lower(split.even, fold(skip.fir), form)
        self.convolution.to(dtype)
        rows = (split.rows * factor).clamp(max=_LARGEST_FACTOR)
        self.register_buffer("gain", rows[None, :, None, None].to(dtype))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the path. Products may be infinite in the half type; the sum is bounded."""
        x = self.convolution(x)
        return x * self.gain


def const_scale(const: torch.Tensor) -> torch.Tensor:
    """Return the largest magnitude of each channel of [C, 4, 4]; 1 for channels of zeros."""
    return _scale(const.detach().double().abs().amax((1, 2)))


def _half_const(const: torch.Tensor, *, dtype: torch.dtype) -> torch.Tensor:
    return (const.detach().double() / const_scale(const)[:, None, None])[None].to(dtype)


def parts_of(dtype: torch.dtype) -> Parts:
    """Return the parts of ``graphs.SynthesisGraph`` for a type.

    Args:
        dtype: float16 or bfloat16. float32 is what int8 starts from, and in float64 the graph
            equals that of the fp32 parts but for the rounding.
    """
    return Parts(
        convolution=partial(HalfConvolutionSite, dtype=dtype),
        rgb=partial(HalfRGBSite, dtype=dtype),
        plane=partial(HalfPlane, dtype=dtype),
        around=partial(HalfAround, dtype=dtype),
        const=partial(_half_const, dtype=dtype),
        bound=ACTIVATION_BOUND,
    )
