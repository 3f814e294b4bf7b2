"""Starts a run with the weights of another: on other data, at another resolution, in another mode.

Layers that both networks have are taken over, the rest is drawn from the run's seed. So a generator
grows: trained at 32², it goes on at 64² with one block more in both networks.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import torch

from segan.runtime.errors import ConfigError
from segan.train.checkpoint import GENERATOR, TRAINING, Meta, check_file, read_meta
from segan.train.config import TrainConfig, config_differences
from segan.train.discriminator import Discriminator
from segan.train.generator import Generator
from segan.train.step import TrainingState
from segan.train.tensors import read_tensors

#: Settings by which layers of the same name have the same meaning and shape.
MUST_AGREE = (
    "network.z_dim",
    "network.w_dim",
    "network.mapping_layers",
    "network.channel_base",
    "network.channel_max",
    "network.architecture",
)
_SUBSPACE = re.compile(r"subspaces\.(\d+)\.(.+)")
_BASIS = re.compile(r"synthesis\.bases\.(b\d+)_(\w+)\.")
_GENERATOR_PART = re.compile(r"synthesis\.blocks\.(b\d+)")
_DISCRIMINATOR_PART = re.compile(r"(?:blocks\.)?([a-z_]+\d*)")


class Transfer(NamedTuple):
    """What ``take_weights`` did.

    Attributes:
        meta: of the checkpoint that the weights are from.
        anew: parts that were drawn from the seed, such as ``generator b64`` or ``subspace L4N0``.
    """

    meta: Meta
    anew: tuple[str, ...]


def check_transfer(config: TrainConfig, checkpoint: Path, meta: Meta) -> None:
    """Raises ConfigError where a checkpoint's layers cannot be those of this configuration."""
    differing = [
        text
        for text in config_differences(meta.config, config)
        if text.startswith(tuple(f"{name}:" for name in MUST_AGREE))
    ]
    if differing:
        raise ConfigError(
            f"{checkpoint} has layers of other shapes ({'; '.join(differing)}). Give the preset "
            "and architecture that it was trained with, or leave --initial-checkpoint out."
        )


@torch.no_grad()
def take_weights(state: TrainingState, checkpoint: Path) -> Transfer:
    """Puts the weights of another run's checkpoint into a fresh state.

    Both networks, the moving average, the mean of w and the path lengths' mean are taken; the
    optimisers and all counters start at 0. Subspaces are taken when mode, kind and K agree, with
    the outputs of the discriminator's head that predict them.

    Args:
        state: of a run that has not begun.
        checkpoint: a checkpoint's folder.

    Raises:
        ConfigError: its layers are of other shapes.
        CheckpointError: it is damaged.
    """
    meta = read_meta(checkpoint)
    check_transfer(state.config, checkpoint, meta)
    ema = read_tensors(check_file(checkpoint, meta, GENERATOR))
    training = read_tensors(check_file(checkpoint, meta, TRAINING))
    rows = _same_rows(state.config, meta.config)
    _take_generator(state.ema, ema, rows)
    anew = _take_generator(state.generator, _part(training, "generator."), rows)
    anew += _take_discriminator(
        state.discriminator,
        _part(training, "discriminator."),
        rows,
        state.generator.coords_shape[1],
    )
    state.pl_mean = training["pl_mean"].to(state.device, copy=True)
    return Transfer(meta, tuple(dict.fromkeys(anew)))


def _part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _same_rows(config: TrainConfig, old: TrainConfig) -> dict[int, int]:
    """Rows of the subspace table → the old table's rows of the same site, where they match."""
    new, before = config.subspace, old.subspace
    if (new.mode, new.kind) != (before.mode, before.kind):
        return {}
    place = {
        (old.network.sites[entry.site].name, entry.dims): number
        for number, entry in enumerate(before.table(old.network))
    }
    rows = {
        number: place.get((config.network.sites[entry.site].name, entry.dims))
        for number, entry in enumerate(new.table(config.network))
    }
    return {number: found for number, found in rows.items() if found is not None}


def _take_generator(
    generator: Generator, found: dict[str, torch.Tensor], rows: dict[int, int]
) -> list[str]:
    """Copies what fits; returns the parts that nothing was found for."""
    anew = []
    number = {generator.network.sites[row.site].name: i for i, row in enumerate(generator.table)}
    for name, value in generator.state_dict().items():
        source, part = name, _GENERATOR_PART.match(name)
        subspace, basis = _SUBSPACE.match(name), _BASIS.match(name)
        row = None
        if subspace:
            row = int(subspace[1])
            source = f"subspaces.{rows[row]}.{subspace[2]}" if row in rows else ""
        elif basis:  # mode 1's half of a subspace
            row = number[f"{basis[1]}.{basis[2]}"]
            source = name if row in rows else ""
        if source in found and found[source].shape == value.shape:
            value.copy_(found[source])
        elif row is not None:
            entry = generator.table[row]
            anew.append(f"subspace L{entry.layer}N{entry.index}")
        else:
            anew.append(f"generator {part[1] if part else name.partition('.')[0]}")
    return anew


def _take_discriminator(
    discriminator: Discriminator, found: dict[str, torch.Tensor], rows: dict[int, int], dims: int
) -> list[str]:
    """Copies what fits; of the head, the outputs for the subspaces that were taken."""
    anew = []
    for name, value in discriminator.state_dict().items():
        of_head = name.startswith("coords.")
        if of_head and rows and name in found:
            here, there = (tensor.unflatten(0, (-1, dims)) for tensor in (value, found[name]))
            for row, source in rows.items():
                here[row].copy_(there[source])
        elif not of_head and name in found and found[name].shape == value.shape:
            value.copy_(found[name])
        else:
            part = _DISCRIMINATOR_PART.match(name)
            anew.append(f"discriminator {part[1] if part else name}")
    return anew
