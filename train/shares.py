"""How a batch is divided among processes and micro-batches without changing its gradients.

The only layer that looks across samples is the minibatch standard deviation: of n samples in
groups of g, sample i belongs to group i mod (n / g). So a share is made of whole groups.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from segan.runtime.errors import ConfigError
from segan.train.config import TrainConfig, compares_coordinates


class Division(NamedTuple):
    """The micro-batches of one process, as positions in the batch, int64.

    Attributes:
        batch: of the batch.
        regular: of the smaller batch of G's regularisers; empty where there are none.
        parts: how many there are of each in all processes.
    """

    batch: list[torch.Tensor]
    regular: list[torch.Tensor]
    parts: int


def regular_batch(config: TrainConfig) -> int:
    """Images of a regulariser of G: path lengths, and what coordinates have in common."""
    return max(config.batch_size // config.pl_batch_shrink, 1)


def divide(config: TrainConfig, rank: int, size: int) -> Division:
    """The micro-batches of process ``rank`` of ``size``.

    Raises:
        ConfigError: the batch cannot be divided like that.
    """
    n = config.batch_size
    share = n // size
    micros = -(-share // (config.compute.micro_batch or max(share, 1)))
    parts = size * max(micros, 1)
    mine = slice(rank * micros, (rank + 1) * micros)
    batch = batch_shares(n, parts, config.network.mbstd_group)[mine]
    regular: list[torch.Tensor] = []
    if (config.pl_interval and config.pl_weight > 0) or compares_coordinates(config):
        regular = strided_shares(regular_batch(config), parts)[mine]
    return Division(batch, regular, parts)


def batch_shares(n: int, parts: int, group: int) -> list[torch.Tensor]:
    """Indices of each part's samples, int64 [n / parts], in the order that keeps the groups.

    Args:
        n: samples in the batch.
        parts: processes times micro-batches.
        group: group size of the minibatch standard deviation.

    Raises:
        ConfigError: the groups cannot be divided evenly.
    """
    if parts == 1:
        return [torch.arange(n)]
    if n % (parts * group):
        raise ConfigError(
            f"a batch of {n} cannot be divided into {parts} shares of whole groups of {group} "
            "(the minibatch standard deviation's); expected a batch size that is a multiple of "
            f"{parts * group}. Change --batch-size, --batch-gpu or the number of processes."
        )
    columns = torch.arange(n).view(group, n // group).chunk(parts, dim=1)
    return [part.flatten() for part in columns]


def strided_shares(n: int, parts: int) -> list[torch.Tensor]:
    """Indices of each part's samples where samples do not look at each other.

    Raises:
        ConfigError: n is not a multiple of parts.
    """
    if n % parts:
        raise ConfigError(
            f"the generator's regularisers' batch of {n} (batch_size / pl_batch_shrink) cannot be "
            f"divided into {parts} equal shares. Change --batch-size, --batch-gpu or the number of "
            "processes."
        )
    return [torch.arange(part, n, parts) for part in range(parts)]
