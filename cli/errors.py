"""Error messages of the command line: the settings in an error become options."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import click

from segan.cli.train_settings import SETTINGS
from segan.runtime.commands import quoted
from segan.runtime.errors import SeganError, name_settings

#: Setting of Python, where the option of a command has another name → the option's parameter.
_PARAMETERS: dict[str, str] = {place: option for option, place in SETTINGS.items()} | {
    "attr": "attributes",
    "attribute": "attributes",
    "backend": "backends",
    "cache": "data_cache",
    "classes": "class_index",
    "conditional": "cond",
    "detector": "detectors",
    "detector_sha256": "hashes",
    "format": "files",
    "high": "limits",
    "low": "limits",
    "precision": "precisions",
    "range": "limits",
    "resamples": "bootstrap",
}


def error_text(error: SeganError, root: click.Group, args: Sequence[str]) -> str:
    """Return an error's message, in which settings are options of the command.

    Args:
        error: the error.
        root: the group that ``args`` were given to.
        args: the command line, without the program's name.
    """
    return error.text(_namer(_typed_command(root, args)))


def option_text(text: str) -> str:
    """Return a text whose settings, in backticks, are options of the command that is running."""
    return name_settings(text, _namer(click.get_current_context().command))


def _namer(command: click.Command) -> Callable[[str, str | None], str]:
    """Writes settings as options of a command."""
    names = _option_names(command)

    def name(field: str, value: str | None) -> str:
        option = names.get(_PARAMETERS.get(field, field), names.get(field))
        if option is None:
            return field if value is None else f"{field} {value}"
        return option if value is None else f"{option} {quoted(value)}"

    return name


def _typed_command(root: click.Group, args: Sequence[str]) -> click.Command:
    """Return the command that ``args`` name, a sub-command where there is one."""
    command: click.Command = root
    context = click.Context(root)
    for word in args:
        if not isinstance(command, click.Group):
            break
        found = command.get_command(context, word)
        if found is None and not word.startswith("-"):
            break
        command = found or command
    return command


def _option_names(command: click.Command) -> dict[str, str]:
    """Return how each parameter is written: its longest option, or its place holder."""
    names: dict[str, str] = {}
    for parameter in command.params:
        if parameter.name is not None:
            is_option = isinstance(parameter, click.Option)
            names[parameter.name] = (
                max(parameter.opts, key=len) if is_option else parameter.human_readable_name
            )
    return names
