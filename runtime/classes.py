"""Which class of a conditional generator is meant: by its number or its name."""

from __future__ import annotations

import operator
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
            raise ConfigError(f"class is {given!r}; expected {known_classes(names, count)}.")
        return list(names).index(given)
    if isinstance(given, bool) or not isinstance(given, SupportsIndex):
        raise ConfigError(f"class is {given!r}; expected {known_classes(names, count)}.")
    number = operator.index(given)
    if not 0 <= number < count:
        raise ConfigError(f"class is {number}; expected {known_classes(names, count)}.")
    return number


def known_classes(names: Sequence[str], count: int) -> str:
    """The classes for a message: ``0 to 2 (0 none, 1 round, 2 square)``."""
    listed = ", ".join(f"{number} {name}" for number, name in enumerate(names[:20]))
    more = ", …" if len(names) > 20 else ""
    return f"0 to {count - 1}" + (f" ({listed}{more})" if names else "")
