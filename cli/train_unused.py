"""Options of ``segan train`` that do nothing beside the others: refused where a user gives them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from segan.cli.train_settings import option_name
from segan.runtime.errors import ConfigError

if TYPE_CHECKING:
    from segan.train.runs.config import TrainConfig

#: Option of the augmentation → values of ``--augment`` that use it.
_AUGMENTATIONS = {
    "augment_p": ("fixed", "ada"),
    "augment_target": ("ada",),
    "augment_kimg": ("ada",),
}


def refuse_unused(given: Mapping[str, Any], base: TrainConfig) -> None:
    """Raises ConfigError for an option that the run would not use.

    Args:
        given: values of the options that the user wrote; what stands at a default is no mistake.
        base: the preset.
    """
    _refuse_dims(given, base)
    augment = given.get("augment", base.augment.mode)
    for name, users in _AUGMENTATIONS.items():
        if name in given and augment not in users:
            raise ConfigError(
                f"{option_name(name)} is {given[name]:g}, but with augmentation {augment} nothing "
                f"uses it. Leave it out, or give --augment {' or '.join(users)}."
            )
    if "reduced_from" in given:
        _refuse_reduced_from(given["reduced_from"], given, base.network.resolution)


def _refuse_dims(given: Mapping[str, Any], base: TrainConfig) -> None:
    from segan.train.networks.config import SubspaceConfig

    mode = given.get("mode", base.subspace.mode)
    kind = given.get("kind", base.subspace.kind)
    if "dims" not in given or SubspaceConfig(mode=mode, kind=kind).has_basis:
        return
    why = f"mode {mode} ({kind}) has as many coordinates as w has dimensions, {base.network.w_dim}"
    if mode == 0:
        why = "mode 0 has no subspaces"
    raise ConfigError(
        f"--dims is {given['dims']}, but {why}. Leave it out, or use mode 1 or 2 with --subspace "
        "eigen."
    )


def _refuse_reduced_from(lowest: int, given: Mapping[str, Any], resolution: int) -> None:
    if given.get("precision") == "fp32":
        raise ConfigError(
            f"--reduced-from is {lowest}, but --precision fp32 reduces nothing. Leave one of them "
            "out."
        )
    layers = [8 << n for n in range(resolution.bit_length() - 3)]  # 8 up to the resolution
    if lowest not in layers:
        raise ConfigError(
            f"--reduced-from is {lowest}; expected the resolution of a layer, "
            f"{', '.join(map(str, layers))}."
        )
