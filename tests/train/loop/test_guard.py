from __future__ import annotations

import math

import pytest
import torch

from segan.runtime.errors import TrainingError
from segan.train.loop.guard import GPU_INTERVAL, MAX_LOSS, LossGuard, check_finite

CPU = torch.device("cpu")


def stats(**values: float) -> dict[str, torch.Tensor]:
    return {name.replace("__", "/"): torch.tensor(value) for name, value in values.items()}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1.1 * MAX_LOSS, -1.1 * MAX_LOSS])
def test_the_step_and_the_loss_are_named_at_once(value: float) -> None:
    guard = LossGuard(CPU)
    guard.add(1, stats(loss__generator=0.7, loss__r1=0.9 * MAX_LOSS))
    with pytest.raises(TrainingError, match=r"at step 2 loss/r1 is -?\S+; expected finite"):
        guard.add(2, stats(loss__generator=0.7, loss__r1=value))


def test_other_numbers_may_be_large_but_not_infinite() -> None:
    guard = LossGuard(CPU)
    guard.add(1, stats(path_length=1e9))
    with pytest.raises(TrainingError, match="path_length is inf"):
        guard.add(2, stats(path_length=math.inf))


def test_on_a_gpu_it_looks_now_and_then_and_still_names_the_step() -> None:
    # Without a GPU the device's name is all that the guard needs.
    guard = LossGuard(torch.device("cuda"))
    for step in range(1, GPU_INTERVAL):
        guard.add(step, stats(loss__generator=math.nan if step >= 5 else 1.0))
    with pytest.raises(TrainingError, match="at step 5 loss/generator is nan"):
        guard.add(GPU_INTERVAL, stats(loss__generator=math.nan))
    guard.add(GPU_INTERVAL + 1, stats(loss__generator=math.nan))
    with pytest.raises(TrainingError, match=f"at step {GPU_INTERVAL + 1}"):
        guard.check()  # before anything is saved
    guard.check()


def test_tensors_that_are_not_finite_are_named() -> None:
    good = {"a": torch.zeros(3), "n": torch.tensor(7), "empty": torch.zeros(0)}
    check_finite(good, 1)
    check_finite({"n": torch.tensor(7)}, 1)
    bad = {f"w{i}": torch.tensor([0.0, math.inf]) for i in range(5)}
    with pytest.raises(TrainingError, match="after step 9 w0, w1, w2 and 2 more held NaN"):
        check_finite(good | bad, 9)
    with pytest.raises(TrainingError, match="after step 9 half held NaN"):
        check_finite(good | {"half": torch.tensor([math.nan], dtype=torch.bfloat16)}, 9)
