"""How a batch is divided among processes and micro-batches without changing its gradients.

The only layer that looks across samples is the minibatch standard deviation: of n samples in
groups of g, sample i belongs to group i mod (n / g). So a share is made of whole groups.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from segan.runtime.errors import ConfigError
from segan.train.runs.config import TrainConfig, compares_coordinates


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
    micros = _micros(config, size)
    parts = size * micros
    mine = slice(rank * micros, (rank + 1) * micros)
    batch = batch_shares(config.batch_size, parts, config.network.mbstd_group)[mine]
    regular: list[torch.Tensor] = []
    if _regularizes(config):
        regular = strided_shares(regular_batch(config), parts)[mine]
    return Division(batch, regular, parts)


def _regularizes(config: TrainConfig) -> bool:
    """Whether G has a regulariser with a batch of its own."""
    return (config.pl_interval > 0 and config.pl_weight > 0) or compares_coordinates(config)


def _micros(config: TrainConfig, size: int) -> int:
    """Micro-batches of each of ``size`` processes: the fewest of at most ``micro_batch`` images.

    Raises:
        ConfigError: every part that keeps the gradients is larger than that.
    """
    n, group, most = config.batch_size, config.network.mbstd_group, config.compute.micro_batch

    def divisible(parts: int) -> bool:
        whole = parts == 1 or n % (parts * group) == 0
        return whole and not (_regularizes(config) and regular_batch(config) % parts)

    share = n // size
    found = [micros for micros in range(1, share + 1) if divisible(size * micros)]
    if most == 0 or not found:  # what cannot be shared by the processes is refused later
        return 1
    fitting = [micros for micros in found if share // micros <= most]
    if not fitting:
        least = share // found[-1]
        raise ConfigError(
            f"--batch-gpu is {most}, but a batch of {n} is divided into whole groups of "
            f"{group if n % group == 0 else n} (the minibatch standard deviation's); expected "
            f"{least} or more. Pass --batch-gpu {least}."
        )
    return fitting[0]


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
            f"{parts * group}. Change --batch-size or the number of processes."
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
            f"divided into {parts} equal shares. Change --batch-size or the number of processes."
        )
    return [torch.arange(part, n, parts) for part in range(parts)]
