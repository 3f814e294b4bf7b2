"""The page: what it shows, that it is well formed, and that no text of a user becomes markup."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from segan.runtime.atlas import Atlas, AtlasConfig, measure_atlas
from segan.runtime.atlas.cards import PageCommands, render_page
from segan.runtime.atlas.proposals import Proposal
from segan.runtime.atlas.record import with_proposals
from segan.runtime.bundle.attributes_editing import name_slider, write_attributes
from segan.runtime.bundle.layout import Slider
from segan.runtime.bundle.reader import open_bundle

if TYPE_CHECKING:
    from tests.runtime.atlas.conftest import DrawnGenerator

OpenDrawn = Callable[[Path], "DrawnGenerator"]
EVIL = """<img src=x onerror=alert(1)>"'&"""
_VOID = {"meta", "img", "input", "br", "link", "path", "circle"}


class Page(HTMLParser):
    """Checks that elements close in order, and collects elements and texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.texts.append(data)

    def all(self, tag: str, kind: str = "") -> list[dict[str, str | None]]:
        return [a for t, a in self.found if t == tag and kind in (a.get("class") or "").split(" ")]


def page_of(atlas: Atlas, commands: PageCommands | None = None) -> tuple[str, Page]:
    text = render_page(atlas, commands or PageCommands(bundle="b.segan"), ["sheets/L0N0.png"], 96)
    return text, Page(text)


@pytest.fixture
def atlas(drawn: DrawnGenerator) -> Atlas:
    return measure_atlas(drawn, AtlasConfig(seeds=range(4), shown=2, steps=3))


def test_a_card_for_each_slider_best_first(atlas: Atlas) -> None:
    text, page = page_of(atlas)
    cards = [a for t, a in page.found if t == "article"]
    assert [card["id"] for card in cards] == [str(entry.slider) for entry in atlas.sliders]
    assert [card["data-rank"] for card in cards] == [str(n) for n in range(1, 17)]
    dead = {card["id"] for card in cards if card["data-dead"] == "1"}
    assert dead == {str(entry.slider) for entry in atlas.sliders if entry.figures.dead}
    assert text.count('<span class="badge">dead</span>') == len(dead)
    assert text.count('<span class="badge">near-duplicate</span>') == 1
    assert 'Near-duplicates: <a href="#L0N0D1">L0N0D1</a> (-1.00)' in text
    read = "".join(page.texts)
    assert "segan sweep b.segan --at L0N0D0" in read
    assert "segan name b.segan L0N0D0 NAME --range=-1.73,1.73" in read


def test_every_picture_has_an_alternative_text_and_nothing_comes_from_the_network(
    atlas: Atlas,
) -> None:
    text, page = page_of(atlas)
    images = [a for t, a in page.found if t == "img"]
    assert len(images) == 1 + 2 * 16
    assert all(image["alt"] for image in images)
    assert not re.search(r"(?:https?:)?//[a-z]", text)
    for tag, attributes in page.found:
        assert tag not in ("link", "iframe", "object")
        assert tag != "script" or "src" not in attributes
        for key in ("src", "href"):
            link = attributes.get(key)
            assert link is None or re.fullmatch(r"(#|strips/|heat/|sheets/)[\w.]+|\w+\.\w+", link)


def test_links_between_cards_lead_to_cards(atlas: Atlas) -> None:
    _, page = page_of(atlas)
    ids = {a["id"] for _, a in page.found if "id" in a}
    links = [str(a["href"]) for t, a in page.found if t == "a"]
    assert {link[1:] for link in links if link.startswith("#")} <= ids
    assert len(ids) == len([a for _, a in page.found if "id" in a])


def test_names_are_escaped(open_drawn: OpenDrawn, toy_bundle: Path) -> None:
    name = EVIL.replace("=", "")  # a name has no '='
    bundle = open_bundle(toy_bundle)
    write_attributes(bundle, name_slider(bundle, Slider(0, 0, 0), name))
    atlas = measure_atlas(open_drawn(toy_bundle), AtlasConfig(seeds=[0, 1], steps=3))
    proposals = {Slider(0, 0, 3): Proposal(name + "2", 0.5, reason=EVIL)}
    atlas = with_proposals(atlas, proposals, EVIL)
    manifest = msgspec.structs.replace(atlas.manifest, name=EVIL)
    atlas = changed(atlas, manifest=manifest, labels=(EVIL,) * 2)
    commands = PageCommands(bundle=EVIL, label=EVIL, copy=EVIL, made_by=EVIL)
    text, page = page_of(atlas, commands)
    assert EVIL not in text
    assert name not in text
    assert not re.search(r"<img src[^=]|<img src=[^\"]", text)
    assert "<script>" not in text.replace("<script>", "", 1)
    assert "onerror" not in {key for _, a in page.found for key in a}
    assert EVIL in "".join(page.texts)
    assert name in page.texts
    cards = {a["id"]: a for t, a in page.found if t == "article"}
    assert cards["L0N0D0"]["data-name"] == name
    assert cards["L0N0D3"]["data-proposed"] == name + "2"
    # No text of a user comes into the script.
    script = text[text.index("<script>") : text.index("</script>")]
    assert "onerror" not in script


def changed(atlas: Atlas, **changes: object) -> Atlas:
    from dataclasses import replace

    return replace(atlas, **changes)  # type: ignore[arg-type]


def test_commands_are_quoted_for_a_shell(open_drawn: OpenDrawn, toy_bundle: Path) -> None:
    import shlex

    for slider, name in ((Slider(0, 0, 0), "it's a; rm -rf"), (Slider(0, 0, 1), "-x")):
        bundle = open_bundle(toy_bundle)
        write_attributes(bundle, name_slider(bundle, slider, name))
    atlas = measure_atlas(open_drawn(toy_bundle), AtlasConfig(seeds=[0, 1], steps=3))
    commands = PageCommands(bundle="my models/b.segan", copy="a b.segan", label="a b")
    first, second = (
        next(entry for entry in atlas.sliders if str(entry.slider) == name)
        for name in ("L0N0D0", "L0N0D1")
    )
    swept = ["segan", "sweep", "my models/b.segan", "--attr", "it's a; rm -rf", "--class", "a b"]
    assert shlex.split(commands.sweep(first)) == swept
    named = ["segan", "name", "my models/b.segan", "L0N0D0", "it's a; rm -rf"]
    words = shlex.split(commands.name(first))
    assert words == [*named, "--range=-1.73,1.73", "-o", "a b.segan"]
    # A name that reads as an option is swept by its place.
    assert "--at L0N0D1" in commands.sweep(second)


def test_a_proposal_is_shown_until_there_is_a_name(atlas: Atlas) -> None:
    slider = Slider(0, 0, 0)
    proposed = with_proposals(atlas, {slider: Proposal("glow", 0.83, reason="it glows")}, "by me")
    text, page = page_of(proposed)
    assert 'title="it glows">glow? 83%</span>' in text
    assert "segan name b.segan L0N0D0 glow --range" in "".join(page.texts)
    assert "Names: by me" in text
    entry = proposed.sliders[0]
    assert str(entry.slider) == "L0N0D0"
    named = proposed.sliders[0]._replace(name="light")
    text, _ = page_of(changed(proposed, sliders=(named, *proposed.sliders[1:])))
    assert "glow?" not in text


def test_left_out_sliders_are_noted(drawn: DrawnGenerator) -> None:
    atlas = measure_atlas(drawn, AtlasConfig(seeds=[0, 1], steps=3, max_sliders=2, psi=0.5))
    text, _ = page_of(atlas)
    assert "This bundle has 16 sliders. Shown are the 2 that" in text
    assert "psi 0.5" in text
    text, _ = page_of(changed(atlas, hidden=1))
    assert "1 hidden slider left out; &#39;segan atlas --hidden&#39; shows them." in text
