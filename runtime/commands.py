"""Commands in messages and on pages, written so that a shell takes them as they are."""

from __future__ import annotations

import os
import shlex

from segan.runtime.printable import printable


def command(*words: object) -> str:
    """Return a ``segan`` command that can be pasted.

    Args:
        *words: of the command line, without the program's name: text, numbers and paths. A path
            that begins with a dash gets its folder before it, or it would be an option.
    """
    return " ".join(["segan", *map(quoted, words)])


def quoted(word: object) -> str:
    r"""Write a word as a shell reads it.

    A word with invisible characters, or with bytes that are not UTF-8, is written as ``$'\x1b'``,
    which bash and zsh read.
    """
    text = str(word)
    if isinstance(word, os.PathLike) and text.startswith("-"):
        text = os.path.join(os.curdir, text)
    if printable(text) == text:
        return shlex.quote(text)
    return "$'" + "".join(map(_byte, os.fsencode(text))) + "'"


def _byte(value: int) -> str:
    char = chr(value)
    plain = char.isascii() and char.isprintable() and char not in "\\'"
    # Octal escapes have three digits at most; \x takes as many as follow, in some shells.
    return char if plain else f"\\{value:03o}"
