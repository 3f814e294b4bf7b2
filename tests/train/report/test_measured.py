from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from segan.runtime.errors import DataError
from segan.train.report.measured import (
    Estimate,
    estimate_of,
    read_benchmark,
    read_control,
    read_metrics,
)

LINE: dict[str, Any] = {
    "metric": "fid50k_full",
    "value": 12.5,
    "values": {},
    "interval": [12.1, 12.9],
    "protocol": {"n": 50000, "detector": {"name": "inception", "sha256": "0"}},
    "model": {"path": "c", "kind": "checkpoint", "kimg": 40.0, "sha256": "0"},
    "seconds": 3.0,
    "segan": "0.1.0",
    "time": "2026-05-01T12:00:00Z",
}
ROW: dict[str, Any] = {
    "backend": "cpu",
    "precision": "fp32",
    "batch": 1,
    "images_per_s": 10.0,
    "slowest": 9.0,
    "fastest": 11.0,
}


def test_metrics_are_read_without_incomplete_lines(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    line = json.dumps(LINE)
    path.write_text(f'{line}\n{line[:40]}\n\n{line}\n{{"metric": "to')
    first, second = read_metrics(path)
    assert first == second
    assert (first.metric, first.value, first.interval) == ("fid50k_full", 12.5, (12.1, 12.9))
    assert (first.model.kimg, first.protocol["n"]) == (40.0, 50000)


def test_optional_fields_of_metrics_may_be_missing(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"metric": "ppl", "value": 3, "new": 1}\n')
    (found,) = read_metrics(path)
    assert (found.value, found.model.kimg, found.protocol) == (3.0, None, {})


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"value": "12.5"}, "$.value"),
        ({"interval": [1.0]}, "$.interval"),
        ({"model": {"kimg": "40"}}, "$.model.kimg"),
        ({"protocol": []}, "$.protocol"),
    ],
)
def test_a_mistyped_field_of_metrics_is_named(
    tmp_path: Path, change: dict[str, Any], named: str
) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(json.dumps(LINE) + "\n" + json.dumps(LINE | change) + "\n")
    with pytest.raises(DataError) as caught:
        read_metrics(path)
    assert caught.value.value == path
    assert "metrics.jsonl, line 2: " in caught.value.problem
    assert named in caught.value.problem
    assert "segan metrics" in caught.value.remedy


SLIDER: dict[str, Any] = {
    "slider": "L1N0D3",
    "attribute": "shirt_hue",
    "effect": {"value": -1.2, "low": -1.4, "high": -1.0},
    "leakage": {"value": 0.09, "low": None, "high": None},
}


def test_control_scores_are_read_with_and_without_intervals(tmp_path: Path) -> None:
    path = tmp_path / "control.json"
    inner = {"count": 1, "controlled": {"value": 1.0}, "sliders": [SLIDER]}
    path.write_text(json.dumps({"format": "segan.control/1", "sliders": inner, "dci": {}}))
    found = read_control(path)
    assert found is not None
    assert estimate_of(found.controlled).value == 1
    assert estimate_of(found.sliders[0].effect) == Estimate(value=-1.2, low=-1.4, high=-1.0)
    assert estimate_of(found.sliders[0].leakage).low is None
    path.write_text(json.dumps({"sliders": [SLIDER | {"effect": 3, "leakage": 0.5}]}))
    found = read_control(path)
    assert found is not None
    assert estimate_of(found.sliders[0].effect) == Estimate(value=3.0)
    path.write_text('{"format": "segan.control/1", "sliders": null, "dci": {}}')
    assert read_control(path) is None


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('{"sliders": [{"slider": "L1", "effect": "big", "leakage": 0}]}', "$.sliders[0].effect"),
        ('{"sliders": [{"slider": "L1", "effect": 1}]}', "'leakage' - at '$.sliders[0]'"),
        ('{"sliders": {"sliders": [{"slider": 1}]}}', "in sliders: Expected 'str'"),
        ('{"sliders": 3}', "$.sliders"),
        ("{}", "'sliders'"),
        ("[]", "object"),
        ('{"sliders": [', "truncated"),
        ("\xff", "truncated"),
    ],
)
def test_broken_control_scores_name_the_field(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "control.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(DataError) as caught:
        read_control(path)
    assert caught.value.value == path
    assert named in caught.value.problem


def test_a_benchmark_is_read(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    path.write_text(json.dumps({"rows": [ROW], "machine": {"processor": "x"}, "not_run": []}))
    found = read_benchmark(path)
    assert (found.rows[0].images_per_s, found.machine.processor) == (10.0, "x")
    path.write_text(json.dumps({"rows": [ROW | {"batch": 1.5}]}))
    with pytest.raises(DataError) as caught:
        read_benchmark(path)
    assert caught.value.value == path
    assert "rows[0].batch" in caught.value.problem
    with pytest.raises(DataError) as caught:
        read_benchmark(tmp_path / "none.json")
    assert caught.value.value == tmp_path / "none.json"
    assert "No such file" in caught.value.problem
