"""Values of options: what users type, as numbers and names."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from segan.runtime.bundle.layout import Slider
from segan.runtime.errors import ConfigError
from segan.runtime.latents.seeds import parse_seeds


def parse_cutoff(text: str | None) -> int | str | None:
    """``16`` → 16, ``b16.conv0`` → itself. The generator knows which exist."""
    if text is None:
        return None
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else text


def parse_sliders(items: tuple[str, ...]) -> dict[Slider | str, float]:
    """Reads ``L3N0D5=1.5`` items. Raises: ConfigError, also for a slider given twice."""
    sliders: dict[Slider | str, float] = {}
    for item in items:
        name, equals, number = item.partition("=")
        if not equals:
            raise ConfigError(
                f"--set {item!r} is not understood; expected SLIDER=VALUE, L3N0D5=1.5."
            )
        slider = Slider.parse(name)
        if slider in sliders:
            raise ConfigError(f"--set {slider} is given twice; expected each slider once.")
        sliders[slider] = _finite(number, f"--set {item!r}")
    return sliders


def parse_attributes(
    items: tuple[str, ...],
) -> tuple[dict[Slider | str, float], tuple[str, ...]]:
    """Reads ``smile=1.5,hair_color=-1`` items, and names without a value.

    Names may hold commas, but no ``=``: a value ends at the next comma.

    Returns:
        (values by name, the names without one).

    Raises:
        ConfigError: a value is no number, a name is empty, or one is given twice.
    """
    values: dict[Slider | str, float] = {}
    bare = []
    for item in items:
        if "=" not in item:
            bare.append(item.strip())
            continue
        for name, number in _pairs(item, f"--attr {item!r}", "NAME=VALUE, smile=1.5"):
            if name in values:
                raise ConfigError(
                    f"--attr {item!r}: {name} is given twice; expected each name once."
                )
            values[name] = _finite(number, f"--attr {item!r}")
    if any(not name for name in bare):
        raise ConfigError("--attr is empty; expected a name such as smile.")
    return values, tuple(bare)


def parse_psi_layers(items: tuple[str, ...]) -> dict[str | int, float]:
    """Reads ``0-1=0.5,3=1`` items: truncation by layers. Raises: ConfigError."""
    found: dict[str | int, float] = {}
    for item in items:
        where = f"--psi-layers {item!r}"
        for layers, number in _pairs(item, where, "LAYERS=PSI, 0-1=0.5"):
            _once(found, layers, where)
            found[layers] = _finite(number, where)
    return found


def parse_mix(items: tuple[str, ...]) -> dict[str | int, int]:
    """Reads ``0-1=17,3=5`` items: seeds by layers. Raises: ConfigError."""
    found: dict[str | int, int] = {}
    for item in items:
        where = f"--mix {item!r}"
        for layers, text in _pairs(item, where, "LAYERS=SEED, 0-1=17"):
            _once(found, layers, where)
            seeds = parse_seeds(text)
            if len(seeds) != 1:
                raise ConfigError(f"{where}: {text.strip()} is not one seed; expected 0-1=17.")
            found[layers] = seeds[0]
    return found


def _once(found: Mapping[str | int, object], layers: str, where: str) -> None:
    if layers in found:
        raise ConfigError(f"{where}: layers {layers} are given twice; expected them once.")


def _pairs(item: str, where: str, expected: str) -> Iterator[tuple[str, str]]:
    """``a=1,b,c=2`` → (a, 1), (b,c, 2): a value ends at the next comma, a key may hold some."""
    rest = item
    while rest:
        key, equals, rest = rest.partition("=")
        value, _, rest = rest.partition(",")
        if not key.strip() or not equals:
            raise ConfigError(f"{where} is not understood; expected {expected}.")
        yield key.strip(), value


def parse_range(text: str, option: str = "--range") -> tuple[float, float]:
    """Reads ``LOW,HIGH``. Raises: ConfigError unless both are numbers and LOW is below HIGH."""
    low_text, comma, high_text = text.partition(",")
    if not comma:
        raise ConfigError(f"{option} {text!r} is not understood; expected LOW,HIGH such as -2,2.")
    low, high = _finite(low_text, f"{option} {text!r}"), _finite(high_text, f"{option} {text!r}")
    if low >= high:
        raise ConfigError(f"{option} is {text}; expected LOW below HIGH, such as -2,2.")
    return low, high


def _finite(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ConfigError(f"{where}: {text.strip()!r} is not a number; expected one such as 1.5.")
    return value
