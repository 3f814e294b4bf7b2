from __future__ import annotations

import itertools
import json
import re
from xml.etree import ElementTree

import pytest
from markupsafe import escape

from segan.runtime.pages.chart import Chart, Series, draw_chart, draw_charts, thinned

NASTY = '<b>"it\'s" & more</b>'


def svg_of(figure: str) -> ElementTree.Element:
    """The chart's SVG, parsed as XML."""
    figure = figure.strip()
    return ElementTree.fromstring(figure[figure.index('<svg viewBox="0 0 480') : -len("</figure>")])


def test_a_line_runs_where_its_values_lie() -> None:
    figure = draw_chart(Chart(title="t", series=[Series("a", [(0, 0.0), (1, 1.0), (2, 0.5)])]))
    line = svg_of(figure).find("polyline")
    assert line is not None
    places = [tuple(map(float, place.split(","))) for place in line.attrib["points"].split()]
    (x0, y0), (x1, y1), (x2, y2) = places
    assert x1 - x0 == pytest.approx(x2 - x1)  # equal steps in kimg
    assert y0 > y2 > y1  # SVG counts from the top
    assert y0 - y2 == pytest.approx(y2 - y1)


def test_the_script_gets_every_value_as_text() -> None:
    series = [Series("a", [(0, 0.0), (1, 1.0)]), Series(NASTY, [(1, 2.0)], 1)]
    figure = draw_chart(Chart(title="t", series=series))
    lines = json.loads(svg_of(figure).attrib["data-chart"])
    assert [line["label"] for line in lines] == ["a", NASTY]
    assert [[point[2:] for point in line["points"]] for line in lines] == [
        [["0", "0"], ["1", "1"]],
        [["1", "2"]],
    ]


def test_labels_are_escaped() -> None:
    series = [Series(NASTY, [(0, 1.0)]), Series("b", [(0, 2.0)], 1)]
    figure = draw_chart(Chart(title=NASTY, series=series, note=NASTY))
    assert "<b>" not in figure
    assert figure.count(escape(NASTY)) == 5  # title, note, legend, and twice in the spoken label
    (label,) = [line["label"] for line in json.loads(svg_of(figure).attrib["data-chart"])][:1]
    assert label == NASTY
    assert "<b>" not in draw_charts([Chart(title="t", series=series)], [NASTY])


def test_nothing_to_draw_is_no_chart() -> None:
    assert draw_chart(Chart(title="t", series=[])) == ""
    assert draw_chart(Chart(title="t", series=[Series("a", [])])) == ""


def test_intervals_become_whiskers() -> None:
    series = Series("a", [(1, 5.0), (2, 6.0)], intervals=[(4.0, 7.0), (5.5, 6.5)])
    svg = svg_of(draw_chart(Chart(title="t", series=[series])))
    whiskers = [line for line in svg.iter("line") if "whisker" in line.attrib["class"]]
    for line, dot in zip(whiskers, svg.iter("circle"), strict=True):
        assert line.attrib["x1"] == line.attrib["x2"] == dot.attrib["cx"]
        assert float(line.attrib["y1"]) < float(dot.attrib["cy"]) < float(line.attrib["y2"])
    heights = [float(line.attrib["y2"]) - float(line.attrib["y1"]) for line in whiskers]
    assert heights[0] == pytest.approx(3 * heights[1], abs=0.3)


def test_lines_past_the_colours_are_dashed() -> None:
    labels = [str(number) for number in range(17)]
    chart = Chart(title="t", series=[Series("a", [(0, 1.0), (1, 2.0)], 8)], legend=False)
    legend, figure = str(draw_charts([chart], labels)).split('<div class="charts">')
    dashes = re.findall(r'class="s(\d)"[^>]*?(?: stroke-dasharray="([\d ]+)")?/>', legend)
    assert dashes[:9] == [*((str(number), "") for number in range(8)), ("0", "7 3")]
    assert dashes[16] == ("0", "2 3")
    line = svg_of(figure.partition("</figure>")[0] + "</figure>").find("polyline")
    assert line is not None
    assert line.attrib["stroke-dasharray"] == "7 3"


def test_thinning_keeps_the_peaks_and_the_ends() -> None:
    points = [(float(x), 0.0) for x in range(10_000)]
    points[7_777] = (7_777.0, 9.0)
    points[3_333] = (3_333.0, -9.0)
    kept = thinned(points)
    assert len(kept) <= 602
    assert {points[0], points[-1], points[7_777], points[3_333]} <= set(kept)
    assert kept == sorted(kept)
    assert thinned(points[:600]) == points[:600]


def numbers(chart: Chart) -> tuple[dict[str, tuple[float, float]], list[ElementTree.Element]]:
    """The chart's texts with their places, and its lines."""
    svg = svg_of(draw_chart(chart))
    texts = {
        f"{text.text} {text.attrib['text-anchor']}": (
            float(text.attrib["x"]),
            float(text.attrib["y"]),
        )
        for text in svg.iter("text")
    }
    return texts, list(svg.iter("line"))


def test_numbers_stand_at_their_ticks() -> None:
    chart = Chart(title="t", series=[Series("a", [(0, 0.0), (1, 1.0), (2, 1.0)])])
    texts, lines = numbers(chart)
    assert set(texts) == {
        *("0 middle", "0.5 middle", "1 middle", "1.5 middle", "2 middle", "kimg end"),
        *("0 end", "0.25 end", "0.5 end", "0.75 end", "1 end"),
    }
    ticks = [line for line in lines if line.attrib["class"] == "tick"]
    grid = [line for line in lines if line.attrib["class"] == "grid"]
    # Centred under the ticks of x, below the axis; right-aligned beside the lines of y.
    middles = sorted(x for text, (x, _) in texts.items() if text.endswith("middle"))
    assert middles == sorted(float(tick.attrib["x1"]) for tick in ticks)
    assert middles == pytest.approx([52, 155.5, 259, 362.5, 466])
    assert all(tick.attrib["x1"] == tick.attrib["x2"] for tick in ticks)
    base = float(ticks[0].attrib["y1"])
    for text, (x, y) in texts.items():
        if text.endswith("middle"):
            assert base + 11 < y < 250
        elif text != "kimg end":
            assert x < 52
            # The text's height is 11; its baseline lies below its middle.
            nearest = min(abs(y - 3.5 - float(line.attrib["y1"])) for line in grid)
            assert nearest <= 0.1
    assert texts["0 end"][1] > texts["0.5 end"][1] > texts["1 end"][1]


def test_numbers_do_not_overlap() -> None:
    """At the largest number of ticks and the widest numbers, with 6.2 units a character."""
    for last in (9.9, 99.9, 12_345.0, 99_999.0, 1_000_000.0):
        series = [Series("a", [(0, 1e-7), (last, 123_456.0)])]
        texts, _ = numbers(Chart(title="t", series=series))
        below = sorted(
            (x, len(text.split()[0])) for text, (x, _) in texts.items() if text.endswith("middle")
        )
        for (x, size), (following, width) in itertools.pairwise(below):
            assert x + 3.1 * size < following - 3.1 * width, last
        for text, (x, _) in texts.items():
            if text.endswith(" end") and text != "kimg end":
                assert x - 6.2 * len(text.split()[0]) > 0, text


def test_a_single_point_is_in_the_middle() -> None:
    figure = draw_chart(Chart(title="t", series=[Series("a", [(3, 1.0)])]))
    (dot,) = svg_of(figure).iter("circle")
    assert float(dot.attrib["cx"]) == pytest.approx((52 + 466) / 2)


def test_charts_without_points_are_left_out() -> None:
    empty = Chart(title="empty", series=[Series("a", [])])
    assert draw_charts([empty, empty], ["a"]) == ""
    drawn = draw_charts([empty, Chart(title="full", series=[Series("a", [(0, 1.0)])])], ["a"])
    assert drawn.count("<figure") == 1
    assert drawn.count('<div class="sticky">') == 1
    assert '<div class="sticky">' not in draw_charts(
        [Chart(title="t", series=[Series("a", [(0, 1.0)])])]
    )
