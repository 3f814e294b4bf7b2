"""Every form of upsampling against explicit zero insertion and convolution in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from segan.cli.bundle_output import LOWERINGS as CLI_LOWERINGS
from segan.export.graphs.lowering import (
    DEFAULT_LOWERING,
    LOWERINGS,
    Lowering,
    lower_convolution,
    lower_upsampling,
)
from segan.train.networks.stylegan2.resample import fir_kernel

Array = NDArray[np.float64]


def convolve(x: Array, kernel: Array) -> Array:
    """The full convolution of [N, I, H, W] with [O, I, k, k], by its definition."""
    size = kernel.shape[-1]
    n, _, height, width = x.shape
    out = np.zeros((n, len(kernel), height + size - 1, width + size - 1))
    for a in range(size):
        for b in range(size):
            part = np.einsum("oi,nihw->nohw", kernel[:, :, a, b], x)
            out[:, :, a : a + height, b : b + width] += part
    return out


def reference(x: Array, weight: Array, fir: Array) -> Array:
    """Zeros between the pixels, the convolution, the filter with gain 4, the middle."""
    n, channels, height, width = x.shape
    sparse = np.zeros((n, channels, 2 * height - 1, 2 * width - 1))
    sparse[:, :, ::2, ::2] = x
    full = convolve(sparse, weight)
    planes = full.reshape(-1, 1, *full.shape[2:])
    filtered = convolve(planes, 4 * fir[None, None]).reshape(
        n, len(weight), -1, planes.shape[3] + 3
    )
    top, left = (filtered.shape[2] - 2 * height) // 2, (filtered.shape[3] - 2 * width) // 2
    return filtered[:, :, top : top + 2 * height, left : left + 2 * width]


FILTERS = {
    "binomial": fir_kernel().double().numpy(),
    # The kernels are not symmetric, so flipped or transposed taps are detected.
    "asymmetric": np.random.RandomState(3).random_sample((4, 4)),
}


@pytest.mark.parametrize("form", LOWERINGS)
@pytest.mark.parametrize("fir", FILTERS)
@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("shape", [(4, 4), (5, 7)])
def test_convolution(form: Lowering, fir: str, size: int, shape: tuple[int, int]) -> None:
    random = np.random.RandomState(0)
    x, weight = random.standard_normal((2, 3, *shape)), random.standard_normal((5, 3, size, size))
    module = lower_convolution(torch.from_numpy(weight), torch.from_numpy(FILTERS[fir]), form)
    expected = reference(x, weight, FILTERS[fir])
    found = module(torch.from_numpy(x)).numpy()
    assert found.shape == (2, 5, 2 * shape[0], 2 * shape[1])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize("form", LOWERINGS)
@pytest.mark.parametrize("fir", FILTERS)
@pytest.mark.parametrize("channels", [1, 4])
def test_upsampling(form: Lowering, fir: str, channels: int) -> None:
    x = np.random.RandomState(0).standard_normal((2, channels, 5, 6))
    module = lower_upsampling(channels, torch.from_numpy(FILTERS[fir]), form)
    identity = np.eye(channels)[:, :, None, None]
    expected = reference(x, identity, FILTERS[fir])
    found = module(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * np.abs(expected).max())


def test_the_command_line_knows_every_form() -> None:
    assert CLI_LOWERINGS == LOWERINGS
    assert set(DEFAULT_LOWERING.values()) <= set(LOWERINGS)
    assert set(DEFAULT_LOWERING) == {8, 16, 32, 64, 128, 256, 512, 1024}
