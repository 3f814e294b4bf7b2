from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from segan.runtime.bundle.attributes import read_attributes
from segan.runtime.bundle.reader import open_bundle
from segan.runtime.bundle.shipped import shipped_bundle

Segan = Callable[..., subprocess.CompletedProcess[str]]


def names(path: Path) -> list[tuple[str, str]]:
    return [(entry.name, str(entry.slider)) for entry in read_attributes(open_bundle(path))]


def test_a_slider_is_named_bounded_and_then_swept(segan: Segan, toy_bundle: Path) -> None:
    done = segan("name", toy_bundle, "L1N0D2", "smile", "--range", "-1.5,1")
    assert done.returncode == 0, done.stderr
    assert "L1N0D2 is smile, from -1.5 to 1." in done.stdout
    # The advice works as typed.
    done = segan("sweep", toy_bundle, "--attr", "smile", "--steps", 3, "--seeds", 0, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["values"] == [-1.5, -0.25, 1]


def test_the_newest_bundle_and_the_current_name(segan_here: Segan, toy_bundle: Path) -> None:
    assert segan_here("name", "L1N0D2", "smile").returncode == 0
    done = segan_here("name", "Smile", "grin", "--hide", "--sign", "-1")
    assert done.returncode == 0, done.stderr
    assert "against its coordinate, hidden." in done.stdout
    assert names(toy_bundle) == [("grin", "L1N0D2")]
    done = segan_here("name", "grin", "--show", "--json")
    assert json.loads(done.stdout)["entry"]["name"] == "grin"
    assert "hidden" not in json.loads(done.stdout)["entry"]
    done = segan_here("name", "--remove", "grin")
    assert "L1N0D2 has no name now" in done.stdout
    assert names(toy_bundle) == []


def test_several_sliders_get_a_name_with_weights(segan: Segan, toy_bundle: Path) -> None:
    weights = "L0N0D5=0.8,L2N0D1=-0.3"
    done = segan("name", toy_bundle, "glasses", weights, "--range", "-2,2")
    assert done.returncode == 0, done.stderr
    assert f"{weights} is glasses, from -2 to 2." in done.stdout
    done = segan("sweep", toy_bundle, "--attr", "glasses", "--steps", 3, "--seeds", 0, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["values"] == [-2, 0, 2]
    assert "L0N0D5 +0.8, L2N0D1 -0.3" in segan("info", toy_bundle).stdout
    done = segan("name", toy_bundle, "Glasses", "specs", "--hide")
    assert "is specs, from -2 to 2, hidden." in done.stdout
    done = segan("name", toy_bundle, "specs", "L0N0D5=2", "--show")
    assert "L0N0D5=2 is specs, from -2 to 2." in done.stdout
    assert segan("name", toy_bundle, "specs", "--sign", "-1").returncode == 2
    done = segan("name", toy_bundle, "specs", "--remove")
    assert "specs has no name now" in done.stdout
    assert names(toy_bundle) == []


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("L0N0D5=x", "is not understood"),
        ("L0N0D5=1,L0N0D5=2", "given twice"),
        ("L9N0D5=1,L0N0D5=2", "0 to 2"),
        ("L0N0D5=0,L1N0D0=1", "a number other than 0"),
        ("L0N0D5=nan,L1N0D0=1", "a number other than 0"),
    ],
)
def test_weights_that_cannot_be(segan: Segan, toy_bundle: Path, weights: str, message: str) -> None:
    done = segan("name", toy_bundle, "glasses", weights)
    assert done.returncode == 2
    assert message in done.stderr
    assert names(toy_bundle) == []


def test_the_shipped_model_is_copied(segan_here: Segan, tmp_path: Path) -> None:
    before = shipped_bundle().read_bytes()
    done = segan_here("name", "L3N0D5", "my own")
    assert done.returncode == 2
    assert "ships with segan, and is not changed" in done.stderr
    done = segan_here("name", "L3N0D5", "my own", "-o", "mine.segan")
    assert done.returncode == 0, done.stderr
    assert ("my own", "L3N0D5") in names(tmp_path / "mine.segan")
    assert "--attr 'my own'" in done.stdout
    assert shipped_bundle().read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no slider is given; expected [BUNDLE] SLIDER [NAME]"),
        (("L0N0D0",), "no change is given"),
        (("L0N0D0", "a", "b"), "expected [BUNDLE] SLIDER [NAME]"),
        (("toy.segan",), "expected [BUNDLE] SLIDER [NAME]"),
        (("L0N0D9", "a"), "dim is 9; expected 0 to 5"),
        (("pose", "a"), "attribute is 'pose', but this bundle has no named sliders"),
        (("L0N0D0", "a", "--range", "2,1"), "expected LOW below HIGH"),
        (("L0N0D0", "a", "--sign", "2"), "'2' is not one of"),
        (("L0N0D0", "a", "--remove"), "expected a slider and nothing else"),
        (("L0N0D0", "--remove"), "L0N0D0 has no name to remove"),
        (("L0N0D0", "L1N0D0"), "reads as a slider"),
        (("L0N0D0", "a", "-o", "a.zip"), "ends in .segan"),
    ],
)
def test_wrong_use(
    segan_here: Segan, toy_bundle: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = segan_here("name", *arguments)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr


def test_no_bundle(segan_here: Segan) -> None:
    done = segan_here("name", "none.segan", "L0N0D0", "a")
    assert done.returncode == 1
    assert "there is no bundle at none.segan" in done.stderr
