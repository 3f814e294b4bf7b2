"""The generator against a numpy float64 forward pass, its tables, sizes and costs."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from segan.runtime.bundle.layout import Architecture, build_sites, noise_sizes
from segan.train.networks.config import Mode, NetworkConfig, SubspaceConfig
from segan.train.networks.stylegan2.discriminator import Discriminator
from segan.train.networks.stylegan2.generator import Generator
from segan.train.runs.presets import preset

Array = NDArray[np.float64]

ARCHITECTURES: tuple[Architecture, ...] = ("skip", "residual", "original")
RESOLUTIONS = (8, 16, 32, 64, 128, 256, 512, 1024)
FIR = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64


# An independent forward pass: one sample at a time, explicit zero insertion, no torch.


def scatter(x: Array, weight: Array) -> Array:
    """The full true convolution of [I, H, W] with [O, I, k, k]."""
    size = weight.shape[-1]
    out = np.zeros((len(weight), x.shape[1] + size - 1, x.shape[2] + size - 1))
    for a in range(size):
        for b in range(size):
            out[:, a : a + x.shape[1], b : b + x.shape[2]] += np.tensordot(weight[:, :, a, b], x, 1)
    return out


def up(x: Array, weight: Array) -> Array:
    channels, side, _ = x.shape
    sparse = np.zeros((channels, 2 * side, 2 * side))
    sparse[:, ::2, ::2] = x
    full = scatter(sparse, weight)
    filtered = [scatter(plane[None], 4 * FIR[None, None])[0] for plane in full]
    start = 1 + weight.shape[-1] // 2
    return np.stack(filtered)[:, start : start + 2 * side, start : start + 2 * side]


def same(x: Array, weight: Array) -> Array:
    pad = weight.shape[-1] // 2
    full = scatter(x, weight[:, :, ::-1, ::-1])
    return full[:, pad : pad + x.shape[1], pad : pad + x.shape[2]]


def lrelu(x: Array) -> Array:
    return np.where(x > 0, x, 0.2 * x) * math.sqrt(2)


def pixel_norm(x: Array) -> Array:
    return np.asarray(x / np.sqrt((x**2).mean() + 1e-8))


def dense(p: dict[str, Array], name: str, x: Array, lr: float = 1.0) -> Array:
    weight, bias = p[f"{name}.weight"], p[f"{name}.bias"]
    return np.asarray(weight @ x * (lr / math.sqrt(len(x))) + bias * lr)


def map_one(p: dict[str, Array], config: NetworkConfig, z: Array, c: Array | None) -> Array:
    x = pixel_norm(z)
    if c is not None:
        x = np.concatenate([x, pixel_norm(dense(p, "mapping.embed", c))])
    for layer in range(config.mapping_layers):
        x = lrelu(dense(p, f"mapping.fc{layer}", x, 0.01))
    return x


def synthesize_one(p: dict[str, Array], config: NetworkConfig, ws: Array, noise: Array) -> Array:
    """Karras et al. 2020b, Figures 2 and 7, for one sample: ws [num_sites, w_dim], flat noise."""
    sites = {site.name: number for number, site in enumerate(config.sites)}
    starts = np.concatenate([[0], np.cumsum(noise_sizes(config.sites))])
    image: Array | None = None
    x = p["synthesis.blocks.b4.const"]
    resolution = 4
    while resolution <= config.resolution:
        base = f"synthesis.blocks.b{resolution}"
        block_input = x
        for conv in ("conv0", "conv1"):
            name = f"b{resolution}.{conv}"
            if name not in sites:
                continue
            weight = p[f"{base}.{conv}.weight"]
            weight = weight / math.sqrt(weight[0].size)
            weight = weight * dense(p, f"{base}.{conv}.affine", ws[sites[name]])[:, None, None]
            weight = weight / np.sqrt((weight**2).sum(axis=(1, 2, 3), keepdims=True) + 1e-8)
            x = up(x, weight) if conv == "conv0" else same(x, weight)
            plane = noise[starts[sites[name]] : starts[sites[name] + 1]]
            x = x + plane.reshape(resolution, resolution) * p[f"{base}.{conv}.noise_strength"]
            x = lrelu(x + p[f"{base}.{conv}.bias"][:, None, None])
        if config.architecture == "residual" and resolution > 4:
            weight = p[f"{base}.skip.weight"]
            x = (x + up(block_input, weight / math.sqrt(weight.shape[1]))) / math.sqrt(2)
        name = f"b{resolution}.to_rgb"
        if name in sites:
            weight = p[f"{base}.to_rgb.weight"]
            style = dense(p, f"{base}.to_rgb.affine", ws[sites[name]])
            weight = weight / math.sqrt(weight.shape[1]) * style[:, None, None]
            rgb = same(x, weight) + p[f"{base}.to_rgb.bias"][:, None, None]
            if image is not None:
                identity = np.eye(len(image))[:, :, None, None]
                rgb = rgb + up(image, identity)
            image = rgb
        resolution *= 2
    assert image is not None
    return image


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("c_dim", [0, 3])
def test_forward_pass_equals_an_independent_one(architecture: Architecture, c_dim: int) -> None:
    config = NetworkConfig(
        resolution=16,
        img_channels=3,
        z_dim=5,
        w_dim=6,
        c_dim=c_dim,
        mapping_layers=3,
        channel_base=64,
        channel_max=7,
        architecture=architecture,
    )
    torch.manual_seed(0)
    generator = Generator(config, SubspaceConfig(mode=0)).double().requires_grad_(False)
    for parameter in generator.parameters():
        parameter.add_(0.3 * torch.randn_like(parameter))  # no bias or noise strength stays 0
    values = {name: value.numpy() for name, value in generator.state_dict().items()}
    random = np.random.RandomState(1)
    z, c = random.randn(3, 5), np.eye(3)[[2, 0, 1]] if c_dim else None
    noise = random.randn(3, sum(noise_sizes(config.sites)))
    w = np.stack([map_one(values, config, z[n], None if c is None else c[n]) for n in range(3)])
    labels = None if c is None else torch.from_numpy(c)
    np.testing.assert_allclose(
        generator.mapping(torch.from_numpy(z), labels).numpy(), w, rtol=1e-9, atol=1e-12
    )
    ws = w[:, None] + random.randn(3, len(config.sites), 6)  # every site has its own style
    expected = np.stack([synthesize_one(values, config, ws[n], noise[n]) for n in range(3)])
    actual = generator.synthesis(torch.from_numpy(ws), None, torch.from_numpy(noise))
    np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-9, atol=1e-9)
    shared = generator.synthesis(torch.from_numpy(ws), None, torch.from_numpy(noise[:1]))
    np.testing.assert_allclose(shared[0].numpy(), expected[0], rtol=1e-9, atol=1e-9)
    silent = generator.synthesis(torch.from_numpy(ws)).numpy()
    expected = synthesize_one(values, config, ws[1], 0 * noise[1])
    np.testing.assert_allclose(silent[1], expected, rtol=1e-9, atol=1e-9)


# Tables.


@pytest.mark.parametrize("resolution", RESOLUTIONS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_tables_of_all_resolutions(resolution: int, architecture: Architecture) -> None:
    """On the meta device, where the 1024² network takes no memory or time."""
    config = NetworkConfig(
        resolution=resolution,
        channel_base=32768,
        channel_max=512,
        w_dim=512,
        architecture=architecture,
    )
    levels = int(math.log2(resolution))
    rgbs = levels - 1 if architecture == "skip" else 1
    assert len(config.sites) == 2 * (levels - 1) - 1 + rgbs
    if architecture == "skip":
        assert len(config.sites) == 2 + 3 * (levels - 2)
    with torch.device("meta"):
        generator = Generator(config, SubspaceConfig())
    sites = generator.synthesis.sites
    named = [pair for block in generator.synthesis.block_list() for pair in block.site_modules()]
    assert [name for name, _ in named] == [site.name for site in sites]
    for (_, module), site in zip(named, sites, strict=True):
        assert 4 << site.layer == site.resolution
        assert (
            site.kind
            == {"conv0": "up", "conv1": "conv", "to_rgb": "rgb"}[site.name.partition(".")[2]]
        )
        below = site.resolution // 2 if site.kind == "up" else site.resolution
        inputs = min(32768 // below, 512)
        outputs = 3 if site.kind == "rgb" else min(32768 // site.resolution, 512)
        size = 1 if site.kind == "rgb" else 3
        assert tuple(module.weight.shape) == (outputs, inputs, size, size)
    assert sites[-1].resolution == resolution
    assert generator.synthesis.num_noise == 16 + 2 * sum(4**n for n in range(3, levels + 1))
    assert generator.synthesis.noise_const().shape == (1, generator.synthesis.num_noise)
    assert len(generator.table) == levels - 1


def test_sites_at_64() -> None:
    sites = build_sites(64)
    assert len(sites) == 14
    assert [site.name for site in sites[:5]] == [
        "b4.conv1", "b4.to_rgb", "b8.conv0", "b8.conv1", "b8.to_rgb",
    ]  # fmt: skip
    assert {site.resolution for site in sites if site.layer == 3} == {32}
    assert noise_sizes(sites)[:5] == (16, 0, 64, 64, 0)


def test_constant_noise_lies_in_site_order() -> None:
    generator = Generator(
        NetworkConfig(resolution=8, channel_base=16, channel_max=2), SubspaceConfig(mode=0)
    )
    values = dict(generator.named_buffers())
    flat = generator.synthesis.noise_const()[0]
    names = ["b4.conv1", "b8.conv0", "b8.conv1"]
    expected = [values[f"synthesis.blocks.{name}.noise_const"].flatten() for name in names]
    assert torch.equal(flat, torch.cat(expected))


# Everything builds and runs.


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("mode", [0, 1, 2, 3])
@pytest.mark.parametrize("kind", ["eigen", "diagonal"])
def test_every_combination_runs(
    architecture: Architecture, mode: Mode, kind: Literal["eigen", "diagonal"]
) -> None:
    for img_channels in (1, 2, 3, 4):
        for c_dim in (0, 3):
            config = NetworkConfig(
                resolution=8,
                img_channels=img_channels,
                z_dim=4,
                w_dim=6,
                c_dim=c_dim,
                mapping_layers=1,
                channel_base=32,
                channel_max=4,
                architecture=architecture,
            )
            generator = Generator(config, SubspaceConfig(mode=mode, kind=kind, dims=2))
            z, c = torch.randn(3, 4), torch.eye(3)[:, :c_dim] if c_dim else None
            rows, dims = generator.coords_shape
            coords = torch.rand(3, rows, dims) if rows else None
            image = generator(z, c, coords, psi=0.5, noise=generator.synthesis.noise_const())
            assert image.shape == (3, img_channels, 8, 8)
            assert bool(image.isfinite().all())
            head = rows * dims if generator.subspace.sampled else 0
            judgement = Discriminator(config, head)(image, c)
            assert judgement.score.shape == (3,)
            assert (judgement.coords is None) == (head == 0)
            if judgement.coords is not None:
                assert judgement.coords.shape == (3, head)
            judgement.score.sum().backward()
            reached = [name for name, p in generator.named_parameters() if p.grad is None]
            assert reached == []


def test_256_runs() -> None:
    config = NetworkConfig(resolution=256, z_dim=4, w_dim=4, channel_base=512, channel_max=8)
    generator = Generator(config, SubspaceConfig(dims=2)).requires_grad_(False)
    coords = generator.sample_coords(1, torch.Generator())
    noise = generator.synthesis.noise_const()
    assert generator(torch.randn(1, 4), None, coords, noise=noise).shape == (1, 3, 256, 256)


def test_first_images_have_unit_scale() -> None:
    """Equalised learning rates: activations of every site have a mean square near 1 at first."""
    torch.manual_seed(0)
    for architecture in ARCHITECTURES:
        config = NetworkConfig(
            resolution=32, channel_base=2048, channel_max=64, architecture=architecture
        )
        generator = Generator(config, SubspaceConfig(mode=0)).requires_grad_(False)
        x = generator.mapping(torch.randn(256, config.z_dim))
        assert 0.5 < x.square().mean().item() < 2
        image = generator(torch.randn(32, config.z_dim))
        assert 0.1 < image.square().mean().item() < 10


# Sizes and costs.


def test_parameters_of_the_paper_preset_at_64() -> None:
    generator = Generator(
        (config := preset("paper", resolution=64, mode=2)).network, config.subspace
    )
    mapping = 8 * (64 * 64 + 64)
    conv = 9 * 128 * 128 + 128 + 1 + (64 * 128 + 128)  # weight, bias, noise strength, affine
    rgb = 3 * 128 + 3 + (64 * 128 + 128)
    synthesis = 128 * 4 * 4 + 9 * conv + 5 * rgb
    subspaces = 5 * (64 * 6 + 6 + 64)  # U, L, μ at the first convolution of five layers
    counted = sum(parameter.numel() for parameter in generator.parameters())
    assert counted == mapping + synthesis + subspaces


def synthesis_macs(config: NetworkConfig) -> int:
    """Multiply-accumulates of the sites' convolutions for one image, FIR filters left out.

    An upsampling site is a transposed convolution: its 3 × 3 weights meet every input pixel once.
    """
    total = 0
    for site in config.sites:
        outputs = min(config.channel_base // site.resolution, config.channel_max)
        below = site.resolution // 2
        if site.kind == "up":
            total += 9 * outputs * min(config.channel_base // below, config.channel_max) * below**2
        elif site.kind == "conv":
            total += 9 * outputs**2 * site.resolution**2
        else:
            total += config.img_channels * outputs * site.resolution**2
    return total


@pytest.mark.parametrize(
    ("resolution", "base", "channels", "gmac"),
    [(64, 16384, 128, 1.0), (256, 16384, 512, 14.9), (1024, 32768, 512, 74.0)],
)
def test_cost_of_synthesis(resolution: int, base: int, channels: int, gmac: float) -> None:
    config = NetworkConfig(resolution=resolution, channel_base=base, channel_max=channels, w_dim=64)
    assert synthesis_macs(config) / 1e9 == pytest.approx(gmac, rel=0.01)
    # What the network really runs, counted operation by operation: filters add a little.
    with torch.device("meta"):
        synthesis = Generator(config, SubspaceConfig(mode=0)).synthesis
        ws = torch.zeros(1, len(config.sites), 64)
        with FlopCounterMode(display=False) as counter:
            synthesis(ws)
    assert counter.get_total_flops() / 2e9 == pytest.approx(gmac, rel=0.04)
