"""The residual discriminator of StyleGAN2, with a head that predicts subspace coordinates."""

from __future__ import annotations

import math
from typing import NamedTuple, cast

import torch
from torch import nn

from segan.train.networks.config import NetworkConfig
from segan.train.networks.stylegan2.layers import (
    Conv2d,
    FullyConnected,
    MinibatchStd,
    normalize_second_moment,
)


class Judgement(NamedTuple):
    """The discriminator's output for a batch.

    Attributes:
        score: realness logits, [N].
        coords: predicted coordinates, flat [N, num_coords]; None without a head.
    """

    score: torch.Tensor
    coords: torch.Tensor | None


class DiscriminatorBlock(nn.Module):
    """Halves the resolution, with a residual path. [N, I, r, r] → [N, O, r/2, r/2]."""

    def __init__(
        self, in_channels: int, out_channels: int, resolution: int, clamp: float | None
    ) -> None:
        super().__init__()
        self.resolution = resolution
        #: Number format of this block's activations; None = its weights'.
        self.reduced: torch.dtype | None = None
        self.conv0 = Conv2d(in_channels, in_channels, 3, activation="lrelu", clamp=clamp)
        self.conv1 = Conv2d(
            in_channels, out_channels, 3, activation="lrelu", resample="down", clamp=clamp
        )
        self.skip = Conv2d(in_channels, out_channels, 1, resample="down", bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the block."""
        x = x.to(self.reduced or self.conv0.weight.dtype)
        gain = math.sqrt(0.5)
        around: torch.Tensor = self.skip(x, gain)
        inner: torch.Tensor = self.conv1(self.conv0(x), gain)
        return around + inner


class Discriminator(nn.Module):
    """image [N, img_channels, R, R], and c [N, c_dim] with classes → ``Judgement``.

    Args:
        config: shapes.
        num_coords: number of coordinates that a head predicts from the last features, for the
            information term; 0 = no head.

    Source: Karras et al. 2020b, Section 4; projection of labels after Miyato and Koyama 2018.
    """

    def __init__(self, config: NetworkConfig, num_coords: int = 0) -> None:
        super().__init__()
        self.c_dim = config.c_dim
        clamp = config.conv_clamp or None
        channels = config.channels(config.resolution)
        self.from_rgb = Conv2d(config.img_channels, channels, 1, activation="lrelu", clamp=clamp)
        self.blocks = nn.ModuleDict()
        resolution = config.resolution
        while resolution > 4:
            below = config.channels(resolution // 2)
            self.blocks[f"b{resolution}"] = DiscriminatorBlock(channels, below, resolution, clamp)
            channels, resolution = below, resolution // 2
        self.mbstd = MinibatchStd(config.mbstd_group)
        self.conv = Conv2d(channels + 1, channels, 3, activation="lrelu", clamp=clamp)
        self.fc = FullyConnected(channels * 16, channels, activation="lrelu")
        # With classes the score is a scaled dot product with the label's embedding.
        self.out = FullyConnected(channels, channels if config.c_dim else 1)
        self.embed = FullyConnected(config.c_dim, channels) if config.c_dim else None
        self.coords = FullyConnected(channels, num_coords) if num_coords else None

    def block_list(self) -> list[DiscriminatorBlock]:
        """Return the blocks from the image's resolution down to 8²."""
        return [cast(DiscriminatorBlock, block) for block in self.blocks.values()]

    def forward(self, image: torch.Tensor, c: torch.Tensor | None = None) -> Judgement:
        """Judge a batch."""
        blocks = self.block_list()
        first = blocks[0].reduced if blocks else None
        x = self.from_rgb(image.to(first or image.dtype))
        for block in blocks:
            x = block(x)
        x = x.to(self.fc.weight.dtype)
        features = self.fc(self.conv(self.mbstd(x)).flatten(1))
        score = self.out(features)
        if self.embed is not None:
            assert c is not None, "a conditional discriminator needs labels"
            label = normalize_second_moment(self.embed(c))
            score = (score * label).sum(1, keepdim=True) / math.sqrt(label.shape[1])
        predicted = None if self.coords is None else self.coords(features)
        return Judgement(score.squeeze(1), predicted)
