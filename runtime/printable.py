"""Foreign text made printable: what a terminal would obey, or an eye would miss, becomes visible.

Names of classes, bundles, files, graph nodes and keys come from files of strangers. Escape
sequences in them would move a terminal's cursor or rewrite its title, and invisible characters
would make two names look alike (Unicode Technical Report 36, Unicode Security Considerations).
"""

from __future__ import annotations

import re
import unicodedata

#: Characters that have a glyph or a category of letters, and are drawn as nothing: the
#: Default_Ignorable_Code_Point of Unicode which ``str.isprintable`` accepts, and blank Braille.
_BLANK = (
    "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
    "\U000e0100-\U000e01ef"
)
#: What may be foul: all but printable ASCII.
_SUSPECT = re.compile(r"[^\x20-\x7e]+")
#: Parts of an emoji that are invisible alone: how it is drawn, and what joins it to the next one.
_EMOJI = (
    "[\xa9\xae\u203c\u2049\u2122\u2190-\u21ff\u2300-\u27bf\u2900-\u297f\u2b00-\u2bff"
    "\U0001f000-\U0001faff]"
)
_CHARACTER = re.compile(
    f"(?P<emoji>(?<={_EMOJI})[\ufe0e\ufe0f]|"
    f"(?:(?<={_EMOJI})|(?<={_EMOJI}\ufe0f))\u200d(?={_EMOJI}))|"
    f"(?P<blank>[{_BLANK}])|(?P<rest>.)",
    re.DOTALL,
)
#: As Python escapes them in a string.
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def printable(text: str, keep: str = "") -> str:
    r"""Return a text in which every character that is not visible is written as an escape.

    Control characters (C0, DEL, C1), bidirectional controls, zero-width characters, line and
    paragraph separators, tags, private and unassigned characters, and lone surrogates become
    ``\x1b``, ``\u202e`` or ``\U000e0041``. Letters of all scripts stay, and so do emoji, with
    the joiners and selectors within them.

    Args:
        text: any text.
        keep: characters to leave as they are, such as a line feed.
    """
    return _SUSPECT.sub(lambda run: _shown(run, keep), text)


def _shown(run: re.Match[str], keep: str) -> str:
    def show(found: re.Match[str]) -> str:
        char = found[0]
        stays = found["emoji"] or char in keep or (found["rest"] and _is_visible(char))
        return char if stays else escaped(char)

    return _CHARACTER.sub(show, run[0])


def _is_visible(char: str) -> bool:
    # isprintable excludes the spaces of other scripts and widths, whose category is Zs.
    return char.isprintable() or unicodedata.category(char) == "Zs"


def one_line(text: str) -> str:
    """Return a text made printable, in which white space replaces the breaks of its lines."""
    return printable(re.sub(r"[ \t]*[\r\n][ \t\r\n]*", " ", text.strip()))


def escaped(char: str) -> str:
    r"""Write a character as Python does in a string: ``\n``, ``\x1b``, ``\u202e``."""
    code = ord(char)
    if code < 0x100:
        return _SHORT.get(char, f"\\x{code:02x}")
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
