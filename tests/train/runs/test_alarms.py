from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from segan.runtime.readings import effects
from segan.train.runs import alarms
from segan.train.runs.alarms import (
    DATA_SHARE_ABOVE,
    DEAD_BELOW,
    REAL_SIGN_ABOVE,
    SWD_RISE_ABOVE,
    Z_SHARE_BELOW,
    coordinate_alarms,
    data_alarm,
    overfitting_alarm,
    swd_alarm,
)


@pytest.mark.parametrize(
    ("entry", "fields"),
    [
        ({}, []),
        ({"dead_coords": 0, "coords": 18, "share_z": 0.05}, []),
        ({"dead_coords": 3, "coords": 18, "share_z": 0.5}, ["dead_coords"]),
        ({"share_z": 0.049}, ["share_z"]),
        ({"dead_coords": 1.0, "coords": 2.0, "share_z": 0.0}, ["dead_coords", "share_z"]),
        ({"dead_coords": None, "coords": None, "share_z": None}, []),
    ],
)
def test_alarms_on_coordinates(entry: dict[str, Any], fields: list[str]) -> None:
    assert [alarm.field for alarm in coordinate_alarms(entry)] == fields


def test_alarms_say_the_figures_and_the_settings() -> None:
    dead, share = coordinate_alarms({"dead_coords": 3, "coords": 18, "share_z": 0.012})
    assert "3 of 18" in dead.problem
    assert "0.01" in dead.problem
    assert "`dims`" in dead.remedy
    assert "1.2%" in share.problem
    assert "5%" in share.problem
    assert "`shared_coords`" in share.remedy
    assert dead.text == f"{dead.problem}. {dead.remedy}"
    loading = data_alarm({"data": 1.0, "generator": 1.0})
    assert loading is not None
    assert loading.text.endswith("50% of the training time.")


def test_the_other_alarms_have_thresholds() -> None:
    assert overfitting_alarm(None) is None
    assert overfitting_alarm(0.95) is None
    assert overfitting_alarm(0.951) is not None
    assert swd_alarm([]) is None
    assert swd_alarm([(1, 0.1), (2, 0.11)]) is None
    assert swd_alarm([(1, 0.3), (2, 0.1), (3, 0.12)]) is not None
    assert swd_alarm([(1, 0.3), (2, 0.1)]) is None
    assert data_alarm({}) is None
    assert data_alarm({"data": 1.0, "generator": 19.0}) is None
    assert data_alarm({"data": 1.1, "generator": 19.0}) is not None


def test_an_atlas_and_training_call_the_same_effects_dead() -> None:
    assert alarms.DEAD_BELOW is effects.DEAD_BELOW


def test_the_guide_states_the_thresholds() -> None:
    guide = Path(__file__).parents[3] / "docs" / "guides" / "training.md"
    rows = {
        line.split("|")[1].strip(): line.rsplit("|", 3)
        for line in guide.read_text(encoding="utf-8").splitlines()
        if line.startswith("| `")
    }
    for fields, threshold in (
        ("`score/real_sign`", f"above {REAL_SIGN_ABOVE:g}"),
        ("`effects`, `dead_coords` of `coords`", f"below {DEAD_BELOW:g} rms"),
        ("`seconds/tick`, `seconds/data`, `seconds/step`", f"above {DATA_SHARE_ABOVE:.0%}"),
        ("`swd`", f"{SWD_RISE_ABOVE - 1:.0%} above"),
        ("`share_coords`, `share_z`", f"below {Z_SHARE_BELOW:g}"),
    ):
        assert threshold in "".join(rows[fields]), fields
