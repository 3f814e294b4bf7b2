"""The page in a real browser, if there is one: its scripts run, and its tools work."""

from __future__ import annotations

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

#: What a reader does, and what the page then shows.
STEPS = """
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
"""


@pytest.mark.slow
def test_the_page_works(
    open_drawn: Callable[[Path], DrawnGenerator],
    toy_bundle: Path,
    tmp_path: Path,
    in_browser: Callable[[Path, str], dict[str, Any]],
) -> None:
    bundle = open_bundle(toy_bundle)
    name = "shade <img src x onerror alert(1)>"
    write_attributes(bundle, name_slider(bundle, Slider(0, 0, 0), name, limits=(-1, 2)))
    atlas = measure_atlas(open_drawn(toy_bundle), AtlasConfig(seeds=range(4), shown=3, steps=4))
    page = write_atlas(atlas, tmp_path / "atlas", PageCommands(bundle="b.segan", copy="c.segan"))
    seen = in_browser(page, STEPS)
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
