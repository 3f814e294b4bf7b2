"""The errors that segan raises on purpose.

    SeganError
    ├── ConfigError       a setting or argument is out of its range (also a ValueError)
    ├── DataError         an image, a data set or its labels cannot be used
    ├── CheckpointError   a training run or checkpoint cannot be read or does not fit
    ├── TrainingError     training cannot continue
    │   ├── RankError     the processes that train together differ, or one of them is gone
    │   └── DeviceError   a step needs more memory than there is, or a compiler that works
    ├── ExportError       a bundle cannot be written from this checkpoint
    │   └── VerifyError   the bundle's images differ from the checkpoint's by more than allowed
    ├── BundleError       a bundle is missing, damaged, altered or of an unknown format
    ├── BackendError      an inference backend is missing or failed
    └── OutputError       the result cannot be written

An error carries data: what is wrong, the argument or setting at fault, the value that was given,
what was expected, and what to do next. ``str(error)`` writes one or two sentences with the names
of Python (``psi is 1.8; expected 0 to 1. Pass 0.7, for example.``), the command line with options.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from segan.runtime.printable import one_line

#: Stands for "no value", since None is one.
NO_VALUE: Final = type("NoValue", (), {"__repr__": lambda _: "NO_VALUE"})()

#: A setting in a sentence: `psi`, or with a value `psi 0.7`.
_SETTING = re.compile(r"`([a-z_][a-z0-9_.]*)(?: ([^`]*))?`")


def python_name(field: str, value: str | None) -> str:
    """Write a setting as Python does: ``psi``, or with a value ``psi=0.7``."""
    if value is None:
        return field
    # Numbers, lists and place holders (PATH) as they are; other text as Python quotes it.
    plain = value.isupper() or not any(char.isalpha() for char in value)
    return f"{field}={value}" if plain else f"{field}={value!r}"


def name_settings(text: str, name: Callable[[str, str | None], str]) -> str:
    """Return a text in which ``name`` replaces every setting in backticks."""
    return _SETTING.sub(lambda found: name(found[1], found[2]), text)


class SeganError(Exception):
    """The base class of all errors that segan raises on purpose.

    In ``problem``, ``expected`` and ``remedy`` a setting is in backticks, alone (`psi`) or with
    a value (`psi 0.7`), so that each interface writes it in its own way.

    Attributes:
        problem: what is wrong, a clause; empty where ``field`` and ``value`` say it: "psi is 1.8".
        field: the argument or setting at fault, by its name in Python; None for none.
        value: what was given; NO_VALUE for nothing.
        expected: a valid value, to follow the word "expected"; may be empty.
        remedy: what to do next, in sentences; may be empty.
        is_reported: another process of the same run prints the error.
    """

    is_reported = False

    def __init__(
        self,
        problem: str = "",
        *,
        field: str | None = None,
        value: Any = NO_VALUE,
        expected: str = "",
        remedy: str = "",
    ) -> None:
        super().__init__(problem)
        self.problem, self.field, self.value = problem, field, value
        self.expected, self.remedy = expected, remedy

    def __str__(self) -> str:
        return self.text(python_name)

    @property
    def clause(self) -> str:
        """``problem``, or where it is empty the field and its value: "`psi` is 1.8"."""
        if self.problem or self.field is None:
            return self.problem
        return f"`{self.field}` is {show_value(self.value)}"

    def text(self, name: Callable[[str, str | None], str]) -> str:
        """Return the error in one or two sentences.

        Args:
            name: writes a setting, given its field and, or None, a value to pass.
        """
        said = self.clause
        if self.expected:
            said = f"{said}; expected {self.expected}"
        if said and not said.endswith((".", "!", "?", ":")):
            said += "."
        if self.remedy:
            said = f"{said} {self.remedy}"
        # Names and messages of others, which may hold line feeds and escape sequences.
        return one_line(name_settings(said, name))

    def to_data(self) -> dict[str, Any]:
        """Return the error as what JSON can hold; values of other types become text."""
        data: dict[str, Any] = {"kind": type(self).__name__, "problem": self.problem}
        data |= {"field": self.field, "expected": self.expected, "remedy": self.remedy}
        if self.value is not NO_VALUE:
            plain = self.value is None or isinstance(self.value, bool | int | float | str)
            data["value"] = self.value if plain else str(self.value)
        return data

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> SeganError:
        """Return the error that ``to_data`` described; a SeganError if the kind is unknown."""
        kinds: list[type[SeganError]] = [SeganError]
        for kind in kinds:
            kinds += kind.__subclasses__()
        found = {kind.__name__: kind for kind in kinds}.get(data.get("kind", ""), SeganError)
        return found(
            data.get("problem", ""),
            field=data.get("field"),
            value=data.get("value", NO_VALUE),
            expected=data.get("expected", ""),
            remedy=data.get("remedy", ""),
        )


def show_value(value: object) -> str:
    """Write a value in a sentence: text in quotes, everything else as it prints."""
    return repr(value) if isinstance(value, str) else str(value)


class ConfigError(SeganError, ValueError):
    """A setting or argument is out of its range."""


class DataError(SeganError):
    """An image, a data set or its labels cannot be used."""


class CheckpointError(SeganError):
    """A training run or checkpoint cannot be read, or does not fit what was asked."""


class TrainingError(SeganError):
    """Training cannot continue: its losses are no longer finite, for example."""


class RankError(TrainingError):
    """The processes that train together differ, or one of them is gone."""


class DeviceError(TrainingError):
    """A step cannot be computed here: too little memory, or no compiler that works."""


class ExportError(SeganError):
    """A bundle cannot be written from this checkpoint."""


class VerifyError(ExportError):
    """The bundle's images differ from the checkpoint's by more than the tolerance."""


class BundleError(SeganError):
    """A bundle is missing, damaged, altered or of an unknown format."""


class BackendError(SeganError):
    """An inference backend is missing or failed."""


class OutputError(SeganError):
    """A result cannot be written: no room, no permission, or something in the way."""
