"""The options of ``segan train`` that are settings of the run, and their places in its record."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from segan.runtime.errors import ConfigError

if TYPE_CHECKING:
    from segan.train.networks.config import SubspaceConfig
    from segan.train.runs.config import TrainConfig

#: Option → field of TrainConfig. A new option that shapes the run belongs here: by this table it is
#: put into the configuration, and compared when a run is resumed.
SETTINGS = {
    "mode": "subspace.mode",
    "kind": "subspace.kind",
    "dims": "subspace.dims",
    "shared_coords": "subspace.shared_coords",
    "jacobian_weight": "subspace.jacobian_weight",
    "preset": "preset",
    "resolution": "network.resolution",
    "cond": "network.c_dim",
    "architecture": "network.architecture",
    "mirror": "mirror",
    "batch_size": "batch_size",
    "learning_rate": "learning_rate",
    "r1_gamma": "r1_gamma",
    "seed": "seed",
    "kimg": "total_kimg",
    "snapshot_kimg": "snapshot_kimg",
    "keep_checkpoints": "keep_checkpoints",
    "metric_images": "metric_images",
    "augment": "augment.mode",
    "augment_p": "augment.probability",
    "augment_target": "augment.target",
    "augment_kimg": "augment.speed_kimg",
    "precision": "compute.precision",
    "reduced_from": "compute.reduced_from",
    "tf32": "compute.tf32",
    "compile": "compute.compile",
    "batch_gpu": "compute.micro_batch",
}
#: Bound on activations that comes with fp16.
FP16_CLAMP = 256.0
#: Those whose fields come with the preset and the shape of the data.
_OF_THE_SHAPE = ("preset", "resolution", "cond")


class Shape(TypedDict):
    """What the networks must fit."""

    resolution: int
    img_channels: int
    c_dim: int


def configure(settings: Mapping[str, Any], shape: Shape, given: Mapping[str, Any]) -> TrainConfig:
    """The preset for data of this shape, with what the user gave put in.

    Args:
        settings: values by option; None leaves the preset's.
        shape: of the data.
        given: values of the options that the user wrote.

    Raises:
        ConfigError: a value is out of its range, or does nothing beside the others.
    """
    import msgspec

    from segan.cli.train_unused import refuse_unused
    from segan.train.runs.config import compares_coordinates
    from segan.train.runs.presets import preset

    base = preset(settings["preset"], **shape)
    refuse_unused(given, base)
    values = {name: value for name, value in settings.items() if value is not None}
    if values.get("precision") == "fp16":
        # As StyleGAN2-ADA: only a bound on the activations keeps fp16 from overflowing.
        network = msgspec.structs.replace(base.network, conv_clamp=FP16_CLAMP)
        base = msgspec.structs.replace(base, network=network)
    config = replace_settings(
        base, {SETTINGS[name]: values[name] for name in values.keys() - set(_OF_THE_SHAPE)}
    )
    subspace = config.subspace
    weight, shared = values.get("jacobian_weight", 0), values.get("shared_coords", 0)
    if weight > 0 and not compares_coordinates(config):
        kind = "a single coordinate" if subspace.sampled else _undrawn(subspace)
        raise ConfigError(
            f"--jacobian-weight is {weight:g}, but with {kind} training draws no two coordinates "
            "to keep apart. Leave it out, or use mode 1, 2 or 3 with --subspace eigen."
        )
    if shared > 0 and min(config.batch_size, config.network.mbstd_group) == 1:
        raise ConfigError(
            f"--shared-coords is {shared:g}, but the discriminator compares groups of one image. "
            "Leave it out, or give a larger --batch-size."
        )
    if shared > 0 and not subspace.sampled:
        raise ConfigError(
            f"--shared-coords is {shared:g}, but with {_undrawn(subspace)} training draws no "
            "coordinates to share. Leave it out, or use mode 1, 2 or 3 with --subspace eigen."
        )
    return config


def _undrawn(subspace: SubspaceConfig) -> str:
    """What it is that has no coordinates drawn."""
    return "no subspaces" if subspace.mode == 0 else f"the {subspace.kind} kind"


def replace_settings(config: TrainConfig, fields: Mapping[str, Any]) -> TrainConfig:
    """The configuration with fields, such as ``subspace.mode``, replaced.

    Raises:
        ConfigError: a value is out of its range; it begins with the field's place.
    """
    import msgspec

    values = msgspec.to_builtins(config)
    for place, value in fields.items():
        record, field = values, place
        while "." in field:
            outer, _, field = field.partition(".")
            record = record.get(outer)
            if not isinstance(record, dict):
                raise ConfigError(f"there is no setting {place}.")
        record[field] = value
    try:
        return msgspec.convert(values, type(config))
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at `$.")
        if place and isinstance(error.__cause__, ConfigError):  # a record's own words
            raise ConfigError(f"{place.rstrip('`')}.{message}") from None
        raise ConfigError(f"{error}") from None


def reconfigure(given: Mapping[str, Any], config: TrainConfig, run: Path) -> TrainConfig:
    """A resumed run's configuration, with those settings changed that may change.

    Args:
        given: values of the options that the user wrote.
        config: the run's own.
        run: its folder, for the message.

    Raises:
        ConfigError: an option says something else than the run, or a new value is out of range.
    """
    from segan.train.runs.folder import MAY_CHANGE

    changes = {}
    for name, field in SETTINGS.items():
        if name not in given:
            continue
        if field in MAY_CHANGE:
            changes[field] = given[name]
            continue
        own: Any = config
        for part in field.split("."):
            own = getattr(own, part)
        refuse_change(name, given[name], own > 0 if name == "cond" else own, run)
    return replace_settings(config, changes)


def refuse_change(name: str, given: object, own: object, run: Path) -> None:
    """Raises ConfigError when the option ``name`` is not what the run was started with."""
    if given != own:
        from segan.train.runs.folder import MAY_CHANGE

        may = [option_name(name) for name, field in SETTINGS.items() if field in MAY_CHANGE]
        allowed = f"{', '.join(may[:-1])} and {may[-1]}"
        raise ConfigError(
            f"{option_name(name)} is {given}, but {run} was started with {own}; with --resume "
            f"every setting but {allowed} is the run's own. Leave it out, or start a "
            "new run."
        )


@contextlib.contextmanager
def options_named() -> Iterator[None]:
    """Where an error says ``compute.micro_batch is -1``, the user reads ``--batch-gpu is -1``."""
    try:
        yield
    except ConfigError as error:
        field, _, rest = str(error).partition(" is ")
        # The built-in faces, which are no setting, are counted.
        for name, place in (SETTINGS | {"faces": "count"}).items():
            if field in (place, place.rpartition(".")[2]):
                raise ConfigError(f"{option_name(name)} is {rest}") from None
        raise


def option_name(name: str) -> str:
    """How the user writes an option: ``batch_size`` → ``--batch-size``."""
    return "--subspace" if name == "kind" else f"--{name.replace('_', '-')}"
