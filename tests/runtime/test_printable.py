from __future__ import annotations

import sys
import unicodedata

import pytest

from segan.runtime.errors import DataError
from segan.runtime.printable import one_line, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
        ("a\x00\x08\x7f\x9b31m\x85", r"a\x00\x08\x7f\x9b31m\x85"),
        ("two\nlines\r\tand", r"two\nlines\r\tand"),
        ("\u202egnp.\u202c\u2066\u2069\u200e", r"\u202egnp.\u202c\u2066\u2069\u200e"),
        ("a\u200bb\u200c\u200d\u2060\ufeff\xad", r"a\u200bb\u200c\u200d\u2060\ufeff\xad"),
        ("a\u2028b\u2029", r"a\u2028b\u2029"),
        ("\udc80\ud83d", r"\udc80\ud83d"),
        ("\U000e0041\U000e007f\U000e0100", r"\U000e0041\U000e007f\U000e0100"),
        ("\u3164\u115f\u2800\u034f\ufe0f", r"\u3164\u115f\u2800\u034f\ufe0f"),
        ("\ue000\U0010ffff", r"\ue000\U0010ffff"),
        ("あ\u200dい", "あ\\u200dい"),
        ("👍\u200d", "👍\\u200d"),
    ],
)  # fmt: skip
def test_what_is_invisible_becomes_an_escape(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "smile 0.5",
        "日本語　写真",
        "Ünïcödé, été",
        "עברית العربية",
        "ಕನ್ನಡ",
        "e\u0301",
        "3.15\u202fPM",
        "👨‍👩‍👧",
        "❤️‍🔥",
        "🧑🏽‍💻",
        "🏳️‍🌈",
        "🇯🇵",
        "C:\\new\\x1b",
    ],
)
def test_what_people_write_stays(text: str) -> None:
    assert printable(text) == text


def test_no_control_character_of_unicode_is_left() -> None:
    kinds = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    for code in (*range(0x30000), *range(0xE0000, 0xE0200), 0xF0000, sys.maxunicode):
        if unicodedata.category(chr(code)) in kinds:
            assert printable(f"a{chr(code)}b").isascii()


def test_kept_characters() -> None:
    assert printable("a\nb\x1b", keep="\n") == "a\nb\\x1b"


def test_one_line() -> None:
    assert one_line("one\n\n  two\r\nthree\x1b\n") == "one two three\\x1b"


def test_errors_are_printable() -> None:
    error = DataError("\x1b[2J\nis bad", field="data", value="\x1b", remedy="See \u202e.")
    assert str(error) == "\\x1b[2J is bad. See \\u202e."
    assert error.to_data()["value"] == "\x1b"  # data stays as it is
