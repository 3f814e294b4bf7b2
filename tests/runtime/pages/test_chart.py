from __future__ import annotations

import html
import json
import re
from xml.etree import ElementTree

import pytest

from segan.runtime.pages.chart import Chart, Series, draw_chart, draw_legend, thinned

NASTY = '<b>"it\'s" & more</b>'


def svg_of(figure: str) -> ElementTree.Element:
    """The chart's SVG, parsed as XML."""
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
    assert figure.count(html.escape(NASTY)) >= 3
    assert "<b>" not in draw_legend([(NASTY, 0)])


def test_nothing_to_draw_is_no_chart() -> None:
    assert draw_chart(Chart(title="t", series=[])) == ""
    assert draw_chart(Chart(title="t", series=[Series("a", [])])) == ""


def test_intervals_become_whiskers() -> None:
    series = Series("a", [(1, 5.0), (2, 6.0)], intervals=[(4.0, 7.0), (5.5, 6.5)])
    whiskers = [
        line
        for line in svg_of(draw_chart(Chart(title="t", series=[series]))).iter("line")
        if "whisker" in line.attrib["class"]
    ]
    heights = [float(line.attrib["y2"]) - float(line.attrib["y1"]) for line in whiskers]
    assert heights[0] == pytest.approx(3 * heights[1], abs=0.3)


def test_lines_past_the_colours_are_dashed() -> None:
    legend = draw_legend([("a", 0), ("b", 8), ("c", 16)])
    assert re.findall(r'stroke-dasharray="([\d ]+)"', legend) == ["7 3", "2 3"]


def test_thinning_keeps_the_peaks_and_the_ends() -> None:
    points = [(float(x), 0.0) for x in range(10_000)]
    points[7_777] = (7_777.0, 9.0)
    points[3_333] = (3_333.0, -9.0)
    kept = thinned(points)
    assert len(kept) <= 602
    assert {points[0], points[-1], points[7_777], points[3_333]} <= set(kept)
    assert kept == sorted(kept)
    assert thinned(points[:600]) == points[:600]
