"""Checks that the processes of a run agree: in settings at the start, in weights at each tick."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from segan.runtime.errors import ConfigError, RankError
from segan.train.data.dataset import ImageDataset
from segan.train.loop.processes.world import World
from segan.train.runs.checkpoint import read_meta
from segan.train.runs.config import TrainConfig, flat_settings
from segan.train.runs.versions import versions


def check_same_start(
    world: World,
    config: TrainConfig,
    dataset: ImageDataset,
    device: torch.device,
    checkpoint: Path | None,
) -> None:
    """Compare settings, versions, data and devices of the processes before they train.

    Args:
        world: the processes.
        config: all settings are compared.
        dataset: its name and fingerprint are compared.
        device: its type is compared; no two processes may have the same GPU.
        checkpoint: where the run continues; its name and weights are compared.

    Raises:
        ConfigError: in all processes, naming the first process that differs from rank 0, and how.
    """
    if world.size == 1:
        return
    facts: dict[str, Any] = {
        "device": device.type,
        "checkpoint": None if checkpoint is None else checkpoint.name,
        "data": f"{dataset.name}, sha256 {dataset.fingerprint[:16]}",
    }
    if checkpoint is not None:
        facts["weights of the checkpoint"] = f"sha256 {read_meta(checkpoint).sha256[:16]}"
    facts |= flat_settings(config) | {f"version of {k}": v for k, v in versions().items()}
    everybody = world.gather([facts, _gpu(device)])
    first = everybody[0][0]
    for rank, (theirs, _) in enumerate(everybody):
        names = [*first, *(theirs.keys() - first.keys())]
        different = [name for name in names if theirs.get(name) != first.get(name)]
        if different:
            shown = "; ".join(
                f"{name} is {theirs.get(name)} on rank {rank} and {first.get(name)} on rank 0"
                for name in different[:3]
            )
            more = f"; and {len(different) - 3} more" if len(different) > 3 else ""
            raise world.reported_by(
                0,
                ConfigError(
                    f"the {world.size} processes disagree: {shown}{more}",
                    field=different[0],
                    value=theirs.get(different[0]),
                    remedy="Start all of them with the same command, versions and files.",
                ),
            )
    owners: dict[str, int] = {}
    for rank, (_, gpu) in enumerate(everybody):
        if gpu is not None and owners.setdefault(gpu, rank) != rank:
            raise world.reported_by(
                0,
                ConfigError(
                    f"ranks {owners[gpu]} and {rank} would train on the same GPU ({gpu})",
                    field="device",
                    value=gpu,
                    expected="one process for each GPU",
                    remedy="Start fewer processes, or set CUDA_VISIBLE_DEVICES for each.",
                ),
            )


def _gpu(device: torch.device) -> str | None:
    """A name of the GPU that is unique among all machines; None for a CPU."""
    if device.type != "cuda":
        return None
    properties = torch.cuda.get_device_properties(device)
    return str(getattr(properties, "uuid", "")) or None


def check_same_state(world: World, tensors: Mapping[str, torch.Tensor], step: int) -> None:
    """Compare the training state of the processes by checksums over all bits.

    Args:
        world: the processes.
        tensors: the state by name.
        step: steps done.

    Raises:
        RankError: in all processes, naming the first tensor that differs.
    """
    if world.size == 1:
        return
    mine = torch.stack([checksum(value) for value in tensors.values()]).tolist()
    everybody = world.gather(mine)
    for rank, theirs in enumerate(everybody):
        different = [
            name
            for name, one, other in zip(tensors, everybody[0], theirs, strict=True)
            if one != other
        ]
        if different:
            raise world.reported_by(
                0,
                RankError(
                    f"after step {step} {different[0]} of rank {rank} differs from that of rank 0 "
                    f"({len(different)} of {len(tensors)} tensors differ), so nothing was saved",
                    field=different[0],
                    value=rank,
                    remedy="A fault of memory, network or driver is the usual cause: check the "
                    "machine of this rank.",
                ),
            )


def checksum(tensor: torch.Tensor) -> torch.Tensor:
    """Return two sums over a tensor's bits, [2] int64: plain, and weighted by position.

    Sums of integers depend on no order and round nothing. As in Fletcher's checksum, the second
    sum detects exchanged values.
    """
    bits = tensor.detach().reshape(-1).contiguous().view(torch.uint8)
    wide = bits.view(torch.int32).long() if bits.numel() % 4 == 0 else bits.long()
    place = torch.arange(1, len(wide) + 1, device=wide.device)
    return torch.stack([wide.sum(), (wide * place).sum()])
