"""Runs that start with another run's weights: on other data, resolution or mode.

Layers that both runs have are copied, the others are drawn from the run's seed. A generator trained
at 32² can so continue at 64², with one more block in both networks.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import msgspec
import torch

from segan.runtime.errors import CheckpointError, ConfigError
from segan.train.loop.step import TrainingState
from segan.train.networks.family import build
from segan.train.networks.stylegan2.discriminator import Discriminator
from segan.train.networks.stylegan2.generator import Generator
from segan.train.runs.checkpoint import GENERATOR, TRAINING, Meta, check_file, read_meta
from segan.train.runs.config import TrainConfig, config_differences, show_differences
from segan.train.runs.tensors import matching_state, read_tensors

#: Settings that must agree, in addition to the channels, so that layers of one name have one shape.
MUST_AGREE = (
    "network.z_dim",
    "network.w_dim",
    "network.mapping_layers",
    "network.architecture",
)
_SUBSPACE = re.compile(r"subspaces\.(\d+)\.(.+)")
_BASIS = re.compile(r"synthesis\.bases\.(b\d+)_(\w+)\.")
_GENERATOR_PART = re.compile(r"synthesis\.blocks\.(b\d+(?:\.to_rgb)?)")
_DISCRIMINATOR_PART = re.compile(r"(?:blocks\.)?([a-z_]+\d*)")


class Source(NamedTuple):
    """A checkpoint whose weights are complete, finite and fit its configuration.

    Attributes:
        path: its folder.
        meta: its record.
        average: the moving average.
        generator: G.
        discriminator: D.
        pl_mean: running mean path length, a scalar.
    """

    path: Path
    meta: Meta
    average: dict[str, torch.Tensor]
    generator: dict[str, torch.Tensor]
    discriminator: dict[str, torch.Tensor]
    pl_mean: torch.Tensor


class Transfer(NamedTuple):
    """The result of ``take_weights``.

    Attributes:
        meta: record of the checkpoint that the weights are from.
        new_parts: drawn from the seed, such as ``generator b64`` or ``subspace L4N0``.
    """

    meta: Meta
    new_parts: tuple[str, ...]


def open_source(checkpoint: Path) -> Source:
    """Read another run's checkpoint.

    Raises:
        CheckpointError: it is damaged, holds NaN or infinity, or does not fit its networks.
    """
    meta = read_meta(checkpoint)
    average = read_tensors(check_file(checkpoint, meta, GENERATOR))
    path = check_file(checkpoint, meta, TRAINING)
    training = read_tensors(path)
    with torch.random.fork_rng(devices=[]):
        networks = build(meta.config.network, meta.config.subspace)
    expected = [network.state_dict() for network in networks]
    parts = [_part(training, "generator."), _part(training, "discriminator.")]
    matching_state(average, expected[0], str(checkpoint / GENERATOR))
    for found, wanted in zip(parts, expected, strict=True):
        matching_state(found, wanted, str(path))
    pl_mean = training.get("pl_mean", torch.zeros(0))
    matching_state({"pl_mean": pl_mean}, {"pl_mean": torch.zeros(())}, str(path))
    for tensors in (average, *parts, {"pl_mean": pl_mean}):
        for name, value in tensors.items():
            if not bool(torch.isfinite(value).all()):
                raise CheckpointError(
                    f"a run cannot start with {checkpoint}: {name} holds a NaN or infinity",
                    field="initial_checkpoint",
                    value=checkpoint,
                    remedy="Use an older checkpoint of the run.",
                )
    return Source(checkpoint, meta, average, parts[0], parts[1], pl_mean)


def starting_from(
    source: Source, config: TrainConfig, class_names: tuple[str, ...] = ()
) -> TrainConfig:
    """Return the configuration of a run that starts with these weights, with their sha256.

    If G has no new layers, the moving average has its whole half-life from the first step. Else its
    half-life grows as in a run from the seed, so that it does not keep new layers as drawn.

    Args:
        source: the checkpoint.
        config: of a run from the seed.
        class_names: classes of a conditional run.

    Raises:
        ConfigError: the checkpoint's layers do not fit this configuration.
    """
    _check_shapes(source, config)
    old = source.meta.config
    rows, table = _same_rows(config, old), config.subspace.table(config.network)
    same = config.network == old.network and len(rows) == len(table)
    if config.network.c_dim:
        same = same and class_names == source.meta.class_names
    return msgspec.structs.replace(
        config,
        initial_sha256=source.meta.sha256,
        ema_rampup=0.0 if same else config.ema_rampup,
    )


def _check_shapes(source: Source, config: TrainConfig) -> None:
    old = source.meta.config
    found = config_differences(old, config)
    shapes = {place: found[place] for place in MUST_AGREE if place in found}
    resolution = min(old.network.resolution, config.network.resolution)
    while resolution >= 4:
        before, now = (each.network.channels(resolution) for each in (old, config))
        if before != now:
            shapes[f"channels at {resolution}²"] = before, now
        resolution //= 2
    differing = show_differences(shapes)
    if differing:
        more = f"; and {len(differing) - 4} more" if len(differing) > 4 else ""
        raise ConfigError(
            f"{source.path} has layers of other shapes ({'; '.join(differing[:4])}{more})",
            field="initial_checkpoint",
            value=source.path,
            remedy="Give the preset and architecture that it was trained with, or leave "
            "`initial_checkpoint` out. (The preset auto doubles its channels at 512², so 256² "
            "cannot grow into it.)",
        )


@torch.no_grad()
def take_weights(
    state: TrainingState, source: Source, class_names: tuple[str, ...] = ()
) -> Transfer:
    """Copy the weights of another run's checkpoint into a new state.

    Both networks, the moving average, the mean of w and the mean path length are copied; the
    optimisers and all counters start at 0. Subspaces, and the outputs of the discriminator's head
    for them, are copied when mode, kind and K agree; class embeddings, when the names agree.

    Args:
        state: of a new run, with a configuration from ``starting_from``.
        source: the checkpoint.
        class_names: classes of the run.

    Raises:
        ConfigError: the state's configuration is for another checkpoint.
    """
    if state.config.initial_sha256 != source.meta.sha256:
        raise ConfigError(
            field="initial_sha256",
            value=state.config.initial_sha256,
            expected=f"that of {source.path}, {source.meta.sha256}",
            remedy="Make the configuration with starting_from.",
        )
    rows = _same_rows(state.config, source.meta.config)
    skipped = () if class_names == source.meta.class_names else ("mapping.embed.", "embed.")

    def known(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {k: v for k, v in tensors.items() if not k.startswith(skipped)}

    _take_generator(state.ema, known(source.average), rows)
    new_parts = _take_generator(state.generator, known(source.generator), rows)
    new_parts += _take_discriminator(
        state.discriminator, known(source.discriminator), rows, state.generator.coords_shape[1]
    )
    state.pl_mean = source.pl_mean.to(state.device, copy=True)
    # Of a block that is new as a whole, the parts are not listed.
    names = [name for name in dict.fromkeys(new_parts) if name.rpartition(".")[0] not in new_parts]
    return Transfer(source.meta, tuple(names))


def _part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _same_rows(config: TrainConfig, old: TrainConfig) -> dict[int, int]:
    """Rows of the subspace table → the old table's rows of the same site, where they match."""
    new, before = config.subspace, old.subspace
    if (new.mode, new.kind) != (before.mode, before.kind):
        return {}
    # A feature basis (mode 1) of a to_rgb has as many channels as the image.
    recoloured = new.mode == 1 and config.network.img_channels != old.network.img_channels
    place = {}
    for number, entry in enumerate(before.table(old.network)):
        site = old.network.sites[entry.site]
        if not (recoloured and site.kind == "rgb"):
            place[site.name, entry.dims] = number
    rows = {
        number: place.get((config.network.sites[entry.site].name, entry.dims))
        for number, entry in enumerate(new.table(config.network))
    }
    return {number: found for number, found in rows.items() if found is not None}


def _take_generator(
    generator: Generator, found: dict[str, torch.Tensor], rows: dict[int, int]
) -> list[str]:
    """Copy the tensors that fit; return the parts without any."""
    new_parts = []
    mapping = generator.mapping.state_dict(prefix="mapping.")
    mapped = all(k in found and found[k].shape == v.shape for k, v in mapping.items())
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
        elif name == "w_avg" and not mapped:
            continue  # w̄ of another mapping network; it is tracked from 0
        if source in found and found[source].shape == value.shape:
            value.copy_(found[source])
        elif row is not None:
            entry = generator.table[row]
            new_parts.append(f"subspace L{entry.layer}N{entry.index}")
        else:
            new_parts.append(f"generator {part[1] if part else name.partition('.')[0]}")
    return new_parts


def _take_discriminator(
    discriminator: Discriminator, found: dict[str, torch.Tensor], rows: dict[int, int], dims: int
) -> list[str]:
    """As ``_take_generator``; of the head, the outputs for the copied subspaces."""
    new_parts = []
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
            new_parts.append(f"discriminator {part[1] if part else name}")
    return new_parts
