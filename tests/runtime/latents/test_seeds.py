from __future__ import annotations

import sys
import tracemalloc
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from segan.runtime.errors import ConfigError
from segan.runtime.latents.seeds import MAX_SEED, check_seed, check_seeds, parse_seeds

if TYPE_CHECKING:
    from tests.conftest import RaisesError


def test_ranges_hold_both_ends_in_the_written_order() -> None:
    seeds = parse_seeds(" 7, 3-5 ,10-10")
    assert list(seeds) == [7, 3, 4, 5, 10]
    assert len(seeds) == 5
    assert [seeds[n] for n in range(-5, 5)] == [7, 3, 4, 5, 10] * 2
    assert 4 in seeds
    assert 6 not in seeds
    assert seeds.index(5) == 3


@pytest.mark.parametrize("cut", [slice(1, 4), slice(None), slice(-2, None), slice(3, 1)])
def test_slices_equal_those_of_a_list(cut: slice) -> None:
    seeds = parse_seeds("0-3,9,5-6")
    assert list(seeds[cut]) == list(seeds)[cut]
    assert list(seeds[::-2]) == list(seeds)[::-2]


def test_past_the_end_there_is_nothing() -> None:
    with pytest.raises(IndexError):
        _ = parse_seeds("0-3")[4]


def test_every_seed_there_is_costs_no_memory() -> None:
    tracemalloc.start()
    seeds = parse_seeds(f"0-{MAX_SEED}")
    if sys.maxsize > MAX_SEED:
        assert len(seeds) == 2**32
    assert seeds[-1] == MAX_SEED
    assert list(seeds[1_000_000:1_000_003]) == [1_000_000, 1_000_001, 1_000_002]
    assert seeds.first_repeated() is None
    assert tracemalloc.get_traced_memory()[1] < 100_000
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("text", "repeated"), [("0-5,3", 3), ("3,0-5", 3), ("1,1", 1), ("0-2,3-5", None)]
)
def test_repeated_seeds_are_found(text: str, repeated: int | None) -> None:
    assert parse_seeds(text).first_repeated() == repeated


@pytest.mark.parametrize("text", ["", ",", "1,", "a", "1-", "-1", "1--2", "1.5", "1-2-3", "٣"])
def test_text_that_is_not_understood(text: str, raises_error: RaisesError) -> None:
    with raises_error(ConfigError, field="seeds", value=text):
        parse_seeds(text)


def test_a_range_that_runs_backwards_is_turned_round_for_the_user(
    raises_error: RaisesError,
) -> None:
    with raises_error(ConfigError, field="seeds", value="9-3", expected="3-9"):
        parse_seeds("9-3")


@pytest.mark.parametrize("text", ["4294967296", "0-4294967296", "99999999999999999999"])
def test_seeds_past_the_last_one(text: str, raises_error: RaisesError) -> None:
    with raises_error(
        ConfigError, field="seed", value=int(text.split("-")[-1]), expected="0 to 4294967295"
    ):
        parse_seeds(text)


def test_integers_of_all_kinds_are_seeds() -> None:
    mixed: list[Any] = [0, np.int64(3), np.uint32(MAX_SEED)]
    assert check_seeds(mixed) == [0, 3, MAX_SEED]
    assert check_seeds(7) == [7]
    assert check_seeds(np.array([1, 2])) == [1, 2]
    assert all(type(seed) is int for seed in check_seeds(np.arange(3)))


@pytest.mark.parametrize("seed", [-1, 2**32, 1.0, "1", None, True])
def test_what_is_no_seed(seed: int, raises_error: RaisesError) -> None:
    with raises_error(ConfigError, field="seed", value=seed):
        check_seed(seed)
    with raises_error(ConfigError, field="seed", value=seed):
        check_seeds([0, seed])


def test_text_is_not_taken_apart_into_digits(raises_error: RaisesError) -> None:
    with raises_error(ConfigError, field="seeds", value="123", remedy="parse_seeds"):
        check_seeds("123")  # type: ignore[arg-type]
    with raises_error(ConfigError, field="seeds", value=1.5):
        check_seeds(1.5)  # type: ignore[arg-type]


def test_lists_of_the_same_ranges_are_equal_and_print_as_they_are_written() -> None:
    seeds = parse_seeds("3-5,9,10-11")
    assert repr(seeds) == "SeedList('3-5,9,10-11')"
    assert seeds == parse_seeds(" 3 - 5, 9 ,10-11")
    assert hash(seeds) == hash(parse_seeds("3-5,9,10-11"))
    for other in ("3-5,9", "4-5,9,10-11", "2-5,9,10-11", "3-5,9,10-12"):
        assert seeds != parse_seeds(other)
    assert seeds != [3, 4, 5, 9, 10, 11]
