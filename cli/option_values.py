"""Values of options: what users type, as numbers and names."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from segan.runtime.bundle.layout import Slider
from segan.runtime.errors import ConfigError
from segan.runtime.latents.seeds import parse_seeds


def parse_cutoff(text: str) -> int | str:
    """``16`` → 16, ``b16.conv0`` → itself. Whether there is such a site is checked later."""
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else text


def parse_class(text: str) -> int | str:
    """A class's number or name; a class whose name is a number is given by its number."""
    try:
        return int(text)
    except ValueError:
        return text


@contextmanager
def faults_in(option: str | None) -> Iterator[None]:
    """Within it, a slider or class that does not exist is the fault of this option; None: as it is.

    Errors name the setting of Python, which may be another option of the same command:
    ``--by L0N0D99`` would be told as a fault of ``--dim``.
    """
    try:
        yield
    except ConfigError as error:
        field = error.field
        if option is None:
            raise
        if field in ("attribute", "class_index"):
            error.problem = error.problem.replace(f"`{field}`", f"`{option}`")
            error.field = option
        elif field in ("layer", "index", "dim"):
            error.problem = error.clause.replace(f"`{field}`", f"the {field} of `{option}`")
            error.field = option
        raise


def parse_sliders(items: tuple[str, ...]) -> dict[Slider | str, float]:
    """Parse ``L3N0D5=1.5`` items. Raises: ConfigError, also for a slider given twice."""
    sliders: dict[Slider | str, float] = {}
    for item in items:
        where = f"--set {item!r}"
        name, equals, number = item.partition("=")
        if not equals:
            raise _unreadable("sliders", item, where, "SLIDER=VALUE, such as L3N0D5=1.5")
        slider = Slider.parse(name)
        _once(slider in sliders, str(slider), "sliders", where)
        sliders[slider] = _finite(number, "sliders", where)
    return sliders


def parse_attributes(
    items: tuple[str, ...],
) -> tuple[dict[Slider | str, float], tuple[str, ...]]:
    """Parse ``smile=1.5,hair_color=-1`` items, and names without a value.

    Names may hold commas, but no ``=``: a value ends at the next comma.

    Returns:
        (values by name, the names without one).

    Raises:
        ConfigError: a value is not a number, a name is empty, or one is given twice.
    """
    values: dict[Slider | str, float] = {}
    bare = []
    for item in items:
        if "=" not in item:
            bare.append(item.strip())
            continue
        where = f"--attr {item!r}"
        for name, number in _pairs(item, "attributes", where, "NAME=VALUE, such as smile=1.5"):
            _once(name in values, name, "attributes", where)
            values[name] = _finite(number, "attributes", where)
    if any(not name for name in bare):
        raise ConfigError("--attr is empty", field="attributes", expected="a name such as smile")
    return values, tuple(bare)


def parse_psi_layers(items: tuple[str, ...]) -> dict[str | int, float]:
    """Parse ``0-1=0.5,3=1`` items: truncation by layers. Raises: ConfigError."""
    found: dict[str | int, float] = {}
    for item in items:
        where = f"--psi-layers {item!r}"
        for layers, number in _pairs(item, "psi_layers", where, "LAYERS=PSI, such as 0-1=0.5"):
            _once(layers in found, f"layers {layers}", "psi_layers", where)
            found[layers] = _finite(number, "psi_layers", where)
    return found


def parse_mix(items: tuple[str, ...]) -> dict[str | int, int]:
    """Parse ``0-1=17,3=5`` items: seeds by layers. Raises: ConfigError."""
    found: dict[str | int, int] = {}
    for item in items:
        where = f"--mix {item!r}"
        for layers, text in _pairs(item, "mix", where, "LAYERS=SEED, such as 0-1=17"):
            _once(layers in found, f"layers {layers}", "mix", where)
            seeds = parse_seeds(text, "mix")
            if len(seeds) != 1:
                raise ConfigError(
                    f"{where}: {text.strip()} is not one seed",
                    field="mix",
                    value=text,
                    expected="one, such as 0-1=17",
                )
            found[layers] = seeds[0]
    return found


def _once(known: bool, key: str, field: str, where: str) -> None:
    if known:
        raise ConfigError(
            f"{where}: {key} is given twice", field=field, value=key, expected="it once"
        )


def _pairs(item: str, field: str, where: str, expected: str) -> Iterator[tuple[str, str]]:
    """``a=1,b,c=2`` → (a, 1), (b,c, 2): a value ends at the next comma, a key may hold some."""
    rest = item
    while rest:
        key, equals, rest = rest.partition("=")
        value, _, rest = rest.partition(",")
        if not key.strip() or not equals:
            raise _unreadable(field, item, where, expected)
        yield key.strip(), value


def parse_range(text: str, option: str = "--range") -> tuple[float, float]:
    """Parse ``LOW,HIGH``. Raises: ConfigError unless both are numbers and LOW is below HIGH."""
    field = option.removeprefix("--").replace("-", "_")
    where = f"{option} {text!r}"
    low_text, comma, high_text = text.partition(",")
    if not comma:
        raise _unreadable(field, text, where, "LOW,HIGH such as -2,2")
    low, high = _finite(low_text, field, where), _finite(high_text, field, where)
    if low >= high:
        raise ConfigError(
            f"{option} is {text}", field=field, value=text, expected="LOW below HIGH, such as -2,2"
        )
    return low, high


def _unreadable(field: str, value: str, where: str, expected: str) -> ConfigError:
    return ConfigError(f"{where} is not understood", field=field, value=value, expected=expected)


def _finite(text: str, field: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ConfigError(
            f"{where}: {text.strip()!r} is not a number",
            field=field,
            value=text,
            expected="one such as 1.5",
        )
    return value
