"""Settings of a run by their places, such as ``subspace.dims``.

A new run takes a preset's settings with some replaced; a resumed run may replace few of its own.
Settings that would have no effect are refused.
"""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

import msgspec

from segan.runtime.errors import ConfigError
from segan.train.networks.config import Precision, SettingsRecord, SubspaceConfig, errors_placed
from segan.train.runs.config import TrainConfig, compares_coordinates, flat_settings
from segan.train.runs.folder import MAY_CHANGE
from segan.train.runs.presets import preset

#: Bound on activations that comes with fp16, as in StyleGAN2-ADA: without it fp16 overflows.
FP16_CLAMP = 256.0

#: Setting of the augmentation → modes of the augmentation that use it.
_AUGMENTATIONS = {
    "augment.probability": ("fixed", "ada"),
    "augment.target": ("ada",),
    "augment.speed_kimg": ("ada",),
}


class Shape(TypedDict):
    """What the networks take from the data."""

    resolution: int
    img_channels: int
    c_dim: int


def configure(
    name: str, shape: Shape, settings: Mapping[str, Any], *, precision: Precision = "fp32"
) -> TrainConfig:
    """Return a preset for data of this shape, with settings replaced.

    Args:
        name: of the preset: tiny, paper or auto.
        shape: of the data.
        settings: values by place. With ``compute.precision`` fp16, ``network.conv_clamp`` is
            ``FP16_CLAMP`` unless it is given.
        precision: used where ``compute.precision`` is not given, or is ``auto``.

    Raises:
        ConfigError: an unknown preset or place, or a value that is out of its range or has no
            effect beside the others.
    """
    base = preset(name, **shape)
    refuse_unused(settings, base)
    values = dict(settings)
    if values.get("compute.precision", "auto") == "auto":
        values["compute.precision"] = precision
    if values["compute.precision"] == "fp16":
        values.setdefault("network.conv_clamp", FP16_CLAMP)
    config = replace_settings(base, values)
    _refuse_without_coordinates(config, settings)
    return config


def replace_settings(config: TrainConfig, settings: Mapping[str, Any]) -> TrainConfig:
    """Return the configuration with settings replaced.

    Args:
        config: the configuration.
        settings: values by place, such as ``{"subspace.mode": 1}``.

    Raises:
        ConfigError: an unknown place, or a value out of its range; ``field`` is the place.
    """
    changes: dict[str, dict[str, Any]] = {"": {}}
    for place, value in settings.items():
        outer, _, field = place.rpartition(".")
        record = getattr(config, outer, None) if outer else config
        types = {}
        if isinstance(record, SettingsRecord):
            types = {each.name: each.type for each in msgspec.structs.fields(record)}
        if field not in types:
            close = difflib.get_close_matches(place, flat_settings(config), 1)
            raise ConfigError(
                f"there is no setting {place}",
                field=place,
                value=value,
                remedy=f"Did you mean `{close[0]}`?" if close else "",
            )
        with contextlib.suppress(msgspec.ValidationError):  # the record refuses the value
            value = msgspec.convert(value, types[field])  # 5 → 5.0, for example
        changes.setdefault(outer, {})[field] = value
    whole = changes.pop("")
    for outer, fields in changes.items():
        with errors_placed(outer):
            record = whole.get(outer, getattr(config, outer))
            whole[outer] = msgspec.structs.replace(record, **fields)
    return msgspec.structs.replace(config, **whole)


def reconfigure(config: TrainConfig, settings: Mapping[str, Any], run: Path) -> TrainConfig:
    """Return a resumed run's configuration, with the settings replaced that may change.

    Args:
        config: the run's own.
        settings: values by place; ``network.c_dim`` may be True or False, for any number of
            classes and none.
        run: its folder, for messages.

    Raises:
        ConfigError: a value differs from the run's where it may not, or is out of its range.
    """
    own = flat_settings(config)
    changes = {place: value for place, value in settings.items() if place in MAY_CHANGE}
    for place, value in settings.items():
        if place not in changes and place in own:
            classes = place == "network.c_dim" and isinstance(value, bool)
            refuse_change(place, value, own[place] > 0 if classes else own[place], run)
        elif place not in changes:
            replace_settings(config, {place: value})  # says that there is no such setting
    return replace_settings(config, changes)


def refuse_change(field: str, value: object, own: object, run: Path) -> None:
    """Raise ConfigError when ``value`` is not what the run was started with, ``own``."""
    if value != own:
        names = [f"`{place}`" for place in MAY_CHANGE]
        raise ConfigError(
            field=field,
            value=value,
            expected=f"{own}, the value that {run} was started with",
            remedy=f"Only {', '.join(names[:-1])} and {names[-1]} of a resumed run may change. "
            "Leave it out, or start a new run.",
        )


def refuse_unused(settings: Mapping[str, Any], base: TrainConfig) -> None:
    """Raise ConfigError for a setting that would have no effect.

    Args:
        settings: values by place that the caller chose.
        base: the preset whose values hold elsewhere.
    """
    _refuse_dims(settings, base)
    mode = settings.get("augment.mode", base.augment.mode)
    for place, users in _AUGMENTATIONS.items():
        if place in settings and mode not in users:
            modes = " or ".join(f"`augment.mode {user}`" for user in users)
            raise ConfigError(
                f"`{place}` is {settings[place]:g}, but augmentation {mode} does not use it",
                field=place,
                value=settings[place],
                remedy=f"Leave it out, or give {modes}.",
            )
    if "compute.reduced_from" in settings:
        _refuse_reduced_from(settings, base.network.resolution)


def _refuse_dims(settings: Mapping[str, Any], base: TrainConfig) -> None:
    mode = settings.get("subspace.mode", base.subspace.mode)
    kind = settings.get("subspace.kind", base.subspace.kind)
    if "subspace.dims" not in settings or SubspaceConfig(mode=mode, kind=kind).has_basis:
        return
    why = f"mode {mode} ({kind}) has one coordinate per dimension of w ({base.network.w_dim})"
    if mode == 0:
        why = "mode 0 has no subspaces"
    dims = settings["subspace.dims"]
    raise ConfigError(
        f"`subspace.dims` is {dims}, but {why}",
        field="subspace.dims",
        value=dims,
        remedy="Leave it out, or use mode 1 or 2 with `subspace.kind eigen`.",
    )


def _refuse_reduced_from(settings: Mapping[str, Any], resolution: int) -> None:
    field = "compute.reduced_from"
    lowest = settings[field]
    if settings.get("compute.precision") == "fp32":
        raise ConfigError(
            f"`{field}` is {lowest}, but `compute.precision fp32` reduces nothing",
            field=field,
            value=lowest,
            remedy="Leave one of them out.",
        )
    layers = [8 << n for n in range(resolution.bit_length() - 3)]  # 8 up to the resolution
    if lowest not in layers:
        expected = f"the resolution of a layer, {', '.join(map(str, layers))}"
        raise ConfigError(field=field, value=lowest, expected=expected)


def _refuse_without_coordinates(config: TrainConfig, settings: Mapping[str, Any]) -> None:
    """Raise ConfigError for weights on coordinates that training does not draw or compare."""
    subspace = config.subspace
    undrawn = "no subspaces" if subspace.mode == 0 else f"the {subspace.kind} kind"
    modes = "or use mode 1, 2 or 3 with `subspace.kind eigen`"

    def refuse(field: str, why: str, instead: str) -> None:
        raise ConfigError(
            f"`{field}` is {settings[field]:g}, but {why}",
            field=field,
            value=settings[field],
            remedy=f"Leave it out, {instead}.",
        )

    if settings.get("subspace.jacobian_weight", 0) > 0 and not compares_coordinates(config):
        kind = "a single coordinate" if subspace.sampled else undrawn
        why = f"with {kind} training draws no two coordinates to compare"
        refuse("subspace.jacobian_weight", why, modes)
    if settings.get("subspace.shared_coords", 0) > 0:
        field = "subspace.shared_coords"
        if min(config.batch_size, config.network.mbstd_group) == 1:
            why = "the discriminator compares groups of one image"
            refuse(field, why, "or give a larger `batch_size`")
        if not subspace.sampled:
            refuse(field, f"with {undrawn} training draws no coordinates to share", modes)
