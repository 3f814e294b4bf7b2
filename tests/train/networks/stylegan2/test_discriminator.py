"""The discriminator against a numpy float64 forward pass and a parameter count by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from segan.train.networks.config import NetworkConfig
from segan.train.networks.stylegan2.discriminator import Discriminator
from segan.train.runs.presets import preset

Array = NDArray[np.float64]
FIR = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64


def correlate(x: Array, weight: Array, pad: int) -> Array:
    """[N, I, H, W] with [O, I, k, k], zero padding on each side."""
    size = weight.shape[-1]
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    height, width = padded.shape[2] - size + 1, padded.shape[3] - size + 1
    out = np.zeros((len(x), len(weight), height, width))
    for a in range(size):
        for b in range(size):
            window = padded[:, :, a : a + height, b : b + width]
            out += np.einsum("oi,nihw->nohw", weight[:, :, a, b], window)
    return out


def blur(x: Array, pad: int) -> Array:
    planes = x.reshape(-1, 1, *x.shape[2:])
    y = correlate(planes, FIR[None, None], pad)
    return y.reshape(*x.shape[:2], *y.shape[2:])


def lrelu(x: Array) -> Array:
    return np.where(x > 0, x, 0.2 * x) * math.sqrt(2)


def judge(
    p: dict[str, Array], config: NetworkConfig, image: Array, c: Array | None
) -> tuple[Array, Array]:
    """Karras et al. 2020b, Figure 7 (residual), minibatch deviation over the whole batch."""

    def weight(name: str) -> Array:
        value = p[f"{name}.weight"]
        return value / math.sqrt(value[0].size)

    def bias(name: str) -> Array:
        return p[f"{name}.bias"][:, None, None]

    x = lrelu(correlate(image, weight("from_rgb"), 0) + bias("from_rgb"))
    resolution = config.resolution
    while resolution > 4:
        base = f"blocks.b{resolution}"
        around = correlate(blur(x, 1)[..., ::2, ::2], weight(f"{base}.skip"), 0)
        x = lrelu(correlate(x, weight(f"{base}.conv0"), 1) + bias(f"{base}.conv0"))
        x = correlate(blur(x, 2), weight(f"{base}.conv1"), 0)[..., ::2, ::2]
        x = (around + lrelu(x + bias(f"{base}.conv1"))) / math.sqrt(2)
        resolution //= 2
    deviation = np.sqrt(x.var(axis=0) + 1e-8).mean()
    x = np.concatenate([x, np.full((len(x), 1, 4, 4), deviation)], axis=1)
    x = lrelu(correlate(x, weight("conv"), 1) + bias("conv"))
    features = lrelu(x.reshape(len(x), -1) @ weight("fc").T + p["fc.bias"])
    score = features @ weight("out").T + p["out.bias"]
    if c is not None:
        label = c @ weight("embed").T + p["embed.bias"]
        label /= np.sqrt((label**2).mean(axis=1, keepdims=True) + 1e-8)
        score = (score * label).sum(axis=1, keepdims=True) / math.sqrt(label.shape[1])
    return score[:, 0], features @ weight("coords").T + p["coords.bias"]


@pytest.mark.parametrize("c_dim", [0, 3])
def test_judgement_equals_an_independent_one(c_dim: int) -> None:
    config = NetworkConfig(
        resolution=16, img_channels=2, c_dim=c_dim, channel_base=64, channel_max=6
    )
    torch.manual_seed(0)
    network = Discriminator(config, num_coords=5).double().requires_grad_(False)
    for parameter in network.parameters():
        parameter.add_(0.3 * torch.randn_like(parameter))
    values = {name: value.numpy() for name, value in network.state_dict().items()}
    image = np.random.RandomState(1).randn(4, 2, 16, 16)
    c = np.eye(3)[[0, 2, 1, 1]] if c_dim else None
    score, coords = judge(values, config, image, c)
    judgement = network(torch.from_numpy(image), None if c is None else torch.from_numpy(c))
    np.testing.assert_allclose(judgement.score.numpy(), score, rtol=1e-9, atol=1e-10)
    assert judgement.coords is not None
    np.testing.assert_allclose(judgement.coords.numpy(), coords, rtol=1e-9, atol=1e-10)


def test_the_label_changes_the_score() -> None:
    config = NetworkConfig(resolution=8, c_dim=2, channel_base=32, channel_max=4)
    torch.manual_seed(0)
    network = Discriminator(config)
    image = torch.randn(1, 3, 8, 8)
    first, second = (network(image, torch.eye(2)[n : n + 1]).score.item() for n in range(2))
    assert first != second


def test_scores_follow_their_images_within_a_group() -> None:
    config = NetworkConfig(resolution=8, channel_base=32, channel_max=4)
    network = Discriminator(config).double().requires_grad_(False)
    image, order = torch.randn(4, 3, 8, 8).double(), [2, 0, 3, 1]
    torch.testing.assert_close(network(image[order]).score, network(image).score[order])


@pytest.mark.parametrize("num_coords", [0, 30])
def test_parameters_of_the_paper_preset_at_64(num_coords: int) -> None:
    network = Discriminator(preset("paper", resolution=64).network, num_coords)
    from_rgb = 3 * 128 + 128
    block = 2 * (9 * 128 * 128 + 128) + 128 * 128
    last = 9 * 129 * 128 + 128 + (128 * 16 * 128 + 128) + (128 + 1)
    head = num_coords * (128 + 1)
    counted = sum(parameter.numel() for parameter in network.parameters())
    assert counted == from_rgb + 4 * block + last + head


def test_features_keep_unit_scale_at_first() -> None:
    torch.manual_seed(0)
    network = Discriminator(NetworkConfig(resolution=32, channel_base=2048, channel_max=64), 8)
    sizes: dict[str, float] = {}
    for name, block in network.blocks.items():
        block.register_forward_hook(
            lambda _m, _a, y, name=name: sizes.__setitem__(name, y.square().mean().item())
        )
    with torch.no_grad():
        judgement = network(torch.randn(8, 3, 1, 1).expand(-1, -1, 32, 32))
    assert set(sizes) == {"b32", "b16", "b8"}
    assert all(0.3 < size < 3 for size in sizes.values())
    assert judgement.coords is not None
    assert 0.1 < judgement.coords.square().mean().item() < 10
