"""The controller's trajectory in closed form, and what a checkpoint has to hold."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from segan.train.loop.augment.probability import AdaptiveProbability
from segan.train.runs.config import AugmentConfig
from segan.train.runs.tensors import read_tensors, write_tensors

CPU = torch.device("cpu")
BATCH = 8
#: Adjusting by a share of 1/64 each interval of 4 steps makes every value exact.
ADA = AugmentConfig(mode="ada", speed_kimg=BATCH * 4 * 64 / 1000)


def run(control: AdaptiveProbability, scores: torch.Tensor, steps: range) -> list[float]:
    """p after each step."""
    values = []
    for step in steps:
        control.observe(scores)
        control.end_step(step)
        values.append(float(control.p))
    return values


def test_all_signs_positive_raise_p_by_the_images_over_the_speed() -> None:
    found = run(AdaptiveProbability(ADA, CPU), torch.ones(BATCH, 1), range(24))
    assert found == [((step + 1) // 4) / 64 for step in range(24)]


def test_the_published_speed() -> None:
    """500 kimg from 0 to 1: batch · interval / 500,000 an interval."""
    config = AugmentConfig(mode="ada")
    control = AdaptiveProbability(config, CPU)
    found = run(control, torch.full((16,), 0.2), range(4000))
    assert found[3] == pytest.approx(16 * 4 / 500_000, rel=1e-6)
    assert found[-1] == pytest.approx(4000 * 16 / 500_000, rel=1e-4)


@pytest.mark.parametrize(
    ("positive", "direction"), [(8, 1), (7, 1), (6, -1), (4, -1), (0, -1)]
)  # r_t = 1, 0.75, 0.5, 0, -1 against 0.6
def test_p_follows_r_against_its_target(positive: int, direction: int) -> None:
    start = 0.5
    config = AugmentConfig(mode="ada", probability=start, speed_kimg=ADA.speed_kimg)
    scores = torch.cat([torch.full((positive,), 3.0), torch.full((BATCH - positive,), -0.1)])
    found = run(AdaptiveProbability(config, CPU), scores, range(8))
    assert found[3] == start + direction / 64
    assert found[7] == start + 2 * direction / 64


def test_r_is_the_mean_over_the_whole_interval() -> None:
    control = AdaptiveProbability(ADA, CPU)
    for step, value in enumerate([1.0, 1.0, 1.0, -1.0]):  # mean 0.5 < 0.6, though 3 of 4 rise
        control.observe(torch.full((BATCH,), value))
        control.end_step(step)
    assert float(control.p) == 0.0
    for step, value in enumerate([1.0, 1.0, 1.0, 0.0], start=4):  # mean 0.75; 0 has sign 0
        control.observe(torch.full((BATCH,), value))
        control.end_step(step)
    assert float(control.p) == 1 / 64


def test_p_stays_a_probability() -> None:
    control = AdaptiveProbability(ADA, CPU)
    assert set(run(control, -torch.ones(BATCH), range(40))) == {0.0}
    assert run(control, torch.ones(BATCH), range(400))[-1] == 1.0
    # No time is lost on the way back.
    assert run(control, -torch.ones(BATCH), range(4))[-1] == 1 - 1 / 64


def test_at_the_target_nothing_moves() -> None:
    config = AugmentConfig(mode="ada", target=0.5, probability=0.25)
    scores = torch.tensor([1.0, 1.0, 1.0, -1.0])
    assert set(run(AdaptiveProbability(config, CPU), scores, range(12))) == {0.25}


def test_without_observations_nothing_moves() -> None:
    control = AdaptiveProbability(AugmentConfig(mode="ada", probability=0.25), CPU)
    control.end_step(3)
    assert float(control.p) == 0.25


@pytest.mark.parametrize(
    ("config", "p"),
    [(AugmentConfig(), 0.0), (AugmentConfig(mode="fixed", probability=0.3), 0.3)],
)
def test_other_modes_keep_their_p_and_have_nothing_to_save(config: AugmentConfig, p: float) -> None:
    control = AdaptiveProbability(config, CPU)
    assert run(control, torch.ones(BATCH), range(12)) == pytest.approx([p] * 12)
    assert control.tensors() == {}
    assert not control.adaptive
    control.load({})
    assert float(control.p) == pytest.approx(p)


def test_the_same_tensor_holds_p_throughout() -> None:
    control = AdaptiveProbability(ADA, CPU)
    p = control.p
    run(control, torch.ones(BATCH), range(8))
    assert p is control.p
    control.load({name: value + 1 for name, value in control.tensors().items()})
    assert p is control.p


@pytest.mark.parametrize("stop", range(1, 9))
def test_a_restored_state_goes_on_bit_for_bit(stop: int, tmp_path: Path) -> None:
    config = AugmentConfig(mode="ada", speed_kimg=1.7, target=0.1)
    scores = torch.randn(40, BATCH, generator=torch.Generator().manual_seed(3)) + 0.3

    def steps(control: AdaptiveProbability, numbers: range) -> None:
        for step in numbers:
            control.observe(scores[step])
            control.end_step(step)

    whole = AdaptiveProbability(config, CPU)
    steps(whole, range(40))
    before = AdaptiveProbability(config, CPU)
    steps(before, range(stop))
    write_tensors(tmp_path / "control.safetensors", before.tensors())
    after = AdaptiveProbability(config, CPU)
    after.load(read_tensors(tmp_path / "control.safetensors"))
    steps(after, range(stop, 40))
    assert float(whole.p) > 0
    for name, value in whole.tensors().items():
        assert torch.equal(value, after.tensors()[name])


def test_shares_and_ranks_give_what_the_whole_batch_gives() -> None:
    scores = torch.randn(8, BATCH, generator=torch.Generator().manual_seed(1)) + 1
    whole = AdaptiveProbability(ADA, CPU)
    ranks = [AdaptiveProbability(ADA, CPU) for _ in range(2)]
    for step in range(8):
        whole.observe(scores[step])
        for rank, control in enumerate(ranks):  # each in two shares of two images
            control.observe(scores[step, 4 * rank : 4 * rank + 2])
            control.observe(scores[step, 4 * rank + 2 : 4 * rank + 4])
        total = torch.tensor([scores[step].sign().sum(), float(BATCH)])
        whole.end_step(step)
        for control in ranks:
            control.end_step(step, lambda seen, total=total: total.clone())  # type: ignore[misc]
        for control in ranks:  # all that a checkpoint holds is the same, after every step
            for name, value in whole.tensors().items():
                assert torch.equal(control.tensors()[name], value)
    assert float(whole.p) > 0


def test_scores_may_require_gradients() -> None:
    control = AdaptiveProbability(ADA, CPU)
    control.observe(torch.ones(BATCH, requires_grad=True) * 2)
    assert not control.sign_sum.requires_grad
