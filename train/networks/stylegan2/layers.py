"""The layers of StyleGAN2: equalised learning rates, modulation, minibatch standard deviation.

Weights are stored with unit variance and scaled at run time by 1/√fan_in, so that every layer
learns at the same rate (Karras et al. 2018, Section 4.1).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from segan.train.networks.stylegan2.resample import conv2d_down, conv2d_up, fir_kernel

#: Slope of the leaky ReLU, and the gain that keeps its output's variance.
LRELU_SLOPE, LRELU_GAIN = 0.2, math.sqrt(2.0)

#: Keeps the demodulation finite when all styles are 0.
DEMODULATION_EPS = 1e-8


def out_of(x: torch.Tensor) -> torch.Tensor | None:
    """Return the ``out`` argument of an element-wise operation on ``x``: ``x`` itself, or None.

    Without gradients the operation is done in place, which saves memory: at 1024² a feature map
    has 128 MiB. Under autocast the result may have another type than ``x``, so it is not.
    """
    keeps = torch.is_grad_enabled() or torch.is_autocast_enabled(x.device.type)
    return None if keeps else x


def lrelu(x: torch.Tensor, gain: float = 1.0) -> torch.Tensor:
    """Leaky ReLU of slope 0.2 with gain √2, times ``gain``; may overwrite x, see ``out_of``."""
    x = F.leaky_relu(x, LRELU_SLOPE, inplace=not torch.is_grad_enabled())
    return torch.mul(x, LRELU_GAIN * gain, out=out_of(x))


def normalize_second_moment(x: torch.Tensor, eps: float = 1e-8) -> torch.Tensor:
    """Scale every row of [N, D] to a mean square of 1 (pixel norm, Karras et al. 2018)."""
    return x * (x.square().mean(dim=1, keepdim=True) + eps).rsqrt()


class FullyConnected(nn.Module):
    """A dense layer with equalised learning rate, [N, in] → [N, out].

    Args:
        in_features: width of the input.
        out_features: width of the output.
        activation: ``linear``, or ``lrelu`` with gain √2.
        lr_multiplier: learning rate relative to the optimiser's.
        bias_init: initial bias.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        activation: Literal["linear", "lrelu"] = "linear",
        lr_multiplier: float = 1.0,
        bias_init: float = 0.0,
    ) -> None:
        super().__init__()
        self.activation = activation
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr_multiplier)
        self.bias = nn.Parameter(torch.full((out_features,), bias_init / lr_multiplier))
        self.weight_gain = lr_multiplier / math.sqrt(in_features)
        self.bias_gain = lr_multiplier

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the layer."""
        x = F.linear(x, self.weight * self.weight_gain, self.bias * self.bias_gain)
        return lrelu(x) if self.activation == "lrelu" else x


class Conv2d(nn.Module):
    """A convolution with equalised learning rate, optionally with resampling by 2.

    Args:
        in_channels: input channels.
        out_channels: output channels.
        kernel_size: 1 or 3.
        activation: ``linear``, or ``lrelu`` with gain √2.
        resample: ``up`` doubles, ``down`` halves, ``none`` keeps the resolution.
        bias: whether there is a bias.
        clamp: bound of the output's magnitude, before ``gain``; None = no bound.
    """

    fir: torch.Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        activation: Literal["linear", "lrelu"] = "linear",
        resample: Literal["none", "up", "down"] = "none",
        bias: bool = True,
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.activation, self.resample, self.clamp = activation, resample, clamp
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.weight_gain = 1 / math.sqrt(in_channels * kernel_size**2)
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.register_buffer("fir", fir_kernel(), persistent=False)

    def forward(self, x: torch.Tensor, gain: float = 1.0) -> torch.Tensor:
        """Apply the layer; ``gain`` scales its output."""
        weight = (self.weight * self.weight_gain).to(x.dtype)
        if self.resample == "up":
            x = conv2d_up(x, weight, self.fir)
        elif self.resample == "down":
            x = conv2d_down(x, weight, self.fir)
        else:
            x = F.conv2d(x, weight, padding=weight.shape[-1] // 2)
        if self.bias is not None:
            x = x + self.bias.to(x.dtype)[:, None, None]
        if self.activation == "lrelu":
            x = lrelu(x, gain)
        elif gain != 1.0:
            x = x * gain
        return x if self.clamp is None else x.clamp(-self.clamp * gain, self.clamp * gain)


def modulated_conv2d(
    x: torch.Tensor,
    weight: torch.Tensor,
    styles: torch.Tensor,
    *,
    demodulate: bool = True,
    fir_up: torch.Tensor | None = None,
) -> torch.Tensor:
    """Convolution whose input channels are scaled per sample: conv(x · s) · d.

    The weight stays constant, so one ordinary convolution serves the whole batch; scaling the
    activations before it and demodulating after it equals scaling the weight of each sample.

    Args:
        x: [N, I, H, W].
        weight: [O, I, k, k], k = 1 or 3.
        styles: s, [N, I].
        demodulate: whether to multiply by d = 1/√(Σ_{i,k} (s_i w_{oik})² + 1e-8), [N, O].
        fir_up: filter [T, T], T even, to double the resolution; None = keep it.

    Returns:
        [N, O, H, W], or [N, O, 2H, 2W] with ``fir_up``.

    Source: Karras et al. 2020b, Eq. 1 and 3.
    """
    dtype = x.dtype
    if dtype == torch.float16 and demodulate:
        # Demodulation cancels any scale, and bounded factors cannot overflow.
        weight = weight / weight.abs().amax(dim=(1, 2, 3), keepdim=True)
        weight = weight / math.sqrt(weight[0].numel())
        styles = styles / styles.abs().amax(dim=1, keepdim=True)
    x = x * styles.to(dtype)[:, :, None, None]
    if fir_up is None:
        x = F.conv2d(x, weight.to(dtype), padding=weight.shape[-1] // 2)
    else:
        x = conv2d_up(x, weight.to(dtype), fir_up)
    if not demodulate:
        return x
    power = styles.square() @ weight.square().sum(dim=(2, 3)).t()  # [N, O]
    factor = (power + DEMODULATION_EPS).rsqrt().to(dtype)
    return torch.mul(x, factor[:, :, None, None], out=out_of(x))


class MinibatchStd(nn.Module):
    """Appends one channel: the standard deviation over groups of the batch.

    The batch is split into groups of ``group_size`` samples, or is one group if it does not divide.
    The deviation over each group is averaged over channels and pixels. [N, C, H, W] →
    [N, C + 1, H, W] (Karras et al. 2018, Section 3).
    """

    def __init__(self, group_size: int = 4) -> None:
        super().__init__()
        self.group_size = group_size

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Append the statistic."""
        n, _, h, w = x.shape
        group = self.group_size if n % self.group_size == 0 else n
        y = x.reshape(group, n // group, -1)  # sample i is in group i mod (n // group)
        std = (y.var(dim=0, correction=0) + 1e-8).sqrt().mean(dim=1)  # [n // group]
        return torch.cat([x, std.repeat(group)[:, None, None, None].expand(n, 1, h, w)], dim=1)
