"""Resampling against explicit zero insertion, FIR filtering and decimation in numpy float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from segan.train.networks.stylegan2.resample import (
    DEFAULT_TAPS,
    conv2d_down,
    conv2d_up,
    downsample2d,
    filter2d,
    fir_kernel,
    upsample2d,
)

Array = NDArray[np.float64]

SYMMETRIC = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64
ASYMMETRIC = np.random.RandomState(0).uniform(0.1, 1.0, (4, 4))
ASYMMETRIC /= ASYMMETRIC.sum()
FILTERS = pytest.mark.parametrize("fir", [SYMMETRIC, ASYMMETRIC], ids=["symmetric", "asymmetric"])


def convolve_full(x: Array, kernel: Array) -> Array:
    """The full true convolution of [..., H, W] with [T, T]: every tap scatters a shifted copy."""
    taps = len(kernel)
    out = np.zeros((*x.shape[:-2], x.shape[-2] + taps - 1, x.shape[-1] + taps - 1))
    for a in range(taps):
        for b in range(taps):
            out[..., a : a + x.shape[-2], b : b + x.shape[-1]] += kernel[a, b] * x
    return out


def insert_zeros(x: Array) -> Array:
    out = np.zeros((*x.shape[:-2], 2 * x.shape[-2], 2 * x.shape[-1]))
    out[..., ::2, ::2] = x
    return out


def mix_channels(x: Array, weight: Array) -> Array:
    """The full true convolution of [N, I, H, W] with [O, I, k, k], summed over I."""
    return np.stack(
        [
            sum(convolve_full(x[:, i], weight[o, i]) for i in range(x.shape[1]))
            for o in range(len(weight))
        ],
        axis=1,
    )


def crop(x: Array, start: int, height: int, width: int) -> Array:
    return x[..., start : start + height, start : start + width]


def random_array(*shape: int) -> Array:
    return np.random.RandomState(len(shape) + sum(shape)).randn(*shape)


def tensor(x: Array) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(x))


def same(actual: torch.Tensor, expected: Array) -> None:
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual.numpy(), expected, rtol=0, atol=1e-12)


def test_fir_kernel_is_the_normalised_outer_product() -> None:
    kernel = fir_kernel()
    assert kernel.dtype == torch.float32
    np.testing.assert_array_equal(kernel.numpy(), SYMMETRIC)
    taps = (1.0, 2.0, 5.0, 0.5)
    np.testing.assert_allclose(fir_kernel(taps).numpy(), np.outer(taps, taps) / 8.5**2, rtol=1e-7)
    assert DEFAULT_TAPS == (1.0, 3.0, 3.0, 1.0)


@FILTERS
@pytest.mark.parametrize(("padding", "gain", "stride"), [(0, 1.0, 1), (1, 4.0, 1), (2, 0.5, 2)])
def test_filter_is_a_true_convolution(fir: Array, padding: int, gain: float, stride: int) -> None:
    x = random_array(2, 3, 6, 8)
    size = (6 + 2 * padding - 3, 8 + 2 * padding - 3)
    expected = gain * crop(convolve_full(x, fir), 3 - padding, *size)[..., ::stride, ::stride]
    same(filter2d(tensor(x), tensor(fir), padding=padding, gain=gain, stride=stride), expected)


@FILTERS
@pytest.mark.parametrize("shape", [(1, 1, 4, 4), (2, 3, 5, 6)])
def test_upsample(fir: Array, shape: tuple[int, ...]) -> None:
    x = random_array(*shape)
    expected = crop(convolve_full(insert_zeros(x), 4 * fir), 1, 2 * shape[2], 2 * shape[3])
    same(upsample2d(tensor(x), tensor(fir)), expected)


@FILTERS
@pytest.mark.parametrize("shape", [(1, 1, 4, 4), (2, 3, 6, 8)])
def test_downsample(fir: Array, shape: tuple[int, ...]) -> None:
    x = random_array(*shape)
    same(
        downsample2d(tensor(x), tensor(fir)),
        crop(convolve_full(x, fir), 2, shape[2], shape[3])[..., ::2, ::2],
    )


@FILTERS
@pytest.mark.parametrize("size", [1, 3])
def test_convolution_with_upsampling(fir: Array, size: int) -> None:
    """Zero insertion, the layer's weight and the filter with gain 4, cropped about the centre."""
    x, weight = random_array(2, 3, 5, 4), random_array(4, 3, size, size)
    full = convolve_full(mix_channels(insert_zeros(x), weight), 4 * fir)
    same(conv2d_up(tensor(x), tensor(weight), tensor(fir)), crop(full, 1 + size // 2, 10, 8))


@FILTERS
@pytest.mark.parametrize("size", [1, 3])
def test_convolution_with_downsampling(fir: Array, size: int) -> None:
    """The filter, the layer's weight as a cross-correlation, then every second pixel."""
    x, weight = random_array(2, 3, 6, 8), random_array(4, 3, size, size)
    full = mix_channels(convolve_full(x, fir), weight[..., ::-1, ::-1])
    same(
        conv2d_down(tensor(x), tensor(weight), tensor(fir)),
        crop(full, 2 + size // 2, 6, 8)[..., ::2, ::2],
    )


@pytest.mark.parametrize("resample", [upsample2d, downsample2d])
def test_a_constant_stays_constant_inside(resample: object) -> None:
    assert callable(resample)
    y = resample(torch.full((1, 2, 8, 8), 0.75, dtype=torch.float64), fir_kernel())
    np.testing.assert_allclose(y[..., 1:-1, 1:-1].numpy(), 0.75, rtol=0, atol=1e-15)


@pytest.mark.parametrize("convolve", [conv2d_up, conv2d_down])
@pytest.mark.parametrize("size", [1, 3])
def test_gain_at_dc_is_the_weight_sum(convolve: object, size: int) -> None:
    assert callable(convolve)
    weight = random_array(2, 3, size, size)
    levels = np.array([0.5, -1.0, 2.0])
    x = np.broadcast_to(levels[:, None, None], (1, 3, 12, 12))
    y = convolve(tensor(x), tensor(weight), tensor(SYMMETRIC))[0, :, 3:-3, 3:-3]
    if convolve is conv2d_down:
        y = convolve(tensor(x), tensor(weight), tensor(SYMMETRIC))[0, :, 2:-2, 2:-2]
    expected = weight.sum(axis=(2, 3)) @ levels
    np.testing.assert_allclose(y.numpy(), np.broadcast_to(expected[:, None, None], y.shape))


def test_a_ramp_is_sampled_at_pixel_centres() -> None:
    """No half-pixel drift: outputs lie at ∓1/4 of a pixel (up) and between two pixels (down)."""
    ramp = torch.arange(8, dtype=torch.float64).expand(1, 1, 8, 8)
    up = upsample2d(ramp, fir_kernel().double())[0, 0, 4, 2:-2]
    np.testing.assert_allclose(up.numpy(), (np.arange(16)[2:-2] + 0.5) / 2 - 0.5)
    down = downsample2d(ramp, fir_kernel().double())[0, 0, 2, 1:-1]
    np.testing.assert_allclose(down.numpy(), 2 * np.arange(4)[1:-1] + 0.5)


@pytest.mark.parametrize("resample", [upsample2d, downsample2d])
def test_resampling_commutes_with_mirroring(resample: object) -> None:
    assert callable(resample)
    x, fir = tensor(random_array(1, 2, 6, 6)), tensor(SYMMETRIC)
    same(resample(x.flip(-1), fir), resample(x, fir).flip(-1).numpy())
    same(resample(x.flip(-2), fir), resample(x, fir).flip(-2).numpy())
