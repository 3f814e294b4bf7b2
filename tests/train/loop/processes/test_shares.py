from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from segan.runtime.errors import ConfigError
from segan.train.loop.processes.shares import batch_shares, divide, strided_shares
from segan.train.networks.config import ComputeConfig
from segan.train.networks.stylegan2.layers import MinibatchStd
from segan.train.runs.config import TrainConfig

if TYPE_CHECKING:
    from tests.conftest import RaisesError


@pytest.mark.parametrize(("n", "parts", "group"), [(16, 2, 4), (16, 4, 4), (24, 3, 2), (8, 1, 4)])
def test_shares_keep_the_groups_of_the_minibatch_deviation(n: int, parts: int, group: int) -> None:
    x = torch.randn(n, 3, 4, 4, dtype=torch.float64)
    whole = MinibatchStd(group)(x)[:, 3]
    shares = batch_shares(n, parts, group)
    assert sorted(torch.cat(shares).tolist()) == list(range(n))
    for share in shares:
        torch.testing.assert_close(MinibatchStd(group)(x[share])[:, 3], whole[share])


def test_one_part_keeps_the_order() -> None:
    assert batch_shares(6, 1, 4)[0].tolist() == list(range(6))


@pytest.mark.parametrize(("n", "parts", "group"), [(16, 3, 4), (8, 4, 4), (12, 2, 4)])
def test_what_cannot_be_divided_is_refused(n: int, parts: int, group: int) -> None:
    with pytest.raises(ConfigError) as caught:
        batch_shares(n, parts, group)
    assert caught.value.expected == f"a multiple of {parts * group}"


def test_strided_shares_cover_the_batch() -> None:
    assert [part.tolist() for part in strided_shares(6, 3)] == [[0, 3], [1, 4], [2, 5]]
    with pytest.raises(ConfigError, match="pl_batch_shrink"):
        strided_shares(3, 2)


def divided(n: int, micro_batch: int, size: int = 1, **settings: int) -> list[int]:
    """Images in each micro-batch of the last process."""
    config = TrainConfig(
        batch_size=n,
        compute=ComputeConfig(micro_batch=micro_batch),
        **settings,  # type: ignore[arg-type]
    )
    division = divide(config, size - 1, size)
    assert division.parts == size * len(division.batch)
    assert len(division.regular) == len(division.batch)
    return [len(part) for part in division.batch]


@pytest.mark.parametrize(
    ("n", "micro_batch", "size", "parts"),
    [
        (16, 0, 1, [16]),
        (16, 4, 1, [4] * 4),
        (20, 8, 1, [4] * 5),  # not three parts of at most 8
        (20, 19, 1, [4] * 5),
        (24, 10, 1, [8] * 3),
        (16, 100, 1, [16]),
        (6, 6, 1, [6]),
        (32, 8, 2, [8] * 2),
        (24, 8, 2, [4] * 3),
        (40, 15, 2, [4] * 5),
    ],
)
def test_a_micro_batch_is_the_largest_part_within_the_bound(
    n: int, micro_batch: int, size: int, parts: list[int]
) -> None:
    assert divided(n, micro_batch, size) == parts


def test_parts_also_divide_the_regularisers_batch(raises_error: RaisesError) -> None:
    assert divided(32, 8, pl_batch_shrink=8) == [8] * 4
    with raises_error(
        ConfigError,
        field="compute.micro_batch",
        value=4,
        expected="8 or more",
        remedy="`compute.micro_batch 8`",
    ):
        divided(32, 4, pl_batch_shrink=8)


@pytest.mark.parametrize(
    ("n", "micro_batch", "size", "group", "least"),
    [(4, 2, 1, 4, 4), (16, 3, 1, 4, 4), (16, 1, 2, 4, 4), (6, 4, 1, 6, 6)],
)
def test_a_bound_below_the_smallest_part_names_it(
    n: int, micro_batch: int, size: int, group: int, least: int, raises_error: RaisesError
) -> None:
    with raises_error(
        ConfigError,
        field="compute.micro_batch",
        value=micro_batch,
        problem=f"groups of {group} ",
        expected=f"{least} or more",
        remedy=f"`compute.micro_batch {least}`",
    ):
        divided(n, micro_batch, size)
    assert divided(n, least, size)[0] == least


def test_processes_that_cannot_share_a_batch_are_told_to_change_that(
    raises_error: RaisesError,
) -> None:
    for micro_batch in (0, 2, 4):
        with raises_error(ConfigError, field="batch_size", value=12, expected="a multiple of 8"):
            divided(12, micro_batch, 2)
