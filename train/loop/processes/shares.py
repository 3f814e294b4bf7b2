"""Division of a batch among processes and micro-batches that does not change its gradients.

The minibatch standard deviation is the only layer that compares samples: of n samples in groups of
g, sample i belongs to group i mod (n / g). Every share therefore consists of whole groups.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from segan.runtime.errors import ConfigError
from segan.train.runs.config import TrainConfig, compares_coordinates


class Division(NamedTuple):
    """The micro-batches of one process, as positions in a batch, int64.

    Attributes:
        batch: positions in the batch, for each micro-batch.
        regular: positions in the smaller batch of G's regularisers; empty without regularisers.
        parts: number of micro-batches of all processes together.
    """

    batch: list[torch.Tensor]
    regular: list[torch.Tensor]
    parts: int


def regular_batch(config: TrainConfig) -> int:
    """Batch size of G's regularisers: path lengths and the Jacobian penalty."""
    return max(config.batch_size // config.pl_batch_shrink, 1)


def divide(config: TrainConfig, rank: int, size: int) -> Division:
    """Return the micro-batches of process ``rank`` of ``size``.

    Raises:
        ConfigError: the batch cannot be divided among so many.
    """
    micros = _micros(config, size)
    parts = size * micros
    mine = slice(rank * micros, (rank + 1) * micros)
    batch = batch_shares(config.batch_size, parts, config.network.mbstd_group)[mine]
    regular: list[torch.Tensor] = []
    if _regularizes(config):
        regular = strided_shares(regular_batch(config), parts)[mine]
    return Division(batch, regular, parts)


def _regularizes(config: TrainConfig) -> bool:
    """Whether G has a regulariser."""
    return (config.pl_interval > 0 and config.pl_weight > 0) or compares_coordinates(config)


def _micros(config: TrainConfig, size: int) -> int:
    """The fewest micro-batches of at most ``micro_batch`` images for each of ``size`` processes.

    Raises:
        ConfigError: every division that keeps the gradients has larger parts.
    """
    n, group, most = config.batch_size, config.network.mbstd_group, config.compute.micro_batch

    def divisible(parts: int) -> bool:
        whole = parts == 1 or n % (parts * group) == 0
        return whole and not (_regularizes(config) and regular_batch(config) % parts)

    share = n // size
    found = [micros for micros in range(1, share + 1) if divisible(size * micros)]
    if most == 0 or not found:  # a batch that the processes cannot share is refused later
        return 1
    fitting = [micros for micros in found if share // micros <= most]
    if not fitting:
        least = share // found[-1]
        raise ConfigError(
            f"`compute.micro_batch` is {most}, but a batch of {n} is divided into whole groups of "
            f"{group if n % group == 0 else n} (for the minibatch standard deviation)",
            field="compute.micro_batch",
            value=most,
            expected=f"{least} or more",
            remedy=f"Pass `compute.micro_batch {least}`.",
        )
    return fitting[0]


def batch_shares(n: int, parts: int, group: int) -> list[torch.Tensor]:
    """Return the indices of each part's samples, int64 [n / parts], in whole groups.

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
            "(for the minibatch standard deviation)",
            field="batch_size",
            value=n,
            expected=f"a multiple of {parts * group}",
            remedy="Change `batch_size` or the number of processes.",
        )
    columns = torch.arange(n).view(group, n // group).chunk(parts, dim=1)
    return [part.flatten() for part in columns]


def strided_shares(n: int, parts: int) -> list[torch.Tensor]:
    """Return the indices of each part's samples where samples are independent.

    Raises:
        ConfigError: n is not a multiple of parts.
    """
    if n % parts:
        raise ConfigError(
            f"the batch of {n} of the generator's regularisers (batch_size / pl_batch_shrink) "
            f"cannot be divided into {parts} equal shares",
            field="batch_size",
            remedy="Change `batch_size` or the number of processes.",
        )
    return [torch.arange(part, n, parts) for part in range(parts)]
