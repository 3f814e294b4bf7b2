from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from segan.runtime.errors import ConfigError
from segan.train.data.faces.attributes import (
    FACE_ATTRIBUTES,
    complete_attributes,
    sample_attributes,
)

if TYPE_CHECKING:
    from tests.conftest import RaisesError

MASK = 2**64 - 1


def philox_4x64_10(key: int, counter: int) -> list[int]:
    """Salmon et al. 2011, written out in Python's integers: an independent source."""
    c = [counter & MASK, counter >> 64, 0, 0]
    k = [key, 0]
    for _ in range(10):
        first, second = 0xD2E7470EE14C6C93 * c[0], 0xCA5A826395121157 * c[2]
        c = [(second >> 64) ^ c[1] ^ k[0], second & MASK, (first >> 64) ^ c[3] ^ k[1], first & MASK]
        k = [(k[0] + 0x9E3779B97F4A7C15) & MASK, (k[1] + 0xBB67AE8584CAA73B) & MASK]
    return c


@pytest.mark.parametrize(("seed", "face"), [(0, 0), (5, 3), (2**32 - 1, 123_456)])
def test_values_follow_the_published_counter_based_stream(seed: int, face: int) -> None:
    columns = sample_attributes(seed, face, 1)
    draws = [value for step in range(8) for value in philox_4x64_10(seed, face * 8 + step + 1)]
    for attribute, raw in zip(FACE_ATTRIBUTES, draws, strict=False):
        unit = (raw >> 11) / 2**53
        if attribute.kind == "categorical":
            edges = np.cumsum(attribute.weights)
            expected = float(sum(unit >= edge for edge in edges[:-1]))
        else:
            expected = round(attribute.low + unit * (attribute.high - attribute.low), 4)
        assert columns[attribute.name][0] == pytest.approx(expected, abs=1.01e-4)


def test_a_longer_set_begins_with_the_shorter_one() -> None:
    whole = sample_attributes(7, 0, 100)
    for start, count in [(0, 10), (10, 1), (37, 63)]:
        part = sample_attributes(7, start, count)
        for name, column in part.items():
            np.testing.assert_array_equal(column, whole[name][start : start + count])


def test_attributes_are_uniform_in_range_and_independent() -> None:
    count = 20_000
    columns = sample_attributes(1, 0, count)
    unit = []
    for attribute in FACE_ATTRIBUTES:
        column = columns[attribute.name]
        if attribute.kind == "categorical":
            shares = np.bincount(column, minlength=len(attribute.values)) / count
            np.testing.assert_allclose(shares, attribute.weights, atol=0.02)
            assert sum(attribute.weights) == pytest.approx(1)
        else:
            scaled = (column - attribute.low) / (attribute.high - attribute.low)
            assert 0 <= scaled.min() < 0.01
            assert 0.99 < scaled.max() <= 1
            # Kolmogorov-Smirnov: 1.95 / sqrt(n) is the 0.1 % line.
            assert np.abs(np.sort(scaled) - np.arange(count) / count).max() < 1.95 / count**0.5
        unit.append(column)
    correlation = np.corrcoef(np.array(unit, float)) - np.eye(len(unit))
    assert np.abs(correlation).max() < 4.5 / count**0.5


def test_there_are_enough_attributes() -> None:
    names = [attribute.name for attribute in FACE_ATTRIBUTES]
    assert len(set(names)) == len(names) >= 14


def test_seeds_differ() -> None:
    assert (sample_attributes(0, 0, 50)["smile"] != sample_attributes(1, 0, 50)["smile"]).all()


@pytest.mark.parametrize(
    ("arguments", "field", "value", "expected"),
    [
        ((-1, 0, 1), "seed", -1, "0 to 4294967295"),
        ((2**32, 0, 1), "seed", 2**32, "0 to 4294967295"),
        ((0, -1, 1), "start", -1, "0 or more"),
        ((0, 0, -1), "count", -1, "0 or more"),
    ],
)
def test_sampling_names_what_is_out_of_range(
    arguments: tuple[int, int, int],
    field: str,
    value: int,
    expected: str,
    raises_error: RaisesError,
) -> None:
    with raises_error(ConfigError, field=field, value=value, expected=expected):
        sample_attributes(*arguments)


def test_attributes_by_hand_are_completed() -> None:
    columns = complete_attributes(
        {"smile": [0.0, 1.0], "glasses": "round", "fringe": ["swept"] * 2}
    )
    assert len(columns) == len(FACE_ATTRIBUTES)
    assert all(column.shape == (2,) for column in columns.values())
    assert columns["glasses"].tolist() == [1, 1]
    assert columns["fringe"].tolist() == [1, 1]
    assert columns["head_tilt"].tolist() == [0, 0]
    assert all(column.shape == (1,) for column in complete_attributes({}).values())


def test_sampled_attributes_are_complete_already() -> None:
    columns = sample_attributes(0, 0, 20)
    for name, column in complete_attributes(columns).items():
        np.testing.assert_array_equal(column, columns[name])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"smile": 1.5}, "-1.0 to 1.0, one number or one for each face"),
        ({"smile": float("nan")}, "-1.0 to 1.0, one number or one for each face"),
        ({"smile": "wide"}, "-1.0 to 1.0, one number or one for each face"),
        ({"smile": [[0.0]]}, "-1.0 to 1.0, one number or one for each face"),
        ({"glasses": "monocle"}, "one of none, round, square"),
        ({"glasses": 3}, "one of none, round, square"),
        ({"glasses": -1}, "one of none, round, square"),
        ({"glasses": 0.5}, "one of none, round, square"),
    ],
)
def test_attributes_by_hand_are_checked(
    given: dict[str, Any], expected: str, raises_error: RaisesError
) -> None:
    ((name, value),) = given.items()
    with raises_error(ConfigError, field=name, expected=expected) as caught:
        complete_attributes(given)
    assert str(caught.value.value) == str(value)


def test_attributes_that_do_not_exist_or_differ_in_number(raises_error: RaisesError) -> None:
    with raises_error(ConfigError, field="attributes", value="simle"):
        complete_attributes({"simle": 0})
    with raises_error(ConfigError, field="attributes", value=[2, 3]):
        complete_attributes({"smile": [0, 1], "blush": [0, 1, 1]})
