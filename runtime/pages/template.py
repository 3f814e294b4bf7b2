"""HTML from templates: Jinja2 with autoescaping, over the files that all pages share."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from jinja2 import (
    ChoiceLoader,
    Environment,
    FileSystemLoader,
    PrefixLoader,
    StrictUndefined,
    pass_environment,
)
from markupsafe import Markup, escape

from segan.runtime.errors import name_settings
from segan.runtime.pages.axis import number_text
from segan.runtime.printable import printable

_HERE = Path(__file__).parent


def render(folder: Path, name: str, /, **values: Any) -> Markup:
    """Return a template filled with values.

    Every value is escaped, except Markup, which earlier calls returned, and invisible characters
    are written as escapes. A name that is missing raises jinja2.UndefinedError.

    Args:
        folder: holds the caller's templates and style sheets.
        name: of the template in ``folder``, or ``pages/NAME`` for one that all pages share.
        **values: what the template shows.
    """
    return Markup(_environment(folder).get_template(name).render(values))


def render_shared(name: str, /, **values: Any) -> Markup:
    """Return a template of this package filled with values; see ``render``."""
    return render(_HERE, name, **values)


@functools.cache
def _environment(folder: Path) -> Environment:
    shared = PrefixLoader({"pages": FileSystemLoader(_HERE)})
    environment = Environment(
        loader=ChoiceLoader([FileSystemLoader(folder), shared]),
        autoescape=True,
        finalize=_finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "ensure_ascii": False}
    environment.globals["verbatim"] = _verbatim
    environment.filters["number"] = number_text
    environment.filters["settings"] = _settings
    return environment


def _finalize(value: object) -> object:
    """Text that is not HTML yet, with its invisible characters as escapes."""
    return printable(value, keep="\n") if type(value) is str else value


@pass_environment
def _verbatim(environment: Environment, name: str) -> Markup:
    """The text of a style sheet or a script, which goes into the page as it is."""
    assert environment.loader is not None
    return Markup(environment.loader.get_source(environment, name)[0])


def _settings(text: str) -> Markup:
    """A text as HTML in which the settings in backticks are code."""

    def code(field: str, value: str | None) -> str:
        return f"<code>{field}</code>" if value is None else f"<code>{field} {value}</code>"

    return Markup(name_settings(str(escape(text)), code))
