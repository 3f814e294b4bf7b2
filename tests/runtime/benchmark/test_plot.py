from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from segan.runtime.benchmark.plot import check_plot, write_plot
from segan.runtime.errors import ConfigError, OutputError


def _record() -> dict[str, Any]:
    """The part of a benchmark's record that is drawn, with figures made up."""
    row = {
        "backend": "cpu",
        "precision": "fp32",
        "batch": 1,
        "images_per_s": 86.2,
        "slowest": 80.0,
        "fastest": 90.0,
        "of_ceiling": 0.862,
        "bound_images_per_s": 100.0,
    }
    fast = row | {
        "backend": "openvino",
        "precision": "bf16",
        "images_per_s": 190.0,
        "slowest": 185.0,
        "fastest": 1234.5,
        "of_ceiling": None,
        "bound_images_per_s": None,
    }
    return {
        "machine": {"processor": "Some CPU", "threads_used": 2, "gpu": []},
        "bundle": {"name": "faces", "resolution": 64},
        "rows": [row, fast],
    }


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
def test_the_plot_is_a_picture(suffix: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib; the bare environment has none")
    path = tmp_path / f"speed{suffix}"
    write_plot(path, _record())
    data = path.read_bytes()
    assert data.startswith((b"\x89PNG", b"%PDF", b"<?xml"))
    if suffix == ".svg":
        # Letters are drawn as outlines, with the text beside them as a comment.
        for word in ("openvino bf16", "faces, 64²: Some CPU, 2 threads", "86.2", "86%"):
            assert f"<!-- {word} -->" in data.decode()


def test_rates_that_are_far_apart_are_drawn_on_a_logarithmic_scale(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib; the bare environment has none")
    record = _record()
    record["rows"][1] |= {"images_per_s": 9000.0, "slowest": 8000.0, "fastest": 9100.0}
    write_plot(tmp_path / "speed.svg", record)
    assert "9,000" in (tmp_path / "speed.svg").read_text()


def test_a_plot_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib; the bare environment has none")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        write_plot(tmp_path / "file" / "speed.png", _record())


def test_a_plot_of_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        check_plot(tmp_path / "speed.bmp")
    assert (error.value.field, error.value.value) == ("plot", tmp_path / "speed.bmp")
    assert ".svg" in error.value.expected


def test_without_matplotlib_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(OutputError) as error:
        check_plot(tmp_path / "speed.png")
    assert error.value.field == "plot"
    assert "pip install matplotlib" in error.value.remedy
