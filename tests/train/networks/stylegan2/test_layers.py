"""Layers against float64 per-sample computations, closed forms and definitions in numpy."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from segan.train.networks.stylegan2.layers import (
    Conv2d,
    FullyConnected,
    MinibatchStd,
    lrelu,
    modulated_conv2d,
    normalize_second_moment,
)

Array = NDArray[np.float64]

FIR = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64
SKEWED = np.random.RandomState(3).uniform(0.1, 1.0, (4, 4))


def correlate_same(x: Array, weight: Array) -> Array:
    """Cross-correlation of one sample [I, H, W] with [O, I, k, k], zero padding k // 2."""
    size = weight.shape[-1]
    pad = size // 2
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
    out = np.zeros((len(weight), *x.shape[1:]))
    for o, i, a, b in itertools.product(*(range(n) for n in weight.shape)):
        out[o] += weight[o, i, a, b] * padded[i, a : a + x.shape[1], b : b + x.shape[2]]
    return out


def scatter_up(x: Array, weight: Array, fir: Array) -> Array:
    """Zero insertion of one sample [I, H, W], convolution with [O, I, k, k], filter with gain 4."""
    out_channels, _, size, _ = weight.shape
    height, width = x.shape[1:]
    full = np.zeros((out_channels, 2 * height + size - 1, 2 * width + size - 1))
    for o, i, a, b in itertools.product(*(range(n) for n in weight.shape)):
        for row, column in itertools.product(range(height), range(width)):
            full[o, 2 * row + a, 2 * column + b] += weight[o, i, a, b] * x[i, row, column]
    filtered = np.zeros((out_channels, full.shape[1] + 3, full.shape[2] + 3))
    for a, b in itertools.product(range(4), range(4)):
        filtered[:, a : a + full.shape[1], b : b + full.shape[2]] += 4 * fir[a, b] * full
    start = 1 + size // 2
    return filtered[:, start : start + 2 * height, start : start + 2 * width]


def modulated_per_sample(
    x: Array, weight: Array, styles: Array, *, demodulate: bool, fir: Array | None
) -> Array:
    """Karras et al. 2020b, Eq. 1 and 3, as written: every sample has its own weight."""
    images = []
    for sample, style in zip(x, styles, strict=True):
        own = weight * style[None, :, None, None]
        if demodulate:
            for o in range(len(own)):
                own[o] /= math.sqrt(sum(value**2 for value in own[o].ravel()) + 1e-8)

        images.append(correlate_same(sample, own) if fir is None else scatter_up(sample, own, fir))
    return np.stack(images)


def tensors(*arrays: Array, grad: bool = False) -> list[torch.Tensor]:
    return [torch.from_numpy(array.copy()).requires_grad_(grad) for array in arrays]


def inputs(n: int, i: int, o: int, height: int, width: int, size: int) -> tuple[Array, ...]:
    random = np.random.RandomState(n + 10 * i + 100 * size)
    styles = random.randn(n, i) * np.linspace(0.2, 5.0, n)[:, None]
    return random.randn(n, i, height, width), random.randn(o, i, size, size), styles


@pytest.mark.parametrize("demodulate", [True, False])
@pytest.mark.parametrize("fir", [None, FIR, SKEWED], ids=["same", "up", "up-asymmetric"])
@pytest.mark.parametrize("size", [1, 3])
def test_modulated_convolution_equals_scaling_each_samples_weight(
    demodulate: bool, fir: Array | None, size: int
) -> None:
    x, weight, styles = inputs(3, 4, 5, 5, 4, size)
    expected = modulated_per_sample(x, weight, styles, demodulate=demodulate, fir=fir)
    kernel = None if fir is None else torch.from_numpy(fir)
    actual = modulated_conv2d(
        *tensors(x, weight, styles), demodulate=demodulate, fir_up=kernel
    ).numpy()
    np.testing.assert_allclose(actual, expected, rtol=1e-11, atol=1e-12)


def test_modulated_convolution_in_float32_is_as_exact_as_float32() -> None:
    x, weight, styles = inputs(4, 16, 8, 8, 8, 3)
    expected = modulated_per_sample(x, weight, styles, demodulate=True, fir=FIR)
    single = [tensor.float() for tensor in tensors(x, weight, styles)]
    actual = modulated_conv2d(*single, fir_up=torch.from_numpy(FIR).float())
    assert actual.dtype == torch.float32
    assert np.abs(actual.numpy() - expected).max() < 1e-5


def test_demodulation_of_zero_styles_is_finite() -> None:
    x, weight, styles = tensors(*inputs(2, 3, 3, 4, 4, 3), grad=True)
    y = modulated_conv2d(x, weight, styles * 0)
    y.square().sum().backward()
    assert bool((y == 0).all())
    assert all(bool(v.grad is not None and v.grad.isfinite().all()) for v in (x, weight, styles))


def test_demodulated_output_does_not_depend_on_the_scale_of_the_style() -> None:
    x, weight, styles = tensors(*inputs(2, 3, 4, 4, 4, 3))
    torch.testing.assert_close(
        modulated_conv2d(x, weight, 7 * styles), modulated_conv2d(x, weight, styles)
    )


@pytest.mark.parametrize("demodulate", [True, False])
@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("size", [1, 3])
def test_first_and_second_derivatives_of_modulated_convolution(
    demodulate: bool, up: bool, size: int
) -> None:
    arguments = tensors(*inputs(2, 2, 2, 3, 2, size), grad=True)
    fir = torch.from_numpy(SKEWED) if up else None

    def function(x: torch.Tensor, weight: torch.Tensor, styles: torch.Tensor) -> torch.Tensor:
        return modulated_conv2d(x, weight, styles, demodulate=demodulate, fir_up=fir)

    assert torch.autograd.gradcheck(function, arguments)
    # fast_mode checks a random projection of the second derivatives, which is dense enough here.
    assert torch.autograd.gradgradcheck(function, arguments, fast_mode=True)


@pytest.mark.parametrize("activation", ["linear", "lrelu"])
@pytest.mark.parametrize("lr_multiplier", [1.0, 0.01])
def test_fully_connected_keeps_unit_variance(activation: str, lr_multiplier: float) -> None:
    torch.manual_seed(0)
    assert activation in ("linear", "lrelu")
    layer = FullyConnected(
        256,
        512,
        activation="lrelu" if activation == "lrelu" else "linear",
        lr_multiplier=lr_multiplier,
    )
    power = layer(torch.randn(256, 256)).square().mean().item()
    # Leaky ReLU of slope 0.2 and gain √2 turns E x² = 1 into (1 + 0.2²) / 2 · 2 = 1.04.
    assert power == pytest.approx(1.04 if activation == "lrelu" else 1.0, rel=0.03)
    assert layer.weight.std().item() == pytest.approx(1 / lr_multiplier, rel=0.02)


def test_fully_connected_bias_and_learning_rate_multiplier() -> None:
    torch.manual_seed(0)
    slow = FullyConnected(8, 4, lr_multiplier=0.01, bias_init=1.5).double()
    x = torch.randn(3, 8, dtype=torch.float64)
    expected = x.numpy() @ slow.weight.detach().numpy().T * (0.01 / math.sqrt(8)) + 1.5
    np.testing.assert_allclose(slow(x).detach().numpy(), expected, rtol=1e-6)
    # Adam's step does not depend on the gradient's scale: lr 0.01 moves the bias by 0.01 · 0.01.
    before = slow(x * 0).detach()
    optimizer = torch.optim.Adam(slow.parameters(), lr=0.01, betas=(0.0, 0.99))
    slow(x * 0).sum().backward()
    optimizer.step()
    torch.testing.assert_close(before - slow(x * 0), torch.full_like(before, 1e-4))


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("activation", ["linear", "lrelu"])
def test_convolution_keeps_unit_variance(size: int, activation: str) -> None:
    torch.manual_seed(0)
    layer = Conv2d(64, 128, size, activation="lrelu" if activation == "lrelu" else "linear")
    y = layer(torch.randn(8, 64, 16, 16))[..., 1:-1, 1:-1]
    expected = 1.04 if activation == "lrelu" else 1.0
    assert y.square().mean().item() == pytest.approx(expected, rel=0.04)


@pytest.mark.parametrize("size", [1, 3])
def test_resampling_convolutions_keep_the_variance_of_smooth_images(size: int) -> None:
    """White noise loses power to the filter by design; a flat image must not."""
    torch.manual_seed(0)
    flat = torch.randn(64, 64, 1, 1).expand(-1, -1, 16, 16)
    for resample, side in (("up", 32), ("down", 8)):
        layer = Conv2d(64, 128, size, resample="up" if resample == "up" else "down")
        y = layer(flat)
        assert y.shape[-1] == side
        assert y[..., 3:-3, 3:-3].square().mean().item() == pytest.approx(1.0, rel=0.08)


def test_convolution_gain_and_bias() -> None:
    torch.manual_seed(0)
    layer = Conv2d(3, 4, 3, activation="lrelu").double()
    nn.init.normal_(layer.bias)  # type: ignore[arg-type]  # this layer has a bias
    x = torch.randn(2, 3, 5, 5, dtype=torch.float64)
    weight = layer.weight.detach().numpy() / math.sqrt(27)
    bias = next(p for name, p in layer.named_parameters() if name == "bias").detach().numpy()
    linear = np.stack([correlate_same(sample, weight) for sample in x.numpy()])
    linear += bias[:, None, None]
    expected = np.where(linear > 0, linear, 0.2 * linear) * math.sqrt(2) * 0.5
    np.testing.assert_allclose(layer(x, 0.5).detach().numpy(), expected, atol=1e-12)


def test_leaky_relu() -> None:
    x = torch.tensor([-2.0, 0.0, 3.0], dtype=torch.float64)
    expected = np.array([-0.4, 0.0, 3.0]) * math.sqrt(2) * 0.7
    np.testing.assert_allclose(lrelu(x, 0.7).numpy(), expected)


def test_pixel_norm_gives_each_row_a_mean_square_of_one() -> None:
    x = torch.randn(5, 7, dtype=torch.float64) * torch.logspace(-1, 3, 5).double()[:, None]
    y = normalize_second_moment(x)
    np.testing.assert_allclose(y.square().mean(1).numpy(), 1.0, rtol=1e-5)
    # The direction stays.
    np.testing.assert_allclose((y / x).numpy(), (y / x)[:, :1].expand(-1, 7).numpy())
    assert bool((normalize_second_moment(torch.zeros(1, 4)) == 0).all())


@pytest.mark.parametrize(("n", "group"), [(8, 4), (4, 4), (6, 4), (3, 4), (1, 4), (6, 2), (5, 1)])
def test_minibatch_standard_deviation(n: int, group: int) -> None:
    x = np.random.RandomState(n).randn(n, 3, 2, 5)
    actual = MinibatchStd(group)(torch.from_numpy(x)).numpy()
    assert actual.shape == (n, 4, 2, 5)
    np.testing.assert_array_equal(actual[:, :3], x)
    size = group if n % group == 0 else n
    count = n // size
    for sample in range(n):
        members = [other for other in range(n) if other % count == sample % count]
        assert len(members) == size
        deviation = np.sqrt(np.var(x[members], axis=0) + 1e-8).mean()
        np.testing.assert_allclose(actual[sample, 3], deviation, rtol=1e-12)


def test_minibatch_standard_deviation_has_finite_gradients_for_equal_images() -> None:
    x = torch.ones(4, 2, 3, 3, requires_grad=True)
    MinibatchStd(4)(x).sum().backward()
    assert x.grad is not None
    assert bool(x.grad.isfinite().all())


@pytest.mark.parametrize("n", [4, 3])
def test_first_and_second_derivatives_of_the_minibatch_standard_deviation(n: int) -> None:
    """R1 differentiates twice through the statistic, which ties the samples of a group together."""
    (x,) = tensors(np.random.RandomState(n).randn(n, 2, 2, 1), grad=True)
    assert torch.autograd.gradcheck(MinibatchStd(2), [x])
    assert torch.autograd.gradgradcheck(MinibatchStd(2), [x])
