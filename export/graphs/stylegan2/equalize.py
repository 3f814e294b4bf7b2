"""Channel scales that make activations and weights equally uneven, for int8.

An activation x · s has one scale for all its channels, so a channel that is much larger than the
others leaves those few levels. Channel scales are free: the styles' affine divides channel i by
k_i, and the weights are multiplied by k_i. With a_i the largest |x_i s_i| and v_i the largest
weight of channel i, k_i = √(a_i / v_i) makes both equally uneven (Xiao et al. 2023, SmoothQuant,
α = 0.5). Between a transposed convolution and its filter, the filter's weights take the scale.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from segan.export.graphs.lowering import TransposedConvolution
from segan.export.graphs.stylegan2.half import HalfConvolutionSite


def equalize_channels(module: nn.Module, maxima: Mapping[str, NDArray[np.float32]]) -> None:
    """Move channel scales between activations and weights, in place.

    Args:
        module: a synthesis graph of scaled parts (``half.parts_of``).
        maxima: the largest magnitude of each input channel, [I], by node of the exported graph.
    """
    for name, site in module.named_modules():
        if not isinstance(site, HalfConvolutionSite):
            continue
        up = site.convolution
        if isinstance(up, TransposedConvolution):
            weight, axis = up.weight, 0
            between = _geometric(torch.from_numpy(maxima[f"{name}.convolution/Conv"]).double())
            up.weight = up.weight / between[None, :, None, None]
            up.fir = up.fir * between[:, None, None, None]
            weight = up.weight
            entry = f"{name}.convolution/ConvTranspose"
        elif up is None:
            weight, axis, entry = site.weight, 1, f"{name}/Conv"
        else:
            # The other forms have their convolution as the first operator, channels second.
            weight, axis, entry = up.get_buffer("weight"), 1, f"{name}.convolution/Conv"
        others = [dim for dim in range(4) if dim != axis]
        activation = torch.from_numpy(maxima[entry]).double()
        factor = _geometric((activation / _nonzero(weight.double().abs().amax(others))).sqrt())
        shape = [1, 1, 1, 1]
        shape[axis] = -1
        scaled = (weight.double() * factor.view(shape)).to(weight.dtype)
        if up is None:
            site.weight = scaled
        else:
            up.register_buffer("weight", scaled)
        site.affine.weight = (site.affine.weight.double() / factor[:, None]).to(weight.dtype)
        site.affine.bias = (site.affine.bias.double() / factor).to(weight.dtype)
        site.power = (site.power.double() * factor.square()).to(weight.dtype)


def _nonzero(value: torch.Tensor) -> torch.Tensor:
    return torch.where(value > 0, value, torch.ones_like(value))


def _geometric(value: torch.Tensor) -> torch.Tensor:
    """Return the values over their geometric mean, with 1 in place of zeros, in float64."""
    value = _nonzero(value)
    return value / value.log().mean().exp()
