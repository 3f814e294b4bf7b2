"""Templates escape what they are given, and nothing writes HTML but templates."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from jinja2 import UndefinedError
from markupsafe import Markup

import segan.runtime.pages.template as template_module
from segan.runtime.pages.parts import Cell, folded, table
from segan.runtime.pages.template import render

EVIL = """<script>alert(1)</script>"'&"""
ESCAPED = "&lt;script&gt;alert(1)&lt;/script&gt;&#34;&#39;&amp;"
ROOMS = Path(template_module.__file__).resolve().parents[2]
#: Every folder of the packages that has templates.
FOLDERS = ("runtime/pages", "runtime/atlas", "train/report")


def files(*suffixes: str) -> list[Path]:
    """The packages' files with one of these suffixes."""
    found = [path for folder in FOLDERS for path in (ROOMS / folder).iterdir()]
    return [path for path in found if path.suffix in suffixes]


def test_values_are_escaped_and_html_is_not_escaped_twice(tmp_path: Path) -> None:
    (tmp_path / "inner.html").write_text('<p title="{{ text }}">{{ text }}</p>')
    (tmp_path / "outer.html").write_text("<div>{{ inner }}</div>")
    inner = render(tmp_path, "inner.html", text=EVIL)
    assert inner == f'<p title="{ESCAPED}">{ESCAPED}</p>'
    assert render(tmp_path, "outer.html", inner=inner) == f"<div>{inner}</div>"
    assert render(tmp_path, "outer.html", inner=str(inner)).count("&lt;p") == 1


def test_invisible_characters_are_shown(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("{{ text }}{{ html }}")
    name = "a\u202eb\x1b[2J"
    page = render(tmp_path, "page.html", text=name, html=Markup("<p>\u200b</p>"))
    assert page == "a\\u202eb\\x1b[2J<p>\u200b</p>"


def test_a_missing_value_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("{{ given }}{{ missing }}")
    with pytest.raises(UndefinedError, match="missing"):
        render(tmp_path, "page.html", given=1)


def test_style_sheets_and_scripts_go_in_as_they_are(tmp_path: Path) -> None:
    text = "a > b { content: '{{ name }}'; } /* {# & #} */"
    (tmp_path / "own.css").write_text(text)
    (tmp_path / "page.html").write_text('{{ verbatim("own.css") }}')
    assert render(tmp_path, "page.html") == text


def test_settings_become_code(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("{{ text|settings }}")
    shown = render(tmp_path, "page.html", text="Set `dims` or `augment ada`, <b> & all.")
    assert shown == ("Set <code>dims</code> or <code>augment ada</code>, &lt;b&gt; &amp; all.")
    assert "<i>" not in render(tmp_path, "page.html", text="`augment <i>`")


def test_cells_of_tables_are_text() -> None:
    header = [Cell(EVIL), Cell("n", number=True)]
    found = table(header, [[Cell(EVIL), Cell("1", number=True, mark="best")]])
    assert found.count(ESCAPED) == 2
    assert "<script" not in found
    assert f"<th>{ESCAPED}</th>" in found  # the row's heading
    assert '<th class="number">n</th>' in found
    assert '<td class="number best">1</td>' in found
    # A heading that begins with a sign is text like any other.
    assert "<th>#1</th>" in table([Cell("#1")], [])


def test_folded_content() -> None:
    assert folded("title", Markup()) == ""
    assert f"<summary>{ESCAPED}</summary>\n<p>\n" in folded(EVIL, Markup("<p>"))


def test_no_template_turns_escaping_off() -> None:
    for path in files(".html"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"\|\s*safe|autoescape|Markup", text), path
        # A value in an attribute stands in quotes; only JSON stands in single ones.
        for value in re.findall(r"=\s*(.?)\{\{\s*[^}]*\}\}", re.sub(r"\{%.*?%\}", "", text)):
            assert value in ('"', "'"), path
        assert re.findall(r"='\{\{(.*?)\}\}'", text) in ([], [" hover|tojson "]), path


def test_only_the_kit_makes_html() -> None:
    packages = [ROOMS / room for room in ("cli", "export", "train", "runtime")]
    for path in (path for package in packages for path in package.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        assert "html.escape" not in text, path
        if path.name != "template.py":
            assert not re.search(r"Markup\([^)]", text), path
            assert not re.search(r"<(?:div|p|td|span|figure|svg|a)(?: [^>]*)?>.*\{", text), path


def test_colours_and_fonts_are_in_one_style_sheet() -> None:
    shared = (ROOMS / "runtime/pages/style.css").read_text(encoding="utf-8")
    names = set(re.findall(r"(--[\w-]+):", shared))
    for path in files(".css", ".html"):
        text = path.read_text(encoding="utf-8")
        used = set(re.findall(r"var\((--[\w-]+)", text))
        own = set(re.findall(r"(--[\w-]+):", text))
        assert used <= names | own | {"--share"}, path
        if path.name != "style.css":
            assert not re.search(r"font-family|(?<!&)#[0-9a-f]{6}\b", text), path
            assert "prefers-color-scheme" not in text, path


def test_no_style_sheet_or_script_reaches_the_network_or_ends_early() -> None:
    for path in files(".css", ".js", ".html"):
        text = path.read_text(encoding="utf-8")
        addresses = set(re.findall(r"https?://[^\"' )]+", text))
        assert addresses <= {"http://www.w3.org/2000/svg"}, path
        if path.suffix != ".html":
            assert not re.search(r"</|@import|<!--", text), path
