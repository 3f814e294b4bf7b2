"""The page in a real browser, if there is one: values appear under the pointer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from segan.train.report.write import ReportConfig, write_report

STEPS = """
const svg = [...document.querySelectorAll("svg[data-chart]")].find(
  (chart) => chart.getAttribute("aria-label").startsWith("Losses"));
const area = svg.getBoundingClientRect();
const at = (share) => svg.dispatchEvent(new PointerEvent(
  "pointermove", {clientX: area.left + share * area.width, clientY: area.top + 20}));
at(0.95);
seen.last = svg.parentNode.querySelector(".tip").textContent;
seen.cursor = Number(svg.querySelector(".cursor").getAttribute("x1"));
at(0.5);
seen.middle = svg.parentNode.querySelector(".tip").textContent;
seen.tips = document.querySelectorAll(".tip").length;
svg.dispatchEvent(new PointerEvent("pointerleave"));
seen.left = document.querySelectorAll(".tip, .cursor").length;
"""


@pytest.mark.slow
def test_values_appear_under_the_pointer(
    make_run: Callable[..., Path],
    tmp_path: Path,
    in_browser: Callable[[Path, str], dict[str, Any]],
) -> None:
    write_report(ReportConfig(runs=(make_run(),)), tmp_path / "report")
    seen = in_browser(tmp_path / "report" / "index.html", STEPS)
    assert seen["errors"] == []
    assert seen["last"] == "1 kimggenerator: 3discriminator: 0.5"
    assert seen["cursor"] == 466  # the right end of the axis
    assert seen["middle"] == "0.5 kimggenerator: 2discriminator: 0.5"
    assert (seen["tips"], seen["left"]) == (1, 0)
