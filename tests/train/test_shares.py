from __future__ import annotations

import pytest
import torch

from segan.runtime.errors import ConfigError
from segan.train.layers import MinibatchStd
from segan.train.shares import batch_shares, strided_shares


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
    with pytest.raises(ConfigError, match=f"multiple of {parts * group}"):
        batch_shares(n, parts, group)


def test_strided_shares_cover_the_batch() -> None:
    assert [part.tolist() for part in strided_shares(6, 3)] == [[0, 3], [1, 4], [2, 5]]
    with pytest.raises(ConfigError, match="pl_batch_shrink"):
        strided_shares(3, 2)
