"""The report of a model whose sliders are known: true attributes in place of readings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from segan.runtime.readings.effects import SliderReadings
from segan.train.measure.control.attributes import READINGS, encode_attributes
from segan.train.measure.control.drawn_model import DrawnModel
from segan.train.measure.control.readings_sample import ReadingsSample
from segan.train.measure.control.report import (
    FORMAT,
    SlidersReport,
    measure_codes,
    measure_separability,
    score_readings,
    write_control,
)
from segan.train.measure.control.separability import class_questions
from segan.train.measure.models.model import Codes

NAMES = [reading.name for reading in READINGS]


def report(mixing: np.ndarray, seeds: int = 64) -> SlidersReport:
    """Sliders of drawn faces, as a perfect estimator sees them."""
    model = DrawnModel(16, mixing)
    found = {}
    for slider, low, high in model.sliders:
        path = []
        for value in np.linspace(low, high, 5):
            coords = model.codes(range(seeds)).coords.copy()
            coords[:, slider.dim] = value
            path.append(encode_attributes(model.attributes(coords)).astype(np.float64))
        found[str(slider)] = SliderReadings(np.stack(path), np.ones(seeds))
    return score_readings(found, model.sliders, repeats=20)


def test_perfect_sliders_control_every_attribute_and_keep_the_person() -> None:
    found = report(np.eye(len(NAMES)))
    data = found.to_json()
    assert data["controlled"] == {"value": 18, "low": 18, "high": 18}
    assert data["controlled_strict"]["value"] == 18
    assert data["leakage"]["value"] == 0
    assert data["identity"]["value"] == 1
    assert data["measured_disentanglement"]["value"] == pytest.approx(1)
    assert data["best"] == {name: f"L0N0D{at}" for at, name in enumerate(NAMES)}
    row = data["sliders"][NAMES.index("smile")]
    assert row["attribute"] == "smile"
    assert row["effect"]["value"] == pytest.approx(12**0.5, abs=1e-4)
    assert row["leakage"] == {"value": 0, "low": 0, "high": 0}
    assert row["monotonicity"]["value"] == pytest.approx(1)
    assert row["controls"]
    assert json.loads(json.dumps(data)) == data


def test_a_slider_of_two_attributes_leaks_as_much_as_it_was_mixed() -> None:
    mixing = np.eye(len(NAMES))
    smile, blush = NAMES.index("smile"), NAMES.index("blush")
    mixing[smile, blush] = 0.5
    row = report(mixing).to_json()["sliders"][smile]
    assert row["attribute"] == "smile"
    # Half the effect less what the ends of blush's range cut off.
    assert row["leakage"]["value"] == pytest.approx(0.3, abs=0.04)
    low, high = row["leakage"]["low"], row["leakage"]["high"]
    assert low <= row["leakage"]["value"] <= high
    assert 0.8 < row["identity"]["value"] < 0.97
    assert not row["dead"]


def test_codes_are_scored_in_every_space() -> None:
    model = DrawnModel(16)
    codes = model.codes(range(900))
    readings = encode_attributes(model.attributes(codes.coords)).astype(np.float64)
    turned = codes.z[:, :5] @ np.linalg.qr(np.random.RandomState(0).randn(5, 5))[0]
    few = Codes(codes.z[:, :5], turned, codes.coords[:, :5])
    sample = ReadingsSample(few, readings)
    steps: list[str] = []
    found = measure_codes(sample, repeats=2, parts=("mig", "separability"), on_step=steps.append)
    assert set(found) == {"mig", "separability900"}
    spaces = ["z", "w", "coords", "coords+z"]
    assert list(found["mig"]) == list(found["separability900"]) == spaces
    # Five coordinates tell five of the attributes.
    assert found["mig"]["coords"]["value"] == pytest.approx(5 / len(NAMES), abs=0.06)
    assert found["mig"]["w"]["value"] < 0.08
    assert steps[-1] == "separability"
    json.dumps(found, allow_nan=False)


def test_separability_of_own_classes() -> None:
    codes = DrawnModel(16).codes(range(400))
    right = 1 / (1 + np.exp(-9 * codes.z[:, 0]))
    readings = np.stack([1 - right, right], axis=1)
    questions = class_questions(readings, ("no", "yes"))
    found = measure_separability(ReadingsSample(codes, readings), questions, repeats=2)
    assert found["z"]["value"] == pytest.approx(1, abs=0.02)
    assert list(found["z"]["entropies"]) == ["label=yes"]


def test_the_record_is_written_whole(tmp_path: Path) -> None:
    write_control(tmp_path / "control.json", {"format": FORMAT, "value": 1.5})
    assert json.loads((tmp_path / "control.json").read_text())["value"] == 1.5
    with pytest.raises(ValueError, match="JSON"):
        write_control(tmp_path / "other.json", {"value": float("nan")})
    assert not (tmp_path / "other.json").exists()
