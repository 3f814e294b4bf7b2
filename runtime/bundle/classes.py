"""Which class of a conditional generator is meant: by its number or its name."""

from __future__ import annotations

import difflib
import operator
import shlex
from collections.abc import Sequence
from typing import SupportsIndex

from segan.runtime.errors import ConfigError


def class_number(given: object, names: Sequence[str], count: int) -> int | None:
    """The number of a class.

    Args:
        given: a number from 0, a name, or None.
        names: of the classes; may be empty.
        count: how many classes there are; 0 = unconditional.

    Returns:
        The number; None for None.

    Raises:
        ConfigError: there is no such class, or there are no classes at all.
    """
    if given is None:
        return None
    if not count:
        raise ConfigError(f"class is {given}, but this generator has no classes; leave it out.")
    if isinstance(given, str):
        if given not in names:
            near = nearest_class(given, names)
            hint = "" if near is None else f" Did you mean {near!r}?"
            raise ConfigError(f"class is {given!r}; expected {known_classes(names, count)}.{hint}")
        return list(names).index(given)
    if isinstance(given, bool) or not isinstance(given, SupportsIndex):
        raise ConfigError(f"class is {given!r}; expected {known_classes(names, count)}.")
    number = operator.index(given)
    if not 0 <= number < count:
        raise ConfigError(f"class is {number}; expected {known_classes(names, count)}.")
    return number


def needs_class(names: Sequence[str], count: int) -> ConfigError:
    """The error of a conditional generator that was given no class, with what to pass."""
    example = shlex.quote(names[0]) if names else "0"
    return ConfigError(
        f"this generator needs a class; expected {known_classes(names, count)}. Pass --class "
        f"{example}, in Python class_index={(names[0] if names else 0)!r}."
    )


def nearest_class(given: str, names: Sequence[str]) -> str | None:
    """The class whose name is nearest to a mistyped one, whatever the case; None for none near."""
    folded = {name.strip().casefold(): name for name in reversed(names)}
    wanted = given.strip().casefold()
    near = difflib.get_close_matches(wanted, folded, n=1)
    # "round" is further from "round glasses" than difflib asks for, and yet what is meant.
    near = near or [name for name in folded if wanted and wanted in name][:1]
    return folded[near[0]] if near else None


def known_classes(names: Sequence[str], count: int) -> str:
    """The classes for a message: ``0 to 2 (0 none, 1 round, 2 square)``."""
    listed = ", ".join(f"{number} {name}" for number, name in enumerate(names[:20]))
    more = ", …" if len(names) > 20 else ""
    return f"0 to {count - 1}" + (f" ({listed}{more})" if names else "")
