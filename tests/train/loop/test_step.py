from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pytest
import torch

from segan.runtime.errors import ConfigError
from segan.train.data.dataset import ImageDataset
from segan.train.loop.step import TrainingState
from segan.train.networks.config import ComputeConfig
from segan.train.runs.config import AugmentConfig, TrainConfig

CPU = torch.device("cpu")
Config = Callable[..., TrainConfig]


def batch(data: ImageDataset, n: int = 4) -> torch.Tensor:
    return torch.from_numpy(data.images[:n]).float() / 127.5 - 1


def test_regularisers_come_at_their_intervals(
    small_config: Config, small_data: ImageDataset
) -> None:
    state = TrainingState(small_config(r1_interval=3, pl_interval=2), CPU)
    seen = []
    for _ in range(6):
        stats = state.train_step(batch(small_data), None, None, state.step_random())
        seen.append(("loss/r1" in stats, "loss/path_length" in stats))
    assert [r1 for r1, _ in seen] == [True, False, False] * 2
    assert [pl for _, pl in seen] == [True, False] * 3
    assert (state.step, state.cur_nimg) == (6, 24)


def test_adam_is_adjusted_for_the_lazy_steps(small_config: Config) -> None:
    state = TrainingState(small_config(r1_interval=16, pl_interval=4, beta2=0.99), CPU)
    group = state.optimizer_d.param_groups[0]
    assert group["lr"] == pytest.approx(0.002 * 16 / 17)
    assert group["betas"][1] == pytest.approx(0.99 ** (16 / 17))
    assert state.optimizer_g.param_groups[0]["lr"] == pytest.approx(0.002 * 4 / 5)


@pytest.mark.parametrize("mode", [0, 1, 2, 3])
@pytest.mark.parametrize("kind", ["eigen", "diagonal"])
def test_every_mode_trains_every_parameter(
    mode: int, kind: str, small_config: Config, small_data: ImageDataset
) -> None:
    state = TrainingState(small_config(mode=mode, kind=kind), CPU)
    before = {name: p.detach().clone() for name, p in state.generator.named_parameters()}
    for _ in range(3):
        stats = state.train_step(batch(small_data), None, None, state.step_random())
        assert all(torch.isfinite(value) for value in stats.values())
    still = [
        name
        for name, p in state.generator.named_parameters()
        if torch.equal(p.detach(), before[name])
    ]
    assert still == []
    assert ("loss/information" in stats) == (mode > 0 and kind == "eigen")
    assert ("loss/orthonormality" in stats) == (mode in (1, 2) and kind == "eigen")


def test_conditional_training_uses_the_labels(
    small_config: Config, small_data: ImageDataset
) -> None:
    state = TrainingState(small_config(c_dim=2), CPU)
    labels = torch.eye(2)[[0, 1, 0, 1]]
    before = state.generator.mapping.embed.weight.detach().clone()
    state.train_step(batch(small_data), labels, labels, state.step_random())
    assert not torch.equal(state.generator.mapping.embed.weight, before)


def test_moving_average_follows_its_half_life(
    small_config: Config, small_data: ImageDataset
) -> None:
    # Half-life of one batch and no ramp: the average of the weights before and after the step.
    state = TrainingState(small_config(ema_kimg=0.004, ema_rampup=0.0), CPU)
    before = state.ema.synthesis.block_list()[0].const.detach().clone()
    state.train_step(batch(small_data), None, None, state.step_random())
    after = state.generator.synthesis.block_list()[0].const.detach()
    expected = (before.double() + after.double()) / 2
    torch.testing.assert_close(
        state.ema.synthesis.block_list()[0].const.double(), expected, atol=1e-6, rtol=0
    )
    torch.testing.assert_close(state.ema.w_avg, state.generator.w_avg)


def test_tracked_mean_of_w(small_config: Config, small_data: ImageDataset) -> None:
    # With decay 0 the tracked mean is the batch's own mean of w, before the step's update.
    state = TrainingState(small_config(w_avg_beta=0.0, style_mixing=0.0), CPU)
    random = state.step_random()
    torch.randint(1, 5, (4,), generator=random)
    torch.rand(4, generator=random)
    with torch.no_grad():
        z = torch.randn(4, 8, generator=random)
        expected = state.generator.mapping(z).mean(0)
    state.train_step(batch(small_data), None, None, state.step_random())
    torch.testing.assert_close(state.generator.w_avg, expected)


def test_a_step_depends_on_seed_and_number_alone(
    small_config: Config, small_data: ImageDataset
) -> None:
    one, two = (TrainingState(small_config(), CPU) for _ in range(2))
    torch.manual_seed(99)  # the global stream must not matter
    for state in (one, two):
        state.train_step(batch(small_data), None, None, state.step_random())
        torch.rand(7)
    for a, b in zip(one.generator.parameters(), two.generator.parameters(), strict=True):
        assert torch.equal(a, b)


def test_without_noise_its_strengths_stay_0(small_config: Config, small_data: ImageDataset) -> None:
    state = TrainingState(small_config(noise=False), CPU)
    for _ in range(2):
        state.train_step(batch(small_data), None, None, state.step_random())
    strengths = {
        name: float(p.detach())
        for name, p in state.generator.named_parameters()
        if name.endswith("noise_strength")
    }
    assert len(strengths) == 3
    assert set(strengths.values()) == {0.0}


@pytest.mark.parametrize(
    ("augment", "n", "bound"), [("off", 16, 4), ("fixed", 16, 4), ("off", 20, 8)]
)
def test_micro_batches_add_up_to_the_batch(
    augment: Literal["off", "fixed"],
    n: int,
    bound: int,
    small_config: Config,
    small_data: ImageDataset,
) -> None:
    """Gradients of the last phases, G's path lengths and D's R1, and every figure."""
    found, figures = [], []
    chosen = AugmentConfig(mode=augment, probability=0.0 if augment == "off" else 0.5)
    for micro in (0, bound):
        config = small_config(
            batch_size=n,
            augment=chosen,
            learning_rate=1e-9,
            compute=ComputeConfig(micro_batch=micro),
        )
        state = TrainingState(config, CPU)
        real = batch(small_data, n)[state.share]
        stats = state.train_step(real, None, None, state.step_random())
        figures.append({name: float(value) for name, value in stats.items()})
        parameters = [*state.generator.parameters(), *state.discriminator.parameters()]
        found.append(torch.cat([p.grad.flatten() for p in parameters if p.grad is not None]))
        found[-1] = torch.cat([found[-1], state.generator.w_avg, state.pl_mean[None]])
    assert (found[0] - found[1]).norm() < 1e-5 * found[0].norm()
    assert figures[0] == pytest.approx(figures[1], rel=1e-4, abs=1e-6)


def test_a_batch_that_cannot_be_divided_is_refused(small_config: Config) -> None:
    with pytest.raises(ConfigError, match="whole groups of 4"):
        TrainingState(small_config(batch_size=4, compute=ComputeConfig(micro_batch=2)), CPU)


def test_augmentation_is_steered_by_the_discriminators_signs(
    small_config: Config, small_data: ImageDataset
) -> None:
    config = small_config(augment=AugmentConfig(mode="ada", target=-0.99, speed_kimg=0.1))
    state = TrainingState(config, CPU)
    for _ in range(4):  # no mean of four signs is below the target but -1
        stats = state.train_step(batch(small_data), None, None, state.step_random())
    assert float(state.augment.p) == pytest.approx(4 * 4 / 100)
    assert float(stats["augment/p"]) == pytest.approx(0.16)


@pytest.mark.filterwarnings("ignore:The .grad attribute")
def test_compiled_phases_give_the_same_gradients(
    small_config: Config, small_data: ImageDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wiring alone, with a backend that needs no compiler."""
    compile_with = torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda f, **options: compile_with(f, backend="aot_eager", **options)
    )
    found = []
    for compiled in (False, True):
        config = small_config(learning_rate=1e-9, compute=ComputeConfig(compile=compiled))
        state = TrainingState(config, CPU)
        stats = state.train_step(batch(small_data), None, None, state.step_random())
        found.append({name: float(value) for name, value in stats.items()})
    assert found[0] == pytest.approx(found[1], rel=1e-4, abs=1e-6)


def test_seconds_of_every_phase_are_kept(small_config: Config, small_data: ImageDataset) -> None:
    state = TrainingState(small_config(), CPU)
    state.train_step(batch(small_data), None, None, state.step_random())
    assert set(state.clock.take()) == {
        "discriminator",
        "r1",
        "generator",
        "path_length",
        "average",
    }
