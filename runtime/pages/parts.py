"""Parts that pages share: sections, tables and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from segan.runtime.pages.template import render_shared


class Section(NamedTuple):
    """A part of a page that the page's navigation links to.

    Attributes:
        name: its anchor.
        title: its heading.
        content: its HTML; a section without content is left out.
    """

    name: str
    title: str
    content: Markup


class Cell(NamedTuple):
    """A cell of a table.

    Attributes:
        content: plain text.
        number: whether it is right-aligned, in digits of equal width.
        mark: a class of the style sheet, or empty.
    """

    content: str
    number: bool = False
    mark: str = ""


class Picture(NamedTuple):
    """A picture file next to the page.

    Attributes:
        source: its path from the page.
        width: in pixels; None where it is not known.
        height: in pixels; None where it is not known.
    """

    source: str
    width: int | None = None
    height: int | None = None


def table(header: Sequence[Cell], rows: Sequence[Sequence[Cell]]) -> Markup:
    """Return a table whose first column holds the rows' headings."""
    return render_shared("table.html", header=header, rows=rows)


def folded(title: str, content: Markup) -> Markup:
    """Return content that opens on a click; empty without content."""
    return render_shared("folded.html", title=title, content=content) if content else content
