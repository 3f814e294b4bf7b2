"""The generator: mapping network, subspaces, and the StyleGAN2 synthesis network."""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from segan.runtime.bundle.layout import Architecture, noise_sizes
from segan.train.networks.config import NetworkConfig, SubspaceConfig
from segan.train.networks.stylegan2.layers import (
    Conv2d,
    FullyConnected,
    lrelu,
    modulated_conv2d,
    normalize_second_moment,
    out_of,
)
from segan.train.networks.stylegan2.resample import fir_kernel, upsample2d
from segan.train.networks.stylegan2.subspace import (
    DiagonalShift,
    EigenOffset,
    EigenShift,
    FeatureBasis,
    StyleSubspace,
    build_style_subspaces,
)

#: Learning rate of the mapping network relative to the rest (Karras et al. 2019, Appendix C).
MAPPING_LR_MULTIPLIER = 0.01


class MappingNetwork(nn.Module):
    """z [N, z_dim] and, with classes, c [N, c_dim] one-hot → w [N, w_dim].

    Source: Karras et al. 2019, Section 2; label embedding as in Karras et al. 2020a's code.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.c_dim = config.c_dim
        width = config.z_dim
        if config.c_dim:
            self.embed = FullyConnected(config.c_dim, config.w_dim)
            width += config.w_dim
        for number in range(config.mapping_layers):
            layer = FullyConnected(
                width, config.w_dim, activation="lrelu", lr_multiplier=MAPPING_LR_MULTIPLIER
            )
            self.add_module(f"fc{number}", layer)
            width = config.w_dim
        self.num_layers = config.mapping_layers

    def forward(self, z: torch.Tensor, c: torch.Tensor | None = None) -> torch.Tensor:
        """Apply the network."""
        x = normalize_second_moment(z)
        if self.c_dim:
            assert c is not None, "a conditional mapping network needs labels"
            x = torch.cat([x, normalize_second_moment(self.embed(c))], dim=1)
        for number in range(self.num_layers):
            x = self.get_submodule(f"fc{number}")(x)
        return x


class SynthesisSite(nn.Module):
    """One modulated 3 × 3 convolution with noise, bias and leaky ReLU.

    Args:
        in_channels: input channels.
        out_channels: output channels.
        resolution: of the output.
        w_dim: width of the style vector.
        up: whether the resolution doubles.
        clamp: bound of the output's magnitude, before ``gain``; None = no bound.
    """

    fir: torch.Tensor
    noise_const: torch.Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        resolution: int,
        w_dim: int,
        *,
        up: bool,
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.up, self.resolution, self.clamp = up, resolution, clamp
        self.affine = FullyConnected(w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.weight_gain = 1 / math.sqrt(in_channels * 9)
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.register_buffer("noise_const", torch.randn(resolution, resolution))
        self.register_buffer("fir", fir_kernel(), persistent=False)

    def forward(
        self, x: torch.Tensor, w: torch.Tensor, noise: torch.Tensor | None, gain: float = 1.0
    ) -> torch.Tensor:
        """Convolve x [N, I, H, W] with style w [N, w_dim]; noise [N or 1, r, r] or None."""
        x = modulated_conv2d(
            x,
            self.weight * self.weight_gain,
            self.affine(w),
            fir_up=self.fir if self.up else None,
        )
        if noise is not None:
            strong = (noise[:, None] * self.noise_strength).to(x.dtype)
            x = torch.add(x, strong, out=out_of(x))
        bias = self.bias.to(x.dtype)
        x = lrelu(torch.add(x, bias[:, None, None], out=out_of(x)), gain)
        if self.clamp is None:
            return x
        return torch.clamp(x, -self.clamp * gain, self.clamp * gain, out=out_of(x))


class ToRGB(nn.Module):
    """Modulated 1 × 1 convolution to the image's channels, without demodulation.

    Attributes:
        clamp: see ``SynthesisSite``.
    """

    def __init__(
        self, in_channels: int, img_channels: int, w_dim: int, clamp: float | None = None
    ) -> None:
        super().__init__()
        self.affine = FullyConnected(w_dim, in_channels, bias_init=1.0)
        self.clamp = clamp
        self.weight = nn.Parameter(torch.randn(img_channels, in_channels, 1, 1))
        self.weight_gain = 1 / math.sqrt(in_channels)
        self.bias = nn.Parameter(torch.zeros(img_channels))

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        """Convolve x [N, I, r, r] to [N, img_channels, r, r]."""
        x = modulated_conv2d(x, self.weight * self.weight_gain, self.affine(w), demodulate=False)
        x = x + self.bias.to(x.dtype)[:, None, None]
        return x if self.clamp is None else x.clamp(-self.clamp, self.clamp)


class SynthesisBlock(nn.Module):
    """The sites of one resolution.

    The architecture ``skip`` sums the images of all layers, ``residual`` adds a 1 × 1 path around
    the convolutions, ``original`` does neither (Karras et al. 2020b, Figure 7).
    """

    fir: torch.Tensor

    def __init__(self, config: NetworkConfig, resolution: int) -> None:
        super().__init__()
        self.resolution = resolution
        #: Number format of this block's activations in training; None = its input's.
        self.reduced: torch.dtype | None = None
        self.architecture: Architecture = config.architecture
        out = config.channels(resolution)
        clamp = config.conv_clamp or None
        self.is_first = resolution == 4
        self.conv0: SynthesisSite | None = None
        self.skip: Conv2d | None = None
        if self.is_first:
            self.const = nn.Parameter(torch.randn(out, 4, 4))
        else:
            below = config.channels(resolution // 2)
            self.conv0 = SynthesisSite(below, out, resolution, config.w_dim, up=True, clamp=clamp)
            if self.architecture == "residual":
                self.skip = Conv2d(below, out, 1, resample="up", bias=False)
        self.conv1 = SynthesisSite(out, out, resolution, config.w_dim, up=False, clamp=clamp)
        has_rgb = self.architecture == "skip" or resolution == config.resolution
        self.to_rgb = ToRGB(out, config.img_channels, config.w_dim, clamp) if has_rgb else None
        self.register_buffer("fir", fir_kernel(), persistent=False)

    def site_modules(self) -> list[tuple[str, SynthesisSite | ToRGB]]:
        """Return this block's sites in synthesis order, named as in the site table."""
        named: list[tuple[str, SynthesisSite | ToRGB]] = []
        if self.conv0 is not None:
            named.append((f"b{self.resolution}.conv0", self.conv0))
        named.append((f"b{self.resolution}.conv1", self.conv1))
        if self.to_rgb is not None:
            named.append((f"b{self.resolution}.to_rgb", self.to_rgb))
        return named


class SynthesisNetwork(nn.Module):
    """ws [N, num_sites, w_dim] → image [N, img_channels, R, R], nominally in [-1, 1]."""

    def __init__(self, config: NetworkConfig, subspace: SubspaceConfig) -> None:
        super().__init__()
        self.sites = config.sites
        self.noise_sizes = noise_sizes(self.sites)
        self.blocks = nn.ModuleDict(
            {
                f"b{4 << layer}": SynthesisBlock(config, 4 << layer)
                for layer in range(self.sites[-1].layer + 1)
            }
        )
        #: Row of ``shifts`` for each site number that has a feature basis (mode 1).
        self.shift_rows: dict[int, int] = {}
        self.bases = nn.ModuleDict()
        if subspace.mode == 1:
            for row, entry in enumerate(subspace.table(config)):
                site = self.sites[entry.site]
                is_rgb = site.kind == "rgb"
                channels = config.img_channels if is_rgb else config.channels(site.resolution)
                self.shift_rows[entry.site] = row
                self.bases[site.name.replace(".", "_")] = FeatureBasis(
                    channels, site.resolution, entry.dims
                )

    @property
    def num_noise(self) -> int:
        """Number of values of the flat noise input."""
        return sum(self.noise_sizes)

    def noise_sites(self) -> list[SynthesisSite]:
        """The sites that add noise, in synthesis order."""
        return [
            module
            for block in self.block_list()
            for _, module in block.site_modules()
            if isinstance(module, SynthesisSite)
        ]

    def noise_const(self) -> torch.Tensor:
        """Return the constant noise of all sites, flat: [1, num_noise]."""
        return torch.cat([site.noise_const.flatten() for site in self.noise_sites()])[None]

    def block_list(self) -> list[SynthesisBlock]:
        """Return the blocks from 4² up."""
        return [cast(SynthesisBlock, block) for block in self.blocks.values()]

    def forward(
        self,
        ws: torch.Tensor,
        shifts: torch.Tensor | None = None,
        noise: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return images [N, img_channels, R, R].

        Args:
            ws: one style vector for each site, [N, num_sites, w_dim].
            shifts: mode 1's scaled coordinates, [N, num_subspaces, K].
            noise: [1 or N, num_noise], the sites' noise images one after another; None = none.
        """
        noises = (
            [None] * len(self.sites) if noise is None else list(noise.split(self.noise_sizes, 1))
        )
        number = 0
        x = torch.zeros(())
        image: torch.Tensor | None = None

        def convolve(module: SynthesisSite, x: torch.Tensor, gain: float = 1.0) -> torch.Tensor:
            nonlocal number
            flat, res = noises[number], module.resolution
            plane = None if flat is None else flat.unflatten(1, (res, res))
            x = self._shifted(number, module(x, ws[:, number], plane, gain), shifts)
            number += 1
            return x

        for block in self.block_list():
            # The residual path halves the variance of both branches (Karras et al. 2020b, App. B).
            gain = math.sqrt(0.5) if block.skip is not None else 1.0
            if block.is_first:
                x = block.const[None].expand(len(ws), -1, -1, -1)
            if block.reduced is not None:
                x = x.to(block.reduced)
            around = None if block.skip is None else block.skip(x, gain)
            if block.conv0 is not None:
                x = convolve(block.conv0, x)
            x = convolve(block.conv1, x, gain)
            if around is not None:
                x = around + x
            if block.to_rgb is not None:
                rgb = self._shifted(number, block.to_rgb(x, ws[:, number]).to(ws.dtype), shifts)
                image = rgb if image is None else upsample2d(image, block.fir) + rgb
                number += 1
        assert image is not None
        return image

    def _shifted(self, number: int, x: torch.Tensor, shifts: torch.Tensor | None) -> torch.Tensor:
        if number not in self.shift_rows:
            return x
        assert shifts is not None, "mode 1 needs shifts"
        basis = cast(FeatureBasis, self.bases[self.sites[number].name.replace(".", "_")])
        t = shifts[:, self.shift_rows[number], : basis.basis.shape[1]]
        return cast(torch.Tensor, basis(x, t))


class Generator(nn.Module):
    """The generator: mapping, subspaces and synthesis, with the tracked mean w̄.

    Args:
        network: shapes.
        subspace: subspaces.

    Attributes:
        network: as given.
        subspace: as given.
        table: the subspaces in site order, the rows of ``coords``.
        w_avg: w̄, [w_dim].
    """

    w_avg: torch.Tensor

    def __init__(self, network: NetworkConfig, subspace: SubspaceConfig) -> None:
        super().__init__()
        self.network, self.subspace = network, subspace
        self.table = subspace.table(network)
        self.mapping = MappingNetwork(network)
        self.subspaces = build_style_subspaces(network, subspace)
        self.synthesis = SynthesisNetwork(network, subspace)
        self.register_buffer("w_avg", torch.zeros(network.w_dim))

    @property
    def coords_shape(self) -> tuple[int, int]:
        """Rows and columns of ``coords``: (num_subspaces, K); (0, 0) in mode 0."""
        return len(self.table), max((row.dims for row in self.table), default=0)

    def eigen_bases(self) -> list[torch.Tensor]:
        """Return the bases U [rows, K] for the orthonormality penalty."""
        if self.subspace.kind != "eigen":
            return []
        found: list[torch.Tensor] = [
            module.basis for module in self.subspaces if isinstance(module, EigenOffset)
        ]
        found += [
            module.basis
            for module in self.synthesis.bases.values()
            if isinstance(module, FeatureBasis) and module.basis.shape[0] >= module.basis.shape[1]
        ]
        return found

    def broadcast(self, w: torch.Tensor) -> torch.Tensor:
        """Repeat w [N, w_dim] for each site: [N, num_sites, w_dim]."""
        return w[:, None].expand(-1, len(self.network.sites), -1)

    def truncate(self, w: torch.Tensor, psi: torch.Tensor) -> torch.Tensor:
        """Return w̄ + ψ (w - w̄) for w [N, num_sites, w_dim] and psi [N, num_sites]."""
        return self.w_avg + psi[:, :, None] * (w - self.w_avg)

    def offsets(
        self, w: torch.Tensor, coords: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Apply the subspaces to the sites' w.

        Args:
            w: [N, num_sites, w_dim], after truncation.
            coords: [N, num_subspaces, K]; None = all 0.

        Returns:
            ws [N, num_sites, w_dim], and in mode 1 the shifts [N, num_subspaces, K].
        """
        if coords is None:
            coords = w.new_zeros(len(w), *self.coords_shape)
        rows = list(w.unbind(1))
        shifts = []
        for number, entry in enumerate(self.table):
            module = cast(StyleSubspace, self.subspaces[number])
            a = coords[:, number, : entry.dims]
            if isinstance(module, EigenShift | DiagonalShift):
                t = module.shift(rows[entry.site], a)
                shifts.append(F.pad(t, (0, self.coords_shape[1] - entry.dims)))
            else:
                rows[entry.site] = module(rows[entry.site], a)
        return torch.stack(rows, 1), torch.stack(shifts, 1) if shifts else None

    def forward(
        self,
        z: torch.Tensor,
        c: torch.Tensor | None = None,
        coords: torch.Tensor | None = None,
        *,
        psi: torch.Tensor | float = 1.0,
        noise: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return images [N, img_channels, R, R], nominally in [-1, 1].

        Args:
            z: input latents, [N, z_dim].
            c: one-hot labels [N, c_dim], for a conditional generator.
            coords: subspace coordinates [N, num_subspaces, K]; None = all 0.
            psi: truncation strength, a number or [N, num_sites]; 1 = off.
            noise: [1 or N, num_noise]; None = none.
        """
        w = self.broadcast(self.mapping(z, c))
        if isinstance(psi, torch.Tensor) or psi != 1.0:
            w = self.truncate(
                w, torch.as_tensor(psi, dtype=w.dtype, device=w.device).expand(w.shape[:2])
            )
        ws, shifts = self.offsets(w, coords)
        return cast(torch.Tensor, self.synthesis(ws, shifts, noise))

    def sample_coords(self, n: int, random: torch.Generator) -> torch.Tensor | None:
        """Draw coordinates from the prior: [n, num_subspaces, K]; None where training has none."""
        if not self.subspace.sampled:
            return None
        shape = (n, *self.coords_shape)
        device = self.w_avg.device
        if self.subspace.prior == "uniform":
            unit = torch.rand(shape, generator=random, device=device)
            return (unit * 2 - 1) * math.sqrt(3.0)
        return torch.randn(shape, generator=random, device=device)
