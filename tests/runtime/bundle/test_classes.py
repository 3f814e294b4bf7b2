from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from segan.runtime.bundle.classes import (
    class_number,
    known_classes,
    nearest_class,
    needs_class,
    one_hot,
)
from segan.runtime.errors import ConfigError

if TYPE_CHECKING:
    from tests.conftest import RaisesError

NAMES = ("none", "round", "7")


@pytest.mark.parametrize(
    ("given", "number"), [(None, None), (0, 0), (2, 2), (np.int64(1), 1), ("round", 1), ("7", 2)]
)
def test_names_and_numbers(given: Any, number: int | None) -> None:
    assert class_number(given, NAMES, 3) == number


@pytest.mark.parametrize("given", [3, -1, True, 1.0, "oval", "Round", "", "0"])
def test_what_is_no_class(given: Any, raises_error: RaisesError) -> None:
    expected = "0 to 2 (0 none, 1 round, 2 7)"
    with raises_error(ConfigError, field="class_index", value=given, expected=expected):
        class_number(given, NAMES, 3)


def test_classes_without_names(raises_error: RaisesError) -> None:
    assert class_number(1, (), 2) == 1
    with raises_error(ConfigError, field="class_index", value="round", expected="0 to 1"):
        class_number("round", (), 2)
    with raises_error(ConfigError, field="class_index", value=0, problem="has no classes"):
        class_number(0, (), 0)
    assert class_number(None, (), 0) is None


def test_a_long_list_is_cut() -> None:
    assert known_classes([str(n) for n in range(50)], 50).endswith("19 19, …)")


@pytest.mark.parametrize(
    ("given", "near"),
    [
        ("rond", "round"),
        ("Round", "round"),
        (" round ", "round"),
        ("glasses", "square glasses"),
        ("squar", "square glasses"),
        ("oval", None),
        ("", None),
    ],
)
def test_the_nearest_name_is_suggested(given: str, near: str | None) -> None:
    names = ("none", "round", "square glasses")
    assert nearest_class(given, names) == near
    with pytest.raises(ConfigError) as caught:
        class_number(given, names, 3)
    assert caught.value.expected == "0 to 2 (0 none, 1 round, 2 square glasses)"
    assert caught.value.remedy == ("" if near is None else f"Did you mean '{near}'?")


def test_a_missing_class_is_asked_for_with_an_example() -> None:
    error = needs_class(("black cat", "dog"), 2)
    assert (error.field, error.expected) == ("class_index", "0 to 1 (0 black cat, 1 dog)")
    assert "`class_index black cat`" in error.remedy
    assert "class_index='black cat'" in str(error)
    assert "`class_index 0`" in needs_class((), 3).remedy


def test_labels_take_memory_for_the_classes_given_alone() -> None:
    np.testing.assert_array_equal(one_hot([2, 0, 2], 3), np.eye(3, dtype=np.float32)[[2, 0, 2]])
    labels = one_hot([999_999], 1_000_000)  # a square of them would take 4 TB
    assert labels.dtype == np.float32
    assert labels[0].nonzero()[0].tolist() == [999_999]
    assert one_hot([], 4).shape == (0, 4)
