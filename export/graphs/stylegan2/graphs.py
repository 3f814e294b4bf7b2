"""The three networks of a bundle, as the PyTorch modules that are exported.

They compute the same as ``segan.train.networks.stylegan2.generator.Generator``. Everything that
does not depend on the input is computed beforehand in float64: weight gains, the squared weights of
the demodulation, the gain √2 of the leaky ReLU (which is positively homogeneous, so the gain moves
into the terms before it), and the product of basis and importance. Weights of convolutions are
constants; activations are modulated instead, conv(x · s) · d (Karras et al. 2020b, Eq. 1 and 3).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, cast

import torch
import torch.nn.functional as F
from torch import nn

from segan.export.graphs.lowering import Lowering, lower_convolution, lower_upsampling
from segan.train.networks.stylegan2.generator import Generator, SynthesisBlock, SynthesisSite, ToRGB
from segan.train.networks.stylegan2.layers import (
    DEMODULATION_EPS,
    LRELU_GAIN,
    LRELU_SLOPE,
    Conv2d,
    FullyConnected,
    normalize_second_moment,
)
from segan.train.networks.stylegan2.subspace import FeatureBasis


class Dense(nn.Module):
    """A dense layer [N, in] → [N, out] with its gains folded in.

    Args:
        layer: the trained layer; the gain of its activation is folded in too.
    """

    weight: torch.Tensor
    bias: torch.Tensor

    def __init__(self, layer: FullyConnected) -> None:
        super().__init__()
        self.activated = layer.activation == "lrelu"
        gain = LRELU_GAIN if self.activated else 1.0
        self.register_buffer("weight", fold(layer.weight, layer.weight_gain * gain))
        self.register_buffer("bias", fold(layer.bias, layer.bias_gain * gain))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the layer."""
        x = F.linear(x, self.weight, self.bias)
        return F.leaky_relu(x, LRELU_SLOPE) if self.activated else x


class MappingGraph(nn.Module):
    """z [N, z_dim] and, with classes, c [N, c_dim] one-hot → w [N, w_dim]."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        mapping = generator.mapping
        self.embed = Dense(mapping.embed) if mapping.c_dim else None
        layers = (mapping.get_submodule(f"fc{n}") for n in range(mapping.num_layers))
        self.layers = nn.ModuleDict(
            {f"fc{n}": Dense(cast(FullyConnected, layer)) for n, layer in enumerate(layers)}
        )

    def forward(self, z: torch.Tensor, c: torch.Tensor | None = None) -> torch.Tensor:
        """Apply the network."""
        x = normalize_second_moment(z)
        if self.embed is not None:
            assert c is not None, "a conditional mapping network needs labels"
            x = torch.cat([x, normalize_second_moment(self.embed(c))], dim=1)
        for layer in self.layers.values():
            x = layer(x)
        return x


class OffsetsGraph(nn.Module):
    """w [N, num_sites, w_dim], psi [N, num_sites], coords → ws (, shifts in mode 1).

    Truncation comes first: w̄ + ψ (w - w̄). Then all subspaces act in one step, with tables that
    have a row for each site: ws = w ⊙ (factor + slope ⊙ a) + a B + mean. A site without a subspace
    has factor 1 and zeros otherwise. Each mode and kind uses the terms that it needs. Columns of
    coords beyond a subspace's dims are multiplied by zeros.
    """

    w_avg: torch.Tensor
    site_rows: torch.Tensor
    subspace_sites: torch.Tensor
    basis: torch.Tensor
    factor: torch.Tensor
    slope: torch.Tensor
    mean: torch.Tensor
    importance: torch.Tensor

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        config = generator.subspace
        self.mode, self.kind = config.mode, config.kind
        num_sites, w_dim = len(generator.network.sites), generator.network.w_dim
        num_subspaces, self.width = generator.coords_shape
        self.register_buffer("w_avg", generator.w_avg.double())
        if self.mode == 0:
            return
        owner = [entry.site for entry in generator.table]
        assert len(set(owner)) == len(owner), "a site has one subspace at most"
        self.is_everywhere = owner == list(range(num_sites))
        rows = [owner.index(site) if site in owner else 0 for site in range(num_sites)]
        self.register_buffer("site_rows", torch.tensor(rows))
        self.register_buffer("subspace_sites", torch.tensor(owner))
        tables = {
            "basis": torch.zeros(num_sites, self.width, w_dim, dtype=torch.float64),
            "factor": torch.ones(num_sites, w_dim, dtype=torch.float64),
            "slope": torch.zeros(num_sites, w_dim, dtype=torch.float64),
            "mean": torch.zeros(num_sites, w_dim, dtype=torch.float64),
            "importance": torch.zeros(num_subspaces, self.width, dtype=torch.float64),
        }
        for row, (entry, module) in enumerate(
            zip(generator.table, generator.subspaces, strict=True)
        ):
            parts = {name: value.detach().double() for name, value in module.named_parameters()}
            importance, site = parts["importance"], entry.site
            tables["importance"][row, : entry.dims] = importance
            if "basis" in parts:
                tables["basis"][site, : entry.dims] = importance[:, None] * parts["basis"].t()
            elif self.mode != 1:
                scale = parts.get("scale", 1.0) * importance
                tables["slope"][site] = scale
                tables["factor"][site] = scale
            if "mean" in parts:
                tables["mean"][site] = parts["mean"]
        for name, value in tables.items():
            self.register_buffer(name, value)

    def forward(
        self, w: torch.Tensor, psi: torch.Tensor, coords: torch.Tensor | None = None
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Apply truncation and subspaces; ``coords`` [N, num_subspaces, K] except in mode 0."""
        w = self.w_avg + psi.unsqueeze(2) * (w - self.w_avg)
        if self.mode == 0:
            return w
        assert coords is not None, f"mode {self.mode} needs coords"
        if self.mode == 1:
            return w, self._shifts(w, coords)
        if not self.is_everywhere:
            coords = coords.index_select(1, self.site_rows)
        if self.kind == "eigen" and self.mode == 2:
            # [S, N, K] @ [S, K, w_dim]: every site has its own basis.
            return w + torch.matmul(coords.transpose(0, 1), self.basis).transpose(0, 1) + self.mean
        a = coords.narrow(2, 0, w.shape[2]) if self.width > w.shape[2] else coords
        if self.kind == "eigen":
            return w + self.slope * a
        w = w * (self.factor + self.slope * a)
        return w + self.mean if self.mode == 2 else w

    def _shifts(self, w: torch.Tensor, coords: torch.Tensor) -> torch.Tensor:
        if self.kind == "eigen":
            return self.importance * coords
        if not self.is_everywhere:
            w = w.index_select(1, self.subspace_sites)
        return self.importance * (1 + coords) * w


class Plane(nn.Module):
    """Adds mode 1's U t + μ to a feature map or image [N, C, r, r]."""

    basis: torch.Tensor
    mean: torch.Tensor

    def __init__(self, basis: FeatureBasis) -> None:
        super().__init__()
        self.shape, self.dims = tuple(basis.mean.shape), basis.basis.shape[1]
        self.register_buffer("basis", fold(basis.basis))
        self.register_buffer("mean", fold(basis.mean).flatten())

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """t [N, K], K at least this basis's."""
        if t.shape[1] > self.dims:
            t = t.narrow(1, 0, self.dims)
        return x + F.linear(t, self.basis, self.mean).view(-1, *self.shape)


class ConvolutionSite(nn.Module):
    """A modulated 3 × 3 convolution, demodulation, noise, bias and leaky ReLU.

    Args:
        site: the trained site.
        form: form of the upsampling, if the site doubles the resolution.
        gain: gain of the output.
        const: not used in fp32.
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
    ) -> None:
        super().__init__()
        self.clamp = None if site.clamp is None else site.clamp * gain
        gain *= LRELU_GAIN
        weight = fold(site.weight, site.weight_gain)
        self.affine = Dense(site.affine)
        self.convolution: nn.Module | None = None
        if site.up:
            self.convolution = lower_convolution(weight, fold(site.fir), form)
        else:
            self.register_buffer("weight", weight)
        # d · gain = rsqrt((s² Σw² + ε) / gain²)
        power = weight.square().sum(dim=(2, 3)) / gain**2
        self.register_buffer("power", power)
        self.register_buffer("eps", torch.full_like(power[:, 0], DEMODULATION_EPS / gain**2))
        self.register_buffer("bias", fold(site.bias, gain)[None, :, None, None])
        self.register_buffer("noise_strength", fold(site.noise_strength, gain))

    def forward(self, x: torch.Tensor, w: torch.Tensor, noise: torch.Tensor | None) -> torch.Tensor:
        """x [N or 1, I, h, h] under style w [N, w_dim]; noise [M, 1, r, r] or None."""
        styles = self.affine(w)  # [N, I]
        demodulation = F.linear(styles * styles, self.power, self.eps).rsqrt()  # [N, O]
        x = x * per_channel(styles)
        if self.convolution is not None:
            x = self.convolution(x)
        else:
            x = F.conv2d(x, self.weight, padding=1)
        x = x * per_channel(demodulation)
        # Noise and bias are added first: with one noise for the whole batch, that sum is small.
        x = x + (self.bias if noise is None else noise * self.noise_strength + self.bias)
        return bounded(F.leaky_relu(x, LRELU_SLOPE), self.clamp)


class RGBSite(nn.Module):
    """A modulated 1 × 1 convolution to the image's channels."""

    weight: torch.Tensor
    bias: torch.Tensor

    def __init__(self, site: ToRGB) -> None:
        super().__init__()
        self.affine, self.clamp = Dense(site.affine), site.clamp
        self.register_buffer("weight", fold(site.weight, site.weight_gain))
        self.register_buffer("bias", fold(site.bias))

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        """x [N, I, r, r] → [N, img_channels, r, r]."""
        x = F.conv2d(x * per_channel(self.affine(w)), self.weight, self.bias)
        return bounded(x, self.clamp)


class SiteFactory(Protocol):
    """Makes the module of a convolution site; see ``ConvolutionSite``."""

    def __call__(
        self, site: SynthesisSite, form: Lowering, gain: float, const: torch.Tensor | None
    ) -> nn.Module:
        """``const``: the learned constant [C, 4, 4], where that is the site's input."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Factories of the modules of a synthesis graph, for one precision.

    Attributes:
        convolution: makes the module of a 3 × 3 site.
        rgb: makes the module of a to_rgb site.
        plane: makes the module of a mode 1 subspace; the flag says whether it acts on the image.
        around: makes the 1 × 1 path of the residual architecture, from its form and gain.
        const: converts the learned constant [C, 4, 4] to the first site's input, [1, C, 4, 4].
        bound: largest magnitude of a feature map after the sum of the residual architecture.
    """

    convolution: SiteFactory
    rgb: Callable[[ToRGB], nn.Module]
    plane: Callable[[FeatureBasis, bool], nn.Module]
    around: Callable[[Conv2d, Lowering, float], nn.Module]
    const: Callable[[torch.Tensor], torch.Tensor]
    bound: float | None = None


def _around(skip: Conv2d, form: Lowering, gain: float) -> nn.Module:
    return lower_convolution(fold(skip.weight, skip.weight_gain * gain), fold(skip.fir), form)


class BlockGraph(nn.Module):
    """The sites of one resolution, and how their image joins the lower ones'."""

    def __init__(
        self,
        block: SynthesisBlock,
        form: Lowering,
        planes: Mapping[str, nn.Module],
        parts: Parts,
    ) -> None:
        super().__init__()
        name = f"b{block.resolution}"
        # The residual path halves the variance of both branches (Karras et al. 2020b, App. B).
        gain = math.sqrt(0.5) if block.skip is not None else 1.0
        self.around: nn.Module | None = None
        if block.skip is not None:
            self.around = parts.around(block.skip, form, gain)
        self.conv0 = self.to_rgb = self.upsample = None
        if block.conv0 is not None:
            self.conv0 = parts.convolution(block.conv0, form, 1.0, None)
        const = block.const if block.is_first else None
        self.conv1 = parts.convolution(block.conv1, form, gain, const)
        if block.to_rgb is not None:
            self.to_rgb = parts.rgb(block.to_rgb)
            if block.architecture == "skip" and not block.is_first:
                channels = len(block.to_rgb.bias)
                self.upsample = lower_upsampling(channels, fold(block.fir), form)
        self.planes = nn.ModuleDict(
            {site: planes[f"{name}.{site}"] for site in _SITES if f"{name}.{site}" in planes}
        )


_SITES = ("conv0", "conv1", "to_rgb")


def _plane(basis: FeatureBasis, is_image: bool) -> nn.Module:
    return Plane(basis)


def _const(const: torch.Tensor) -> torch.Tensor:
    return fold(const)[None]


FP32 = Parts(convolution=ConvolutionSite, rgb=RGBSite, plane=_plane, around=_around, const=_const)


class SynthesisGraph(nn.Module):
    """ws [N, num_sites, w_dim] (, shifts) (, noise [M, sum]) → image [N, img_channels, R, R].

    Args:
        generator: the trained generator.
        lowering: form of each upsampling site, by name.
        parts: factories of its modules; ``half.parts_of`` has those of half precision.
    """

    const: torch.Tensor

    def __init__(
        self,
        generator: Generator,
        lowering: Mapping[str, Lowering],
        parts: Parts | None = None,
    ) -> None:
        super().__init__()
        parts = parts or FP32
        self.bound = parts.bound
        synthesis = generator.synthesis
        self.sites, self.noise_sizes = synthesis.sites, list(synthesis.noise_sizes)
        self.shift_rows = {synthesis.sites[n].name: row for n, row in synthesis.shift_rows.items()}
        planes = {
            name: parts.plane(
                cast(FeatureBasis, synthesis.bases[name.replace(".", "_")]),
                name.endswith(".to_rgb"),
            )
            for name in self.shift_rows
        }
        blocks = synthesis.block_list()
        self.register_buffer("const", parts.const(blocks[0].const))
        for block in blocks:
            form = lowering.get(f"b{block.resolution}.conv0", "transposed")
            self.add_module(f"b{block.resolution}", BlockGraph(block, form, planes, parts))

    def forward(
        self,
        ws: torch.Tensor,
        shifts: torch.Tensor | None = None,
        noise: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Compute images; see ``segan.train.networks.stylegan2.generator.SynthesisNetwork``."""
        sizes = [size for size in self.noise_sizes if size]
        noises = iter([] if noise is None else torch.split(noise, sizes, 1))
        image: torch.Tensor | None = None
        # One constant for the whole batch: the first style broadcasts it.
        x: torch.Tensor = self.const
        around: torch.Tensor | None = None
        for number, site in enumerate(self.sites):
            kind = site.name.partition(".")[2]
            block = cast(BlockGraph, self.get_submodule(f"b{site.resolution}"))
            w = ws.select(1, number)
            if kind == "to_rgb":
                assert block.to_rgb is not None
                rgb = self._shifted(block, site.name, block.to_rgb(x, w), shifts)
                image = rgb if image is None else cast(nn.Module, block.upsample)(image) + rgb
                continue
            flat = next(noises, None)
            plane = None if flat is None else flat.view(-1, 1, site.resolution, site.resolution)
            if kind == "conv0" and block.around is not None:
                around = block.around(x)
            module = block.get_submodule(kind)
            x = self._shifted(block, site.name, module(x, w, plane), shifts)
            if kind == "conv1" and around is not None:
                x, around = bounded(around + x, self.bound), None
        assert image is not None
        return image

    def _shifted(
        self, block: BlockGraph, name: str, x: torch.Tensor, shifts: torch.Tensor | None
    ) -> torch.Tensor:
        if name not in self.shift_rows:
            return x
        assert shifts is not None, "mode 1 needs shifts"
        plane = block.planes[name.partition(".")[2]]
        return cast(torch.Tensor, plane(x, shifts.select(1, self.shift_rows[name])))


def fold(value: torch.Tensor, gain: float = 1.0) -> torch.Tensor:
    """Return the trained values times ``gain``, in float64."""
    return value.detach().double() * gain


def bounded(x: torch.Tensor, clamp: float | None) -> torch.Tensor:
    """Return x clamped to [-clamp, clamp]; None does not clamp."""
    return x if clamp is None else x.clamp(-clamp, clamp)


def per_channel(value: torch.Tensor) -> torch.Tensor:
    """Reshape [N, C] → [N, C, 1, 1] by one operator that does not contain N."""
    return value.view(-1, value.shape[1], 1, 1)
