"""Small pieces of HTML; every string that comes from outside passes through ``text``."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import NamedTuple


class Cell(NamedTuple):
    """A table's cell.

    Attributes:
        content: plain text, escaped by ``table``.
        number: whether it stands to the right, in equal digits.
        mark: name of a class of the style sheet, or empty.
    """

    content: str
    number: bool = False
    mark: str = ""


def text(value: object) -> str:
    """The value as HTML text, safe within an attribute too."""
    return html.escape(str(value), quote=True)


def table(header: Sequence[str], rows: Sequence[Sequence[Cell]], *, row_heads: bool = False) -> str:
    """A table.

    Args:
        header: of each column; ``#`` before it puts it to the right, over numbers.
        rows: of cells.
        row_heads: whether the first cell of a row is its heading.
    """
    heads = "".join(
        f'<th class="number">{text(name[1:])}</th>' if name[:1] == "#" else f"<th>{text(name)}</th>"
        for name in header
    )
    lines = []
    for row in rows:
        cells = []
        for number, cell in enumerate(row):
            name = "th" if row_heads and number == 0 else "td"
            marks = " ".join(filter(None, ("number" if cell.number else "", cell.mark)))
            shown = f' class="{marks}"' if marks else ""
            cells.append(f"<{name}{shown}>{text(cell.content)}</{name}>")
        lines.append(f"<tr>{''.join(cells)}</tr>")
    body = "".join(lines)
    return (
        f'<div class="scroll"><table><thead><tr>{heads}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def section(name: str, title: str, content: str, note: str = "") -> str:
    """A section with an anchor; empty where it has no content."""
    if not content:
        return ""
    shown = f"<p>{text(note)}</p>" if note else ""
    return f'<section id="{text(name)}"><h2>{text(title)}</h2>{shown}{content}</section>'


def folded(title: str, content: str) -> str:
    """Content that opens on a click; empty where there is none."""
    if not content:
        return ""
    return f"<details><summary>{text(title)}</summary>{content}</details>"
