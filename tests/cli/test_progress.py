from __future__ import annotations

import io
import re

import pytest

from segan.cli.progress import LateProgress, progress


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in seconds, as its only element."""
    now = [100.0]
    monkeypatch.setattr("segan.cli.progress.time.monotonic", lambda: now[0])
    return now


def test_piped_a_line_every_five_seconds(clock: list[float]) -> None:
    stream = io.StringIO()
    with progress(100, "images", "generating", stream=stream) as bar:
        for _ in range(20):
            clock[0] += 0.5
            bar.update(2)
    assert stream.getvalue().splitlines() == [
        # 20 images in 5 s: 4 a second, 80 left.
        "generating: 20/100 images, 4 images/s, 20.0 s left",
        "generating: 40/100 images, 4 images/s, 15.0 s left",
        "generating: 40/100 images, 4 images/s, 10.0 s",
    ]


def test_piped_without_a_total(clock: list[float]) -> None:
    stream = io.StringIO()
    with progress(None, "kimg", "training", stream=stream) as bar:
        clock[0] += 7200
        bar.update(1.5)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "training: 1.5 kimg, 0.000208 kimg/s"
    assert lines[1] == "training: 1.5 kimg, 0.000208 kimg/s, 2:00:00"


def test_an_error_shows_no_end(clock: list[float]) -> None:
    stream = io.StringIO()
    with pytest.raises(ValueError, match="stop"), progress(5, "images", "x", stream=stream):
        raise ValueError("stop")
    assert stream.getvalue() == ""


def test_on_a_terminal_a_bar_with_rate_and_remaining_time() -> None:
    stream = _Terminal()
    with progress(4, "images", "generating", stream=stream) as bar:
        bar.update(1)
        bar.update(3)
    text = stream.getvalue()
    assert "generating: 100%" in text
    assert re.search(r"4/4 \[.*images/s\]", text)


def test_a_late_bar_ends_with_the_last_unit(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with LateProgress("faces") as bar:
        bar.update(1)  # not started: nothing is shown
        bar.start(4, "drawing")
        bar.update(3)
        assert capsys.readouterr().err == ""
        clock[0] += 2
        bar.update(1)
        assert capsys.readouterr().err == "drawing: 4/4 faces, 2 faces/s, 2.0 s\n"
        clock[0] += 60
    assert capsys.readouterr().err == ""
