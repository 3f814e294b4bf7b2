"""Random generators of the foreign layouts: written as their projects write them, and run eagerly.

The forward passes are the published architectures, restated: grouped convolutions with a weight for
each sample, zero insertion and explicit padding. They share no code with what they check.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import io
import math
import pickle
import re
import sys
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

SOURCE = "raise SystemExit('the source code in a pickle must never run')\n"


def upfirdn(
    x: torch.Tensor, f: torch.Tensor, up: int, before: int, after: int, gain: float
) -> torch.Tensor:
    """Zero insertion, padding (or cropping, where negative), and true convolution with f."""
    n, c, h, w = x.shape
    x = F.pad(x.reshape(n, c, h, 1, w, 1), (0, up - 1, 0, 0, 0, up - 1))
    x = F.pad(x.reshape(n, c, h * up, w * up), (before, after, before, after))
    if f.ndim == 1:
        f = f[:, None] * f[None, :]
    weight = (f * gain).flip(0, 1)[None, None].repeat(c, 1, 1, 1)
    return F.conv2d(x, weight, groups=c)


def modulated(
    x: torch.Tensor, weight: torch.Tensor, s: torch.Tensor, *, demodulate: bool, f: Any = None
) -> torch.Tensor:
    """One grouped convolution with a weight [O, I, k, k] · s for each sample; f doubles."""
    n, into, height, width = x.shape
    out, _, k, _ = weight.shape
    w = weight[None] * s[:, None, :, None, None]
    if demodulate:
        w = w * (w.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8).rsqrt()
    x = x.reshape(1, n * into, height, width)
    if f is None:
        x = F.conv2d(x, w.reshape(n * out, into, k, k), padding=k // 2, groups=n)
        return x.reshape(n, out, height, width)
    w = w.transpose(1, 2).reshape(n * into, out, k, k)
    x = F.conv_transpose2d(x, w, stride=2, groups=n)
    taps = f.shape[0]
    p = taps - 2 - (k - 1)
    x = x.reshape(n, out, *x.shape[2:])
    return upfirdn(x, f, 1, math.floor((p + 1) / 2) + 1, math.floor(p / 2) + 1, 4.0)


def doubled(x: torch.Tensor, f: torch.Tensor) -> torch.Tensor:
    """Doubles an image with the filter f, which sums to 1."""
    p = f.shape[0] - 2
    return upfirdn(x, f, 2, math.floor((p + 1) / 2) + 1, math.floor(p / 2), 4.0)


def lrelu(x: torch.Tensor) -> torch.Tensor:
    return F.leaky_relu(x, 0.2) * math.sqrt(2)


def setup_filter(taps: Any) -> torch.Tensor:
    """As StyleGAN2-ADA stores it: two-dimensional below 8 taps."""
    f = torch.as_tensor(taps, dtype=torch.float32)
    if f.numel() < 8:
        f = torch.outer(f, f)
    return f / f.sum()


# ---- StyleGAN2-ADA ---------------------------------------------------------------------------


class Persistent(nn.Module):
    """Pickles as a class of torch_utils.persistence."""

    class_name = ""

    def __reduce__(self) -> Any:
        meta = {
            "type": "class",
            "version": 6,
            "module_src": SOURCE,
            "class_name": self.class_name,
            "state": self.__dict__,
        }
        return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (meta,), None


def persistent(class_name: str, **attributes: Any) -> Persistent:
    module = Persistent()
    module.class_name = class_name
    for name, value in attributes.items():
        setattr(module, name, value)
    return module


def dense(into: int, out: int, activation: str = "linear", lr: float = 1, bias: float = 0) -> Any:
    layer: Any = persistent("FullyConnectedLayer", activation=activation)
    layer.weight = nn.Parameter(torch.randn(out, into) / lr)
    layer.bias = nn.Parameter(torch.randn(out) * 0.3 / lr + bias)
    layer.weight_gain = lr / np.sqrt(into)  # a numpy number, as there
    layer.bias_gain = lr
    return layer


def make_ada(
    *,
    resolution: int = 16,
    architecture: str = "skip",
    channels: tuple[int, ...] = (12, 9, 6, 5, 4),
    img_channels: int = 3,
    z_dim: int = 10,
    w_dim: int = 8,
    c_dim: int = 0,
    layers: int = 2,
    embed: int | None = None,
    hidden: int | None = None,
    clamp: float | None = None,
    taps: Any = (1, 3, 3, 1),
    use_noise: bool = True,
    w_avg: bool = True,
    lr: float = 0.01,
) -> Any:
    """A random Generator, the tree of modules that StyleGAN2-ADA builds."""
    embed = (embed or w_dim) if c_dim else 0
    widths = [z_dim + embed] + [hidden or w_dim] * (layers - 1) + [w_dim]
    mapping = persistent("MappingNetwork", z_dim=z_dim, c_dim=c_dim, w_dim=w_dim, num_layers=layers)
    if c_dim:
        mapping.embed = dense(c_dim, embed)
    for number in range(layers):
        setattr(mapping, f"fc{number}", dense(widths[number], widths[number + 1], "lrelu", lr))
    if w_avg:
        mapping.register_buffer("w_avg", torch.randn(w_dim) * 0.3)
    synthesis = persistent("SynthesisNetwork", img_resolution=resolution)
    filter_ = setup_filter(taps)

    def site(into: int, out: int, res: int, up: int) -> Any:
        layer = persistent(
            "SynthesisLayer",
            resolution=res,
            up=up,
            use_noise=use_noise,
            activation="lrelu",
            conv_clamp=clamp,
            act_gain=np.sqrt(2),
        )
        layer.register_buffer("resample_filter", filter_.clone())
        layer.affine = dense(w_dim, into, bias=1)
        layer.weight = nn.Parameter(torch.randn(out, into, 3, 3))
        if use_noise:
            layer.register_buffer("noise_const", torch.randn(res, res))
            layer.noise_strength = nn.Parameter(torch.randn([]) * 0.3)
        layer.bias = nn.Parameter(torch.randn(out) * 0.3)
        return layer

    below = 0
    for number in range(resolution.bit_length() - 2):
        res, out = 4 << number, channels[number]
        block = persistent(
            "SynthesisBlock",
            in_channels=below,
            architecture=architecture,
            is_last=res == resolution,
            use_fp16=clamp is not None and res == resolution,
        )
        block.register_buffer("resample_filter", filter_.clone())
        if below:
            block.conv0 = site(below, out, res, 2)
        else:
            block.const = nn.Parameter(torch.randn(out, res, res))
        block.conv1 = site(out, out, res, 1)
        if architecture == "skip" or res == resolution:
            rgb = persistent("ToRGBLayer", conv_clamp=clamp, weight_gain=1 / np.sqrt(out))
            rgb.affine = dense(w_dim, out, bias=1)
            rgb.weight = nn.Parameter(torch.randn(img_channels, out, 1, 1))
            rgb.bias = nn.Parameter(torch.randn(img_channels) * 0.3)
            block.torgb = rgb
        if below and architecture == "resnet":
            skip = persistent(
                "Conv2dLayer",
                activation="linear",
                conv_clamp=None,
                weight_gain=1 / np.sqrt(below),
                bias=None,
            )
            skip.register_buffer("resample_filter", filter_.clone())
            skip.weight = nn.Parameter(torch.randn(out, below, 1, 1))
            block.skip = skip
        setattr(synthesis, f"b{res}", block)
        below = out
    generator = persistent("Generator", z_dim=z_dim, c_dim=c_dim, w_dim=w_dim)
    generator.synthesis, generator.mapping = synthesis, mapping
    return generator.eval().requires_grad_(False)


def _apply(layer: Any, x: Any) -> torch.Tensor:
    x = x @ (layer.weight * float(layer.weight_gain)).t() + layer.bias * layer.bias_gain
    return lrelu(x) if layer.activation == "lrelu" else torch.as_tensor(x)


def _unit(x: torch.Tensor) -> torch.Tensor:
    return x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()


def ada_forward(
    generator: Any, z: torch.Tensor, c: torch.Tensor | None = None, *, psi: float, noise: str
) -> torch.Tensor:
    """Images of a Generator as StyleGAN2-ADA computes them in fp32."""
    mapping, synthesis = generator.mapping, generator.synthesis
    x = _unit(z)
    if generator.c_dim:
        x = torch.cat([x, _unit(_apply(mapping.embed, c))], dim=1)
    for number in range(mapping.num_layers):
        x = _apply(getattr(mapping, f"fc{number}"), x)
    w = mapping.w_avg.lerp(x, psi) if psi != 1 else x

    def convolve(layer: Any, x: torch.Tensor, gain: float = 1.0) -> torch.Tensor:
        f = layer.resample_filter if layer.up == 2 else None
        f = torch.outer(f, f) if f is not None and f.ndim == 1 else f
        x = modulated(x, layer.weight, _apply(layer.affine, w), demodulate=True, f=f)
        if noise == "const" and layer.use_noise:
            x = x + layer.noise_const * layer.noise_strength
        x = lrelu(x + layer.bias[:, None, None]) * gain
        bound = None if layer.conv_clamp is None else layer.conv_clamp * gain
        return x if bound is None else x.clamp(-bound, bound)

    image = None
    for block in synthesis.children():
        residual = block.architecture == "resnet" and block.in_channels
        gain = math.sqrt(0.5) if residual else 1.0
        if block.in_channels:
            before = x
            x = convolve(block.conv0, x)
        else:
            x = block.const[None].repeat(len(z), 1, 1, 1)
        x = convolve(block.conv1, x, gain)
        if residual:
            path = F.conv2d(before, block.skip.weight * float(block.skip.weight_gain))
            x = doubled(path, block.skip.resample_filter) * gain + x
        if image is not None:
            image = doubled(image, block.resample_filter)
        if hasattr(block, "torgb"):
            rgb = block.torgb
            styles = _apply(rgb.affine, w) * float(rgb.weight_gain)
            y = modulated(x, rgb.weight, styles, demodulate=False) + rgb.bias[:, None, None]
            if rgb.conv_clamp is not None:
                y = y.clamp(-rgb.conv_clamp, rgb.conv_clamp)
            image = y if image is None else image + y
    assert isinstance(image, torch.Tensor)
    return image


class EasyDict(dict[str, Any]):
    """Stand-in for dnnlib.util.EasyDict."""


@contextlib.contextmanager
def stand_in_modules() -> Iterator[None]:
    """Modules by which pickle finds the names that it writes."""

    def _reconstruct_persistent_obj(meta: Any) -> Any:
        raise AssertionError("nothing in a pickle may be called")

    persistence = types.ModuleType("torch_utils.persistence")
    _reconstruct_persistent_obj.__module__ = "torch_utils.persistence"
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    persistence._reconstruct_persistent_obj = (  # type: ignore[attr-defined]
        _reconstruct_persistent_obj
    )
    util = types.ModuleType("dnnlib.util")
    EasyDict.__module__, EasyDict.__qualname__ = "dnnlib.util", "EasyDict"
    util.EasyDict = EasyDict  # type: ignore[attr-defined]
    names = {
        "torch_utils": types.ModuleType("torch_utils"),
        "torch_utils.persistence": persistence,
        "dnnlib": types.ModuleType("dnnlib"),
        "dnnlib.util": util,
    }
    before = {name: sys.modules.get(name) for name in names}
    sys.modules.update(names)
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def ada_bytes(generator: Any, *, protocol: int = 4, **more: Any) -> bytes:
    """A network snapshot as StyleGAN2-ADA pickles it."""
    other = persistent("Discriminator")
    other.layer = dense(5, 7)
    with stand_in_modules():
        settings = EasyDict(class_name="training.dataset.ImageFolderDataset", resolution=64)
        snapshot = {"training_set_kwargs": settings, "D": other, "augment_pipe": None}
        return pickle.dumps(snapshot | {"G_ema": generator} | more, protocol)


# ---- rosinality and SEGan_Pytorch -------------------------------------------------------------


def _modulated_state(
    state: dict[str, torch.Tensor], name: str, into: int, out: int, k: int, w_dim: int, key: str
) -> None:
    state[f"{name}.conv.weight"] = torch.randn(1, out, into, k, k)
    state[f"{name}.conv.{key}.weight"] = torch.randn(into, w_dim)
    state[f"{name}.conv.{key}.bias"] = torch.randn(into) * 0.3 + 1


def _styled_state(
    state: dict[str, torch.Tensor], name: str, into: int, out: int, f: Any, w_dim: int, key: str
) -> None:
    _modulated_state(state, name, into, out, 3, w_dim, key)
    if f is not None:
        state[f"{name}.conv.blur.kernel"] = f * 4
    state[f"{name}.noise.weight"] = torch.randn(1) * 0.3
    state[f"{name}.activate.bias"] = torch.randn(out) * 0.3


def make_rosinality(
    *,
    resolution: int = 16,
    channels: tuple[int, ...] = (7, 6, 5, 4, 3),
    w_dim: int = 8,
    layers: int = 3,
    taps: Any = (1, 3, 3, 1),
    noises: bool = True,
) -> dict[str, torch.Tensor]:
    """A random state dictionary of rosinality's Generator."""
    state: dict[str, torch.Tensor] = {}
    f = setup_filter(taps)
    for number in range(1, layers + 1):
        state[f"style.{number}.weight"] = torch.randn(w_dim, w_dim) / 0.01
        state[f"style.{number}.bias"] = torch.randn(w_dim) * 30
    state["input.input"] = torch.randn(1, channels[0], 4, 4)
    _styled_state(state, "conv1", channels[0], channels[0], None, w_dim, "modulation")
    _modulated_state(state, "to_rgb1", channels[0], 3, 1, w_dim, "modulation")
    state["to_rgb1.bias"] = torch.randn(1, 3, 1, 1) * 0.3
    doublings = resolution.bit_length() - 3
    for number in range(doublings):
        into, out = channels[number : number + 2]
        first, second = f"convs.{2 * number}", f"convs.{2 * number + 1}"
        _styled_state(state, first, into, out, f, w_dim, "modulation")
        _styled_state(state, second, out, out, None, w_dim, "modulation")
        name = f"to_rgbs.{number}"
        _modulated_state(state, name, out, 3, 1, w_dim, "modulation")
        state[f"{name}.bias"] = torch.randn(1, 3, 1, 1) * 0.3
        state[f"{name}.upsample.kernel"] = f * 4
    for number in range(2 * doublings + 1 if noises else 0):
        size = 2 ** ((number + 5) // 2)
        state[f"noises.noise_{number}"] = torch.randn(1, 1, size, size)
    return state


def _published_mapping(
    state: dict[str, torch.Tensor], prefix: str, z: torch.Tensor
) -> torch.Tensor:
    x, number = _unit(z), 1
    while f"{prefix}.{number}.weight" in state:
        weight = state[f"{prefix}.{number}.weight"] * (0.01 / math.sqrt(x.shape[1]))
        x = lrelu(x @ weight.t() + state[f"{prefix}.{number}.bias"] * 0.01)
        number += 1
    return x


def _conv(
    state: dict[str, torch.Tensor],
    name: str,
    x: torch.Tensor,
    w: torch.Tensor,
    key: str,
    *,
    demodulate: bool,
) -> torch.Tensor:
    weight = state[f"{name}.conv.weight"][0]
    weight = weight / math.sqrt(weight[0].numel())
    affine = state[f"{name}.conv.{key}.weight"] / math.sqrt(w.shape[1])
    s = w @ affine.t() + state[f"{name}.conv.{key}.bias"]
    kernel = state.get(f"{name}.conv.blur.kernel")
    return modulated(x, weight, s, demodulate=demodulate, f=None if kernel is None else kernel / 4)


def _styled(
    state: dict[str, torch.Tensor],
    name: str,
    x: torch.Tensor,
    w: torch.Tensor,
    key: str,
    noise: Any,
) -> torch.Tensor:
    x = _conv(state, name, x, w, key, demodulate=True)
    if noise is not None:
        x = x + state[f"{name}.noise.weight"] * noise
    return lrelu(x + state[f"{name}.activate.bias"][:, None, None])


def rosinality_forward(
    state: dict[str, torch.Tensor], z: torch.Tensor, mean: torch.Tensor, *, psi: float, noise: str
) -> torch.Tensor:
    """Images of rosinality's Generator; ``mean`` [w_dim], or a row for each row of its latent."""
    w = _published_mapping(state, "style", z)
    doublings = sum(re.fullmatch(r"to_rgbs\.\d+\.bias", name) is not None for name in state)
    rows = mean.reshape(-1, w.shape[1]).expand(2 * doublings + 2, -1)
    latent = rows + psi * (w[:, None] - rows)

    def at(number: int) -> Any:
        return state[f"noises.noise_{number}"] if noise == "const" else None

    key = "modulation"
    x = state["input.input"].repeat(len(z), 1, 1, 1)
    x = _styled(state, "conv1", x, latent[:, 0], key, at(0))
    image = _conv(state, "to_rgb1", x, latent[:, 1], key, demodulate=False) + state["to_rgb1.bias"]
    number = 0
    while f"to_rgbs.{number}.bias" in state:
        for half in range(2):
            row = 2 * number + half
            x = _styled(state, f"convs.{row}", x, latent[:, row + 1], key, at(row + 1))
        name = f"to_rgbs.{number}"
        rgb = (
            _conv(state, name, x, latent[:, 2 * number + 3], key, demodulate=False)
            + state[f"{name}.bias"]
        )
        image = rgb + doubled(image, state[f"{name}.upsample.kernel"] / 4)
        number += 1
    return image


def make_segan_pytorch(
    mode: int, *, resolution: int = 16, channels: tuple[int, ...] = (7, 6, 5, 4, 3), w_dim: int = 6
) -> dict[str, torch.Tensor]:
    """A random state dictionary of the published SEGAN."""
    state: dict[str, torch.Tensor] = {}
    f = setup_filter((1, 3, 3, 1))
    for number in range(1, 9):
        state[f"Mapping.layer.{number}.weight"] = torch.randn(w_dim, w_dim) / 0.01
        state[f"Mapping.layer.{number}.bias"] = torch.randn(w_dim) * 30
    state["Synthesis.const.input"] = torch.randn(1, channels[0], 4, 4)
    for number in range(resolution.bit_length() - 2):
        name, out = f"Synthesis.blocks.{number}", channels[number]
        if number:
            _styled_state(state, f"{name}.conv0", channels[number - 1], out, f, w_dim, "modulate")
        _styled_state(state, f"{name}.conv1", out, out, None, w_dim, "modulate")
        _modulated_state(state, f"{name}.torgb", out, 3, 1, w_dim, "modulate")
        state[f"{name}.torgb.bias"] = torch.randn(1, 3, 1, 1) * 0.3
        if number:
            state[f"{name}.torgb.upsample.kernel"] = f * 4
        widths = [*([out] if number else []), out, 3]
        for row, width in enumerate(widths if mode else []):
            place, r = f"{name}.subspaces.{row}", 4 << number
            state[f"{place}.L"] = torch.randn(w_dim) * 0.3 + 1
            if mode in (1, 2):
                state[f"{place}.U"] = torch.randn(width, r, r, w_dim) * 0.1
                shape = (width, r, r) if mode == 1 else (w_dim,)
                state[f"{place}.mu"] = torch.randn(shape) * 0.3
    return state


def segan_pytorch_forward(
    state: dict[str, torch.Tensor],
    mode: int,
    z: torch.Tensor,
    mean: Any,
    *,
    psi: float,
    noises: Any,
) -> torch.Tensor:
    """Images of the published SEGAN with factor 1; ``noises`` one [r, r] a convolution, or None."""
    w = _published_mapping(state, "Mapping.layer", z)
    w = w if psi == 1 else mean + psi * (w - mean)
    noises = iter(noises) if noises is not None else None
    x = state["Synthesis.const.input"].repeat(len(z), 1, 1, 1)
    image: Any = None
    number = 0

    def style(place: str) -> torch.Tensor:
        if mode == 2:
            t = (state[f"{place}.L"] * w)[:, None, None, None, :] * state[f"{place}.U"][None]
            return t.sum(dim=(1, 2, 3)) + state[f"{place}.mu"]
        return w * state[f"{place}.L"] if mode == 3 else w

    def shifted(x: torch.Tensor, place: str) -> torch.Tensor:
        if mode != 1:
            return x
        t = (state[f"{place}.L"] * w)[:, None, None, None, :] * state[f"{place}.U"][None]
        return x + t.sum(dim=-1) + state[f"{place}.mu"]

    while f"Synthesis.blocks.{number}.torgb.bias" in state:
        name = f"Synthesis.blocks.{number}"
        names = ["conv0", "conv1"] if number else ["conv1"]
        for row, layer in enumerate(names):
            place = f"{name}.subspaces.{row}"
            noise = None if noises is None else next(noises)
            x = _styled(state, f"{name}.{layer}", x, style(place), "modulate", noise)
            x = shifted(x, place)
        place = f"{name}.subspaces.{len(names)}"
        rgb = _conv(state, f"{name}.torgb", x, style(place), "modulate", demodulate=False)
        rgb = rgb + state[f"{name}.torgb.bias"]
        if image is not None:
            rgb = rgb + doubled(image, state[f"{name}.torgb.upsample.kernel"] / 4)
        image = shifted(rgb, place)
        number += 1
    return torch.as_tensor(image)


def checkpoint_bytes(content: dict[str, Any], *, old: bool = False, options: bool = True) -> bytes:
    """``content`` with the optimisers and options that training saves, by torch.save."""
    stream = io.BytesIO()
    moments = {0: {"step": 3, "exp_avg": torch.zeros(4), "exp_avg_sq": torch.zeros(4)}}
    groups = [{"lr": 0.002, "betas": (0.0, 0.99), "params": [0]}]
    content = {
        key: collections.OrderedDict(value) if isinstance(value, dict) else value
        for key, value in content.items()
    }
    content |= {"g_optim": {"state": moments, "param_groups": groups}, "ada_aug_p": 0.0}
    if options:
        content["args"] = argparse.Namespace(size=64, lr=0.002, path="data", mode=2)
    torch.save(content, stream, _use_new_zipfile_serialization=not old)
    return stream.getvalue()
