from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from segan.runtime.bundle.attributes import (
    Attribute,
    find_attribute,
    names_of,
    read_attributes,
    resolve_names,
)
from segan.runtime.bundle.layout import Slider
from segan.runtime.bundle.reader import Bundle, open_bundle
from segan.runtime.errors import BundleError, ConfigError

Replace = Callable[[Path, str, bytes], None]

SMILE = {"name": "smile", "layer": 1, "index": 0, "dim": 2, "range": [-1, 2], "sign": -1}
POSE = {"name": "head pose, layer 0", "layer": 0, "dim": 5, "range": [-1.5, 1.5], "sigma": 0.25}
HIDDEN = {"name": "mouse", "layer": 2, "dim": 0, "range": [-1, 1], "hidden": True}


def written(bundle: Path, replace_file: Replace, *entries: object, **fields: object) -> Bundle:
    document = {"format": "segan.attributes/1", "attributes": list(entries), **fields}
    replace_file(bundle, "attributes.json", json.dumps(document).encode())
    return open_bundle(bundle)


def test_entries_are_read_with_what_others_wrote(toy_bundle: Path, replace_file: Replace) -> None:
    smile, pose = read_attributes(written(toy_bundle, replace_file, SMILE, POSE))
    assert (smile.name, smile.slider, smile.range) == ("smile", Slider(1, 0, 2), (-1.0, 2.0))
    assert (smile.sign, smile.hidden, smile.extra) == (-1, False, {})
    assert (pose.slider, pose.sign, pose.extra) == (Slider(0, 0, 5), 1, {"sigma": 0.25})
    assert smile.coordinates(1.5) == {smile.slider: -1.5}
    assert pose.coordinates(1.5) == {Slider(0, 0, 5): 1.5}
    assert smile.to_json() == SMILE
    assert pose.to_json() == {**POSE, "index": 0}
    assert names_of([smile, pose]) == {Slider(1, 0, 2): "smile", Slider(0, 0, 5): pose.name}


GLASSES = {"name": "glasses", "sliders": {"L0N0D5": 0.8, "L2N0D1": -0.3}, "range": [-2, 2]}


def test_a_name_may_have_several_sliders(toy_bundle: Path, replace_file: Replace) -> None:
    entry = {**GLASSES, "method": "attributes", "measured": {"leakage": 0.1}}
    bundle = written(toy_bundle, replace_file, SMILE, entry)
    smile, glasses = read_attributes(bundle)
    assert glasses.slider is None
    assert glasses.weights == {Slider(0, 0, 5): 0.8, Slider(2, 0, 1): -0.3}
    assert glasses.sliders == "L0N0D5=0.8,L2N0D1=-0.3"
    assert glasses.coordinates(2) == {Slider(0, 0, 5): 1.6, Slider(2, 0, 1): -0.6}
    assert glasses.to_json() == entry
    assert names_of([smile, glasses]) == {Slider(1, 0, 2): "smile"}
    # Names add up with each other and with sliders.
    assert resolve_names(bundle, {"glasses": 1, "smile": 2, "L0N0D5": 1}) == {
        Slider(1, 0, 2): -2.0,
        Slider(0, 0, 5): pytest.approx(1.8),
        Slider(2, 0, 1): pytest.approx(-0.3),
    }
    with pytest.raises(ConfigError, match="glasses is given twice"):
        resolve_names(bundle, {"glasses": 1, "GLASSES": 2})


@pytest.mark.parametrize(
    ("sliders", "message"),
    [
        ({}, "1 or more sliders"),
        ({"L9N0D0": 1}, "layer"),
        ({"L0N0D5": 0}, "a number other than 0"),
        ({"L0N0D5": 1e300}, "a number other than 0"),
        ({"L0N0D5": "much"}, "float"),
        ({"L0N0D5": 1, "l0n0d5": 2}, "a slider twice"),
        ({"smile": 1}, "not understood"),
        ([1], "object"),
    ],
)
def test_weights_that_cannot_be(
    toy_bundle: Path, replace_file: Replace, sliders: object, message: str
) -> None:
    with pytest.raises(BundleError, match=message):
        read_attributes(written(toy_bundle, replace_file, {**GLASSES, "sliders": sliders}))


@pytest.mark.parametrize("ends", [[-1e308, 1e308], [0, 1e7], [1, -1]])
def test_ranges_are_bounded(toy_bundle: Path, replace_file: Replace, ends: list[float]) -> None:
    with pytest.raises(BundleError, match="a low end below the high one"):
        read_attributes(written(toy_bundle, replace_file, {**GLASSES, "range": ends}))


def test_an_entry_has_one_form(toy_bundle: Path, replace_file: Replace) -> None:
    with pytest.raises(BundleError, match=r"it has .sliders. and .dim."):
        read_attributes(written(toy_bundle, replace_file, {**GLASSES, "dim": 1}))


def test_a_bundle_may_name_nothing(toy_bundle: Path, toy_bundle_plain: Path) -> None:
    assert read_attributes(open_bundle(toy_bundle)) == ()
    assert read_attributes(open_bundle(toy_bundle_plain)) == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": 3}, r"entry 1: .*str.*\$.name"),
        ({"name": ""}, r"entry 1, '': name ''.*1 to 100 printable"),
        ({"name": " smile"}, "1 to 100 printable"),
        ({"name": "a\x1b[2J"}, "1 to 100 printable"),
        ({"name": "x" * 101}, "1 to 100 printable"),
        ({"name": "a=b"}, "'='"),
        ({"name": "L0N0D1"}, "reads as a slider"),
        ({"name": "HEAD POSE, LAYER 0"}, "HEAD POSE.* twice"),
        ({"layer": 9}, r"entry 1, 'smile': layer is 9; expected 0 to 2"),
        ({"layer": "1"}, r"entry 1, 'smile': .*\$.layer"),
        ({"layer": True}, r"entry 1, 'smile'"),
        ({"dim": 6}, "dim is 6; expected 0 to 5"),
        ({"dim": -1}, "dim is -1"),
        ({"index": 2}, "index is 2"),
        ({"range": [2, -1]}, "range is 2, -1; expected a low end below"),
        ({"range": [1, 1]}, "expected a low end below"),
        ({"range": [float("nan"), 1]}, "expected a low end below"),
        ({"range": [0, float("inf")]}, "expected a low end below"),
        ({"range": [0]}, r"entry 1, 'smile'"),
        ({"range": None}, r"entry 1, 'smile'"),
        ({"sign": 0}, "sign is 0; expected 1 or -1"),
        ({"hidden": "no"}, r"entry 1, 'smile'"),
    ],
)
def test_a_damaged_entry_is_named(
    toy_bundle: Path, replace_file: Replace, change: dict[str, Any], message: str
) -> None:
    bundle = written(toy_bundle, replace_file, POSE, {**SMILE, **change})
    with pytest.raises(BundleError, match=message):
        read_attributes(bundle)


@pytest.mark.parametrize("field", ["name", "layer", "dim", "range"])
def test_a_missing_field_is_named(toy_bundle: Path, replace_file: Replace, field: str) -> None:
    entry = {key: value for key, value in SMILE.items() if key != field}
    with pytest.raises(BundleError, match=f"entry 0.*{field}"):
        read_attributes(written(toy_bundle, replace_file, entry))


def test_a_damaged_file_is_refused(toy_bundle: Path, replace_file: Replace) -> None:
    with pytest.raises(BundleError, match="entry 0: "):
        read_attributes(written(toy_bundle, replace_file, "smile"))
    with pytest.raises(BundleError, match="attributes is not a list"):
        read_attributes(written(toy_bundle, replace_file, attributes={"smile": 1}))
    with pytest.raises(BundleError, match=r"format is 'segan\.attributes/2'"):
        read_attributes(written(toy_bundle, replace_file, format="segan.attributes/2"))


def test_a_bundle_without_subspaces_can_name_nothing(
    toy_bundle_plain: Path, replace_file: Replace
) -> None:
    with pytest.raises(BundleError, match="entry 0, 'smile': this bundle has no sliders"):
        read_attributes(written(toy_bundle_plain, replace_file, SMILE))


def test_names_are_found_case_aside(toy_bundle: Path, replace_file: Replace) -> None:
    attributes = read_attributes(written(toy_bundle, replace_file, SMILE, POSE, HIDDEN))
    for name in ("smile", "SMILE", " Smile "):
        assert find_attribute(attributes, name).slider == Slider(1, 0, 2)
    assert find_attribute(attributes, "mouse").hidden
    with pytest.raises(ConfigError) as caught:
        find_attribute(attributes, "smil")
    assert (caught.value.field, caught.value.value) == ("attribute", "smil")
    assert caught.value.expected == "one of smile, head pose, layer 0"
    assert "smile" in caught.value.remedy
    with pytest.raises(ConfigError) as caught:
        find_attribute(attributes, "qqq")
    assert caught.value.remedy == ""
    assert "mouse" not in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        find_attribute((), "smile")
    assert "segan name" in caught.value.remedy


def test_a_long_list_is_cut() -> None:
    many = [
        Attribute(name=f"name {i}", weights={Slider(0, 0, i): 1.0}, range=(-1, 1))
        for i in range(30)
    ]
    with pytest.raises(ConfigError, match="name 11 and 18 more"):
        find_attribute(many, "qqq")


def test_names_become_sliders(toy_bundle: Path, replace_file: Replace) -> None:
    bundle = written(toy_bundle, replace_file, SMILE, POSE)
    given: dict[Slider | str, float] = {"Smile": 1.5, "L0N0D1": 2, Slider(2, 0, 0): -1}
    found = resolve_names(bundle, given)
    assert found == {Slider(1, 0, 2): -1.5, Slider(0, 0, 1): 2, Slider(2, 0, 0): -1}
    assert resolve_names(bundle, None) == {}
    with pytest.raises(ConfigError, match="L1N0D2 is given twice"):
        resolve_names(bundle, {"smile": 1, "L1N0D2": 1})
    with pytest.raises(ConfigError, match="attribute smile is nan"):
        resolve_names(bundle, {"smile": float("nan")})


def test_damaged_attributes_do_not_matter_where_no_name_is_used(
    toy_bundle: Path, replace_file: Replace
) -> None:
    bundle = written(toy_bundle, replace_file, "no entry")
    assert resolve_names(bundle, {"L0N0D1": 2}) == {Slider(0, 0, 1): 2}
    with pytest.raises(BundleError):
        resolve_names(bundle, {"smile": 2})
