"""Values by layer, as ``{"0-1": 0.5, 3: 1.0}``: truncation for some layers, seeds to mix in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from segan.runtime.errors import ConfigError
from segan.runtime.manifest import Manifest
from segan.runtime.seeds import check_seed
from segan.runtime.sliders import check_layers

_Value = TypeVar("_Value")

#: Values by a layer's number, or by several layers as text: ``0-1,3``.
PsiLayers = Mapping[str, float] | Mapping[int, float] | Mapping[str | int, float]
MixedLayers = Mapping[str, int] | Mapping[int, int] | Mapping[str | int, int]


def psi_by_layer(manifest: Manifest, given: PsiLayers | None) -> dict[int, float]:
    """Truncation strength of single layers.

    Raises:
        ConfigError: a layer that does not exist or is given twice, or psi outside 0 to 1.
    """
    found = _by_layer(manifest, "psi_layers", given, "{'0-1': 0.5}")
    for layer, psi in found.items():
        if isinstance(psi, bool | str) or not hasattr(psi, "__float__") or not 0 <= psi <= 1:
            raise ConfigError(f"psi of layer {layer} is {psi!r}; expected 0 to 1, such as 0.7.")
    return {layer: float(psi) for layer, psi in sorted(found.items())}


def seed_by_layer(manifest: Manifest, given: MixedLayers | None) -> dict[int, int]:
    """Seeds whose styles single layers take.

    Raises:
        ConfigError: a layer that does not exist or is given twice, or what is no seed.
    """
    found = _by_layer(manifest, "mix", given, "{'0-1': 17}")
    return {layer: check_seed(seed) for layer, seed in sorted(found.items())}


def _by_layer(
    manifest: Manifest, what: str, given: Mapping[Any, _Value] | None, example: str
) -> dict[int, _Value]:
    if given is not None and not isinstance(given, Mapping):
        raise ConfigError(f"{what} is {given!r}; expected values by layers, such as {example}.")
    found: dict[int, _Value] = {}
    for layers, value in (given or {}).items():
        for layer in check_layers(manifest, layers):
            if layer in found:
                raise ConfigError(f"{what}: layer {layer} is given twice; expected it once.")
            found[layer] = value
    return found
