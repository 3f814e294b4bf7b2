"""Writes docs/reference/commands.md from the commands' own help: make docs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from segan.cli.main import root

PAGE = Path(__file__).parent / "reference" / "commands.md"
WIDTH = 96

HEAD = """\
# Commands

<!-- Written by 'make docs' from the commands' own help; change it there. -->

Results go to stdout and everything else to stderr, so that `--json` can be piped. The exit status
is 0 for success, 1 for failure, 2 for incorrect usage and 130 for an interruption. An error is one
or two lines; `--debug` adds the traceback.
"""


def commands(
    command: click.Command, path: tuple[str, ...], parent: click.Context | None = None
) -> Iterator[tuple[tuple[str, ...], click.Context]]:
    """The command and those below it, depth first: (words, context)."""
    context = click.Context(
        command,
        info_name=path[-1],
        parent=parent,
        terminal_width=WIDTH,
        max_content_width=WIDTH,
        help_option_names=["-h", "--help"],
    )
    yield path, context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from commands(below, (*path, name), context)


def render() -> str:
    """The whole page."""
    parts = [HEAD]
    for words, context in commands(root, ("segan",)):
        lines = [line.rstrip() for line in context.get_help().splitlines()]
        text = "\n".join(lines).strip()
        parts.append(f"## {' '.join(words)}\n\n```text\n{text}\n```\n")
    return "\n".join(parts)


def main() -> int:
    """Writes the page, or with --check only says whether it is up to date; returns the status."""
    parser = argparse.ArgumentParser(
        description="Write docs/reference/commands.md from the commands' own help."
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit with 1 if it is out of date"
    )
    check = parser.parse_args().check
    name, text = f"docs/{PAGE.parent.name}/{PAGE.name}", render()
    if not check:
        PAGE.write_text(text, encoding="utf-8")
        print(f"wrote {name}")
        return 0
    fresh = PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text
    print(f"{name} is {'up to date' if fresh else 'out of date: run make docs'}")
    return 0 if fresh else 1


if __name__ == "__main__":
    sys.exit(main())
