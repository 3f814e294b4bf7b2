"""Random parameters that take the identity's value where a transformation is not applied.

Every transformation is applied to each image on its own with a probability below 1. The share of
untouched images is what lets G tell the data from its augmentation: it does not leak into the
generated images (Karras et al. 2020a, Section 2.2).
"""

from __future__ import annotations

import torch


class GatedDraws:
    """Parameters for n images: drawn, then 0 in the images that are not transformed.

    Each method draws the gates and the values whatever the probability is, so that a stream goes
    on from the same place after any of them.

    Args:
        n: images.
        random: the stream; the results are on its device.
    """

    def __init__(self, n: int, random: torch.Generator) -> None:
        self.n, self.random = n, random

    def uniform(self, p: torch.Tensor, end: float, size: int = 1) -> torch.Tensor:
        """U(-end, end) with probability ``p`` (a scalar), else 0: [n, size] float32."""
        gate = self._gate(p)
        return torch.where(gate, (self._rand(size) * 2 - 1) * end, 0.0)

    def normal(self, p: torch.Tensor, std: float, size: int = 1) -> torch.Tensor:
        """N(0, std²) with probability ``p`` (a scalar), else 0: [n, size] float32."""
        gate = self._gate(p)
        values = torch.randn(self.n, size, generator=self.random, device=self.random.device)
        return torch.where(gate, values * std, 0.0)

    def choice(self, p: torch.Tensor, count: int) -> torch.Tensor:
        """0 … count - 1, equally likely, with probability ``p`` (a scalar), else 0: [n] int64."""
        gate = self._gate(p)
        # rand's largest value times count may round up to count.
        values = (self._rand(1) * count).long().clamp(max=count - 1)
        return torch.where(gate, values, 0)[:, 0]

    def _gate(self, p: torch.Tensor) -> torch.Tensor:
        return self._rand(1) < p  # rand lies in [0, 1): 0 is never, 1 is always

    def _rand(self, size: int) -> torch.Tensor:
        return torch.rand(self.n, size, generator=self.random, device=self.random.device)
