"""Classes of a conditional generator, given by number or by name."""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Sequence
from typing import SupportsIndex

import numpy as np
from numpy.typing import NDArray

from segan.runtime.errors import ConfigError
from segan.runtime.printable import printable


def one_hot(classes: Sequence[int], count: int) -> NDArray[np.float32]:
    """Return labels, [len(classes), count] float32; memory grows with the classes given alone."""
    labels = np.zeros((len(classes), count), np.float32)
    labels[np.arange(len(classes)), list(classes)] = 1
    return labels


def class_number(given: object, names: Sequence[str], count: int) -> int | None:
    """Return the number of a class.

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
        raise ConfigError(
            f"`class_index` is {given}, but this generator has no classes",
            field="class_index",
            value=given,
            remedy="Leave it out.",
        )
    if isinstance(given, str) and given in names:
        return list(names).index(given)
    if isinstance(given, SupportsIndex) and not isinstance(given, bool):
        number = operator.index(given)
        if 0 <= number < count:
            return number
    near = nearest_class(given, names) if isinstance(given, str) else None
    raise ConfigError(
        field="class_index",
        value=given,
        expected=known_classes(names, count),
        remedy="" if near is None else f"Did you mean {near!r}?",
    )


def needs_class(names: Sequence[str], count: int) -> ConfigError:
    """Return the error of a conditional generator that was given no class."""
    return ConfigError(
        "this generator needs a class",
        field="class_index",
        value=None,
        expected=known_classes(names, count),
        remedy=f"Pass `class_index {example_class(names)}`.",
    )


def class_words(names: Sequence[str], count: int) -> list[str]:
    """Return what a command for a conditional generator needs: ``--class NAME``, or nothing."""
    return ["--class", example_class(names)] if count else []


def example_class(names: Sequence[str]) -> str:
    """Return the first class as it is typed: its name, or 0 where that would be misread."""
    name = names[0] if names else ""
    # A plain number is the number of a class, and backticks stand for settings in errors.
    plain = name.strip() == name == printable(name) and not re.match(r"[-+\d_]|$", name)
    return name if plain and "`" not in name else "0"


def nearest_class(given: str, names: Sequence[str]) -> str | None:
    """Return the class name nearest to a mistyped one, ignoring case; None where none is near."""
    folded = {name.strip().casefold(): name for name in reversed(names)}
    wanted = given.strip().casefold()
    near = difflib.get_close_matches(wanted, folded, n=1)
    # difflib finds "round" too far from "round glasses", but it is what the user means.
    near = near or [name for name in folded if wanted and wanted in name][:1]
    return folded[near[0]] if near else None


def known_classes(names: Sequence[str], count: int) -> str:
    """Return the classes for a message: ``0 to 2 (0 none, 1 round, 2 square)``."""
    listed = ", ".join(f"{number} {name}" for number, name in enumerate(names[:20]))
    more = ", …" if len(names) > 20 else ""
    return f"0 to {count - 1}" + (f" ({listed}{more})" if names else "")
