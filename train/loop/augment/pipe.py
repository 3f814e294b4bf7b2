"""Discriminator augmentation: drawing parameters for each image, and applying them.

All images that D sees, real or generated, in the steps of D and of G, go through the same pipeline,
so G learns to match the data and not its augmentation. Drawing and applying are separate:
parameters are drawn for the whole batch, and ``take`` gives each device its share, so an image does
not depend on the division of the batch. Source: Karras et al. 2020a, Appendix B; the three groups
are its best set, "bgc".
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from segan.runtime.errors import ConfigError
from segan.train.loop.augment.color import Color, draw_color, recolor
from segan.train.loop.augment.geometry import GatedDraws, Geometry, draw_geometry
from segan.train.loop.augment.warp import supersampling_kernel, transform
from segan.train.runs.config import AugmentConfig


class AugmentParameters(NamedTuple):
    """The transformations of n images."""

    geometry: torch.Tensor  # [n, 3, 3], from the result's points to the input's
    blit: torch.Tensor  # [n] bool: whether geometry only moves whole pixels, or nothing
    color: torch.Tensor  # [n, 4, 4], on (red, green, blue, 1)
    same_color: torch.Tensor  # [n] bool: whether color changes nothing

    def take(self, index: slice | torch.Tensor) -> AugmentParameters:
        """Return the parameters of some of the n images, by a slice, indices or a mask."""
        return AugmentParameters(*(part[index] for part in self))

    def to(self, device: torch.device) -> AugmentParameters:
        """Return the parameters on another device."""
        return AugmentParameters(*(part.to(device) for part in self))


class AugmentPipe(nn.Module):
    """Augments images for the discriminator; has no weights and no state to save.

    Args:
        config: the active groups; its mode and probability are not used here.
        resolution: height and width R of an image, 8 or more.
        img_channels: 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA.
    """

    kernel: torch.Tensor

    def __init__(self, config: AugmentConfig, resolution: int, img_channels: int) -> None:
        super().__init__()
        self.config, self.resolution, self.img_channels = config, resolution, img_channels
        self.register_buffer("kernel", supersampling_kernel(), persistent=False)

    def forward(
        self, images: torch.Tensor, p: torch.Tensor | float, random: torch.Generator
    ) -> torch.Tensor:
        """Draw parameters and apply them.

        An image without a transformation is returned bit for bit, and with p = 0 all are; if p is a
        number, that takes no time.

        Args:
            images: [N, C, R, R] float32 in about [-1, 1]; the result may leave that range.
            p: probability of each transformation, 0 to 1, a number or a scalar tensor.
            random: the stream, on the images' device. The number of draws does not depend on p.

        Raises:
            ConfigError: p out of range (a tensor is not checked), or images of another shape.
        """
        parameters = self.draw(images.shape[0], p, random)
        self._check(images, parameters)
        if not torch.is_tensor(p) and p == 0:
            return images
        return self.apply_to(images, parameters)

    def draw(self, n: int, p: torch.Tensor | float, random: torch.Generator) -> AugmentParameters:
        """Draw parameters for n images, on the device of ``random``; p as for ``forward``.

        Raises:
            ConfigError: p out of range (a tensor is not checked).
        """
        device = random.device
        if not torch.is_tensor(p):
            if not 0 <= p <= 1:
                raise ConfigError(field="p", value=p, expected="a probability, 0 to 1")
            p = torch.full((), p, device=device)
        p = p.detach().to(device, torch.float32)
        never = torch.zeros_like(p)
        config, draws = self.config, GatedDraws(n, random)
        geometry = draw_geometry(
            draws,
            p if config.pixel else never,
            p if config.geometric else never,
            self.resolution,
        )
        color = draw_color(
            draws,
            p if config.color else never,
            chroma=p if config.color and self.img_channels >= 3 else never,
        )
        return AugmentParameters(*geometry, *color)

    def apply_to(self, images: torch.Tensor, parameters: AugmentParameters) -> torch.Tensor:
        """Apply drawn parameters; can be differentiated by the images, twice.

        Args:
            images: [N, C, R, R] float32 (or float64), in any memory format, which the result keeps.
            parameters: of N images; on the images' device.

        Raises:
            ConfigError: images of another shape, or of another number.
        """
        self._check(images, parameters)
        result = images
        with torch.autocast(images.device.type, enabled=False):
            if self.config.pixel or self.config.geometric:
                geometry = Geometry(parameters.geometry, parameters.blit)
                result = transform(result, geometry, self.kernel)
            if self.config.color:
                result = recolor(result, Color(parameters.color, parameters.same_color))
        if images.is_contiguous(memory_format=torch.channels_last):
            result = result.contiguous(memory_format=torch.channels_last)
        return result

    def _check(self, images: torch.Tensor, parameters: AugmentParameters) -> None:
        n = parameters.geometry.shape[0]
        expected = [n, self.img_channels, self.resolution, self.resolution]
        if list(images.shape) != expected:
            raise ConfigError(
                f"images are {list(images.shape)}",
                field="images",
                value=list(images.shape),
                expected=str(expected),
            )
