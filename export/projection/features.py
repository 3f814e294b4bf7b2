"""Features of images whose squared distance a projection minimises.

With a VGG16 file the distance is LPIPS (Zhang et al. 2018), as in Karras et al. 2020b. Without one
it compares pixels and their gradients at several scales.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F

from segan.runtime.errors import DataError
from segan.train.networks.torchscript import first_line, load_torchscript

#: Larger images are reduced to this size before features are computed, as in Karras et al. 2020b.
MAX_SIDE = 256
_REMEDY = "Give StyleGAN2-ADA's vgg16.pt, or leave `detector` out."


class Features(Protocol):
    """Features of images; ``name`` is their display name."""

    name: str

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Return the features of images [N, C, R, R] in [-1, 1]: [N, F], differentiable."""
        ...


class PixelGradients:
    """Pixels and their differences to the right and below, from full resolution down to 4².

    Every scale has the same weight: the squared distance is the mean over scales of the mean
    squared difference of pixels and of gradients, which are scaled to similar size.
    """

    name = "multi-scale pixels and gradients"

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """See ``Features``."""
        parts = []
        x = _reduced(images)
        scales = max(1, x.shape[-1].bit_length() - 2)
        for _ in range(scales):
            right, below = x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]
            for part, gain in ((x, 1.0), (right, 2.0), (below, 2.0)):
                flat = part.flatten(1)
                parts.append(flat * (gain / math.sqrt(flat.shape[1] * scales)))
            if x.shape[-1] > 4:
                x = F.avg_pool2d(x, 2)
        return torch.cat(parts, 1)


class Vgg16:
    """LPIPS features of a TorchScript file as published with StyleGAN2-ADA (``vgg16.pt``).

    Its forward takes RGB images from 0 to 255, ``resize_images`` and ``return_lpips``.

    Args:
        path: the file.
        device: device that computes the features.

    Raises:
        DataError: the file is missing, or not TorchScript.
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        self.name = f"VGG16 ({path.name})"
        self._path = path
        self._network: Any = load_torchscript(path, device, remedy=_REMEDY)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """See ``Features``."""
        x = _reduced(images)
        if x.shape[1] != 3:
            x = x[:, :3] if x.shape[1] == 4 else x[:, :1].expand(-1, 3, -1, -1)
        try:
            found = self._network(x * 127.5 + 127.5, resize_images=False, return_lpips=True)
        except RuntimeError as error:
            problem = f"{self._path} does not compute LPIPS features ({first_line(error)})"
            raise DataError(problem, field="detector", value=self._path, remedy=_REMEDY) from None
        if not isinstance(found, torch.Tensor) or found.ndim != 2 or len(found) != len(images):
            raise DataError(
                f"{self._path} does not return a tensor [N, F]",
                field="detector",
                value=self._path,
                remedy=_REMEDY,
            )
        return found


def _reduced(images: torch.Tensor) -> torch.Tensor:
    if images.shape[-1] <= MAX_SIDE:
        return images
    return F.interpolate(images, size=(MAX_SIDE, MAX_SIDE), mode="area")
