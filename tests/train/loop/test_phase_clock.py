from __future__ import annotations

import time

import torch

from segan.train.loop.phase_clock import PhaseClock


def test_phases_add_up_and_start_again() -> None:
    clock = PhaseClock(torch.device("cpu"))
    for _ in range(2):
        with clock.phase("a"):
            time.sleep(0.01)
    with clock.phase("b"):
        pass
    taken = clock.take()
    assert taken["a"] >= 0.02
    assert taken["b"] < taken["a"]
    assert clock.take() == {}
