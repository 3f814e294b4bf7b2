"""The processes that train together: one each GPU, or one alone.

Each computes gradients on its share of the batch; their sum is the whole batch's gradient, and
every process takes the same optimiser step. Plain torch.distributed: one all-reduce per phase over
one flat buffer. What wraps a module to overlap communication (DDP, Fabric, Accelerate) expects one
forward and one backward per step, which a GAN's four phases with second derivatives are not.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist


class World:
    """The group of processes.

    Attributes:
        rank: this process, from 0.
        size: how many there are.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and talks to the user."""
        return self.rank == 0

    def sum_(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replaces tensors by their sums over all processes, which hold them in the same order."""
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        start = 0
        for tensor in tensors:
            end = start + tensor.numel()
            tensor.detach().copy_(flat[start:end].view(tensor.shape))
            start = end

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum of a tensor over all processes; the tensor itself stays."""
        total = tensor.clone()
        self.sum_([total])
        return total


#: One process alone.
ALONE = World()
