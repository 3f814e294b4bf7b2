from __future__ import annotations

import numpy as np
import torch

from segan.train.loop.streams import DataOrder, torch_random


def test_every_epoch_shows_every_image_once() -> None:
    order = DataOrder(10, seed=3)
    shown = order.indices(0, 30)
    for epoch in range(3):
        assert sorted(shown[epoch * 10 : epoch * 10 + 10]) == list(range(10))
    assert not np.array_equal(shown[:10], shown[10:20])


def test_order_depends_on_the_position_alone() -> None:
    whole = DataOrder(7, seed=1).indices(0, 50)
    pieces = DataOrder(7, seed=1)
    jumping = [pieces.indices(start, 5) for start in (45, 0, 20, 5)]
    for start, piece in zip((45, 0, 20, 5), jumping, strict=True):
        np.testing.assert_array_equal(piece, whole[start : start + 5])


def test_seeds_give_different_orders() -> None:
    one, two = (DataOrder(100, seed).indices(0, 100) for seed in (0, 1))
    assert not np.array_equal(one, two)


def test_streams_and_steps_are_distinct_and_repeatable() -> None:
    device = torch.device("cpu")

    def draw(*key: int) -> float:
        seed, stream, number = key
        return torch.rand((), generator=torch_random(seed, stream, number, device)).item()

    keys = [(seed, stream, step) for seed in (0, 1) for stream in (1, 3) for step in (0, 1, 2)]
    values = [draw(*key) for key in keys]
    assert len(set(values)) == len(keys)
    assert values == [draw(*key) for key in keys]
