"""The plot of an atlas: dots at their figures, and names that cover nothing."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

from segan.runtime.atlas import AtlasConfig, measure_atlas
from segan.runtime.atlas.overview import Box, layer_colour, overview_plot, place_labels
from segan.runtime.atlas.proposals import Proposal
from segan.runtime.atlas.record import with_proposals
from segan.runtime.bundle.layout import Slider

if TYPE_CHECKING:
    from tests.runtime.atlas.conftest import DrawnGenerator


@pytest.mark.parametrize(
    ("other", "meets"),
    [
        (Box(2, 2, 4, 4), True),
        (Box(9, 9, 30, 30), True),
        (Box(-5, -5, 1, 1), True),
        (Box(-5, 4, 20, 5), True),  # across
        (Box(10, 0, 20, 10), False),  # edges that touch
        (Box(-10, 0, 0, 10), False),
        (Box(0, 10, 10, 20), False),
        (Box(0, -10, 10, 0), False),
        (Box(2, 20, 4, 30), False),  # only one direction in common
        (Box(20, 2, 30, 4), False),
    ],
)
def test_rectangles_meet_where_they_share_an_area(other: Box, meets: bool) -> None:
    box = Box(0, 0, 10, 10)
    assert box.meets(other) is meets
    assert other.meets(box) is meets


def test_a_name_covers_no_dot_and_no_earlier_name() -> None:
    name = "hair"  # 4 characters: from 10 to 40 right of its dot's centre
    assert place_labels([(100, 100), (300, 100)], [name, name]) == [True, True]
    # A dot to the right, as far as the name reaches; then just past it, above it and below it.
    assert place_labels([(100, 100), (145, 100)], [name, ""]) == [False, False]
    assert place_labels([(100, 100), (149, 100)], [name, ""]) == [True, False]
    assert place_labels([(100, 100), (130, 115)], [name, ""]) == [False, False]
    assert place_labels([(100, 100), (130, 117)], [name, ""]) == [True, False]
    assert place_labels([(100, 100), (130, 83)], [name, ""]) == [True, False]
    # A dot to the left does not matter. Of two names that meet the first is shown.
    assert place_labels([(100, 100), (88, 100)], [name, ""]) == [True, False]
    assert place_labels([(100, 100), (100, 113)], [name, name]) == [True, False]
    assert place_labels([(100, 100), (100, 115)], [name, name]) == [True, True]
    assert place_labels([(100, 100), (100, 113)], ["", name]) == [False, True]


def test_a_name_stays_within_the_drawing() -> None:
    assert place_labels([(780, 100)], ["hair"]) == [True]  # ends at 819.8 of 820
    assert place_labels([(781, 100)], ["hair"]) == [False]


def test_dots_lie_at_their_figures_with_the_rank_in_the_middle(drawn: DrawnGenerator) -> None:
    atlas = measure_atlas(drawn, AtlasConfig(seeds=range(4), shown=2, steps=3))
    proposal = Proposal("glow <b>", 0.8)
    atlas = with_proposals(atlas, {Slider(0, 0, 0): proposal})
    svg = ElementTree.fromstring(overview_plot(atlas))
    dots = {str(link.attrib["href"])[1:]: link for link in svg.iter("a")}
    assert set(dots) == {str(entry.slider) for entry in atlas.sliders}
    places = {}
    for entry in atlas.sliders:
        circle, rank = dots[str(entry.slider)].find("circle"), dots[str(entry.slider)].find("text")
        assert circle is not None
        assert rank is not None
        x, y = float(circle.attrib["cx"]), float(circle.attrib["cy"])
        assert rank.text == str(entry.rank)
        assert (rank.attrib["class"], float(rank.attrib["x"])) == ("rank", x)
        assert rank.attrib["text-anchor"] == "middle"
        assert float(rank.attrib["y"]) == pytest.approx(y + 3.5)  # a digit is 7 high
        places[entry.rank] = x, y
    alive = [entry for entry in atlas.sliders if not entry.figures.dead]
    for a, b in itertools.combinations(alive, 2):
        (ax, ay), (bx, by) = places[a.rank], places[b.rank]
        assert (ax - bx) * (a.figures.effect - b.figures.effect) >= 0
        assert (ay - by) * (a.figures.locality - b.figures.locality) <= 0
    for entry in atlas.sliders:
        if entry.figures.dead:
            assert places[entry.rank][0] == 44  # at the left end
    name = dots["L0N0D0"].find("text[@class='name']")
    assert name is not None
    assert name.text == "glow <b>?"
    (x, y) = places[atlas.sliders[0].rank]
    assert (float(name.attrib["x"]), float(name.attrib["y"])) == pytest.approx((x + 13, y + 4))
    # The best is drawn last, over the others.
    assert [text.text for text in svg.iter("text") if text.attrib.get("class") == "rank"] == [
        str(rank) for rank in range(16, 0, -1)
    ]


def test_numbers_of_the_axes_are_centred_at_their_lines(drawn: DrawnGenerator) -> None:
    atlas = measure_atlas(drawn, AtlasConfig(seeds=range(4), shown=2, steps=3))
    svg = ElementTree.fromstring(overview_plot(atlas))
    lines = [line.attrib for line in svg.iter("line")]
    upright = [float(line["x1"]) for line in lines if line["x1"] == line["x2"]]
    level = [float(line["y1"]) for line in lines if line["y1"] == line["y2"]]
    texts = [text for text in svg if text.tag == "text"]
    numbers = [text for text in texts if re.fullmatch(r"[\d.]+", text.text or "")]
    below = [text for text in numbers if text.attrib["text-anchor"] == "middle"]
    beside = [text for text in numbers if text.attrib["text-anchor"] == "end"]
    assert [float(text.attrib["x"]) for text in below] == upright
    assert {text.attrib["y"] for text in below} == {"278"}
    assert [float(text.attrib["y"]) - 4 for text in beside] == pytest.approx(level)
    assert {text.attrib["x"] for text in beside} == {"36"}
    assert len(beside) == 5


def test_colours_of_layers_run_from_coarse_to_fine() -> None:
    hues = [int(layer_colour(number, 5)[4:].split()[0]) for number in range(5)]
    assert hues == [12, 76, 140, 204, 268]
    assert layer_colour(0, 1) == layer_colour(0, 5)
