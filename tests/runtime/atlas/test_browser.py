"""The page in a real browser, where there is one: nothing fails, and its tools do what they say."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from segan.runtime.atlas import AtlasConfig, PageCommands, measure_atlas, write_atlas
from segan.runtime.bundle.attributes_editing import name_slider, write_attributes
from segan.runtime.bundle.layout import Slider
from segan.runtime.bundle.reader import open_bundle

if TYPE_CHECKING:
    from tests.runtime.atlas.conftest import DrawnGenerator

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="there is no Chromium"),
]

#: What a reader does, and what is then to be seen.
STEPS = """
const seen = {errors: window.failed};
const shown = () => cards.filter((card) => !card.hidden).map((card) => card.id);
seen.all = shown().length;
find("find").value = "SHADE"; arrange(); seen.found = shown();
find("find").value = ""; find("alive").checked = true; arrange(); seen.alive = shown().length;
find("leaders").checked = true; arrange(); seen.leaders = shown().includes("L0N0D1");
tools.reset(); find("sort").value = "place"; arrange();
seen.first = gallery.querySelector(".card").id;
document.querySelector("#L0N0D0 .strip").click();
seen.open = stage.open;
seen.cells = find("stage-images").children.length;
seen.middle = find("stage-images").firstChild.style.backgroundPosition;
seen.now = find("stage-now").textContent;
find("new-name").value = "it's <b>bold</b>"; find("new-high").value = "1.5";
find("new-hide").checked = true; compose();
seen.command = find("stage-name").textContent;
seen.bold = stage.querySelectorAll("b").length;
seen.hostile = document.querySelectorAll("[onerror]").length;
document.title = JSON.stringify(seen);
"""


def in_browser(page: Path, folder: Path) -> dict[str, Any]:
    text = page.read_text(encoding="utf-8")
    text = text.replace(
        "<head>",
        "<head><script>window.failed = [];"
        "window.onerror = (message) => { window.failed.push(message); };</script>",
    )
    text = text.replace("</body>", f"<script>{STEPS}</script></body>")
    tried = page.with_name("tried.html")
    tried.write_text(text, encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    options += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command = [str(BROWSER), *options, f"--user-data-dir={folder / 'profile'}", "--dump-dom"]
    done = subprocess.run(
        [*command, tried.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    found = re.search(r"<title>(.*?)</title>", done.stdout, re.S)
    assert found is not None
    seen: dict[str, Any] = json.loads(html.unescape(found[1]))
    return seen


def test_the_page_works(
    open_drawn: Callable[[Path], DrawnGenerator], toy_bundle: Path, tmp_path: Path
) -> None:
    bundle = open_bundle(toy_bundle)
    name = "shade <img src x onerror alert(1)>"
    write_attributes(bundle, name_slider(bundle, Slider(0, 0, 0), name, limits=(-1, 2)))
    atlas = measure_atlas(open_drawn(toy_bundle), AtlasConfig(seeds=range(4), shown=3, steps=4))
    page = write_atlas(atlas, tmp_path / "atlas", PageCommands(bundle="b.segan", copy="c.segan"))
    seen = in_browser(page, tmp_path)
    dead = sum(entry.figures.dead for entry in atlas.sliders)
    assert seen["errors"] == []
    assert seen["all"] == 16
    assert seen["found"] == ["L0N0D0"]
    assert seen["alive"] == 16 - dead < 16
    assert seen["leaders"] is False
    assert seen["first"] == "L0N0D0"
    assert seen["open"] is True
    assert seen["cells"] == 3
    assert seen["middle"].startswith("66.6")
    assert seen["now"] == "1"
    assert seen["command"] == (
        """segan name b.segan L0N0D0 'it'"'"'s <b>bold</b>' --range=-1,1.5 --hide -o c.segan"""
    )
    assert seen["bold"] == 1  # the one that shows the strength
    assert seen["hostile"] == 0
