from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from segan.train.data.dataset import ImageDataset
from segan.train.loop.losses import STEP, jacobian_overlap, moved_one_by_one, pick_coordinates
from segan.train.loop.step import TrainingState
from segan.train.networks.config import ComputeConfig, SubspaceConfig
from segan.train.runs.config import TrainConfig

CPU = torch.device("cpu")
Config = Callable[..., TrainConfig]


def test_disjoint_changes_do_not_overlap_and_equal_ones_do() -> None:
    base = torch.zeros(1, 1, 2, 2)
    moved = torch.zeros(1, 2, 1, 2, 2)
    moved[0, 0, 0, 0, 0], moved[0, 1, 0, 1, 1] = 3.0, -0.5
    assert float(jacobian_overlap(base, moved)) == 0
    moved[0, 1] = -2 * moved[0, 0]  # the sign and the size do not matter
    assert float(jacobian_overlap(base, moved)) == pytest.approx(1, abs=1e-5)


def test_overlap_is_the_mean_squared_cosine() -> None:
    random = torch.Generator().manual_seed(0)
    base = torch.randn(3, 2, 4, 4, generator=random)
    moved = torch.randn(3, 4, 2, 4, 4, generator=random)
    squares = []
    for n in range(3):
        changes = (moved[n] - base[n]).double().flatten(1)
        for i in range(4):
            for j in range(4):
                if i != j:
                    dot = float(changes[i] @ changes[j])
                    squares.append(
                        dot**2 / float(changes[i] @ changes[i] * changes[j] @ changes[j])
                    )
    expected = sum(squares) / len(squares)
    assert float(jacobian_overlap(base, moved)) == pytest.approx(expected, rel=1e-4)


def test_a_coordinate_without_effect_has_a_finite_gradient() -> None:
    base = torch.zeros(1, 1, 2, 2, requires_grad=True)
    moved = base[:, None].repeat(1, 3, 1, 1, 1)
    jacobian_overlap(base, moved).backward()
    assert base.grad is not None
    assert torch.isfinite(base.grad).all()


def test_each_copy_has_one_coordinate_moved_towards_the_middle() -> None:
    random = torch.Generator().manual_seed(0)
    coords = torch.rand(5, 2, 3, generator=random) * 2 - 1
    positions = pick_coordinates(5, 4, 6, random)
    assert all(len(set(row.tolist())) == 4 for row in positions)
    assert positions.unique().tolist() == list(range(6))
    change = (moved_one_by_one(coords, positions) - coords[:, None]).flatten(2)
    for n in range(5):
        for i, position in enumerate(positions[n].tolist()):
            expected = torch.zeros(6)
            expected[position] = -STEP if coords[n].flatten()[position] > 0 else STEP
            torch.testing.assert_close(change[n, i], expected)


@pytest.mark.parametrize("mode", [1, 2, 3])
def test_training_with_the_penalty(
    mode: int, small_config: Config, small_data: ImageDataset
) -> None:
    subspace = SubspaceConfig(mode=mode, dims=2, jacobian_weight=1.0, jacobian_interval=2)  # type: ignore[arg-type]
    images = torch.from_numpy(small_data.images[:4]).float() / 127.5 - 1
    state = TrainingState(small_config(subspace=subspace), CPU)
    seen = []
    for _ in range(4):
        stats = state.train_step(images, None, None, state.step_random())
        seen.append(float(stats.get("loss/jacobian", -1)))
    assert [0 <= value <= 1 for value in seen] == [True, False] * 2


def test_descent_makes_columns_orthogonal_and_keeps_their_length() -> None:
    random = torch.Generator().manual_seed(0)
    columns = (torch.rand(3, 1, 4, 4, generator=random) + 0.2).requires_grad_()
    before = columns.detach().flatten(1).norm(dim=1)
    optimizer = torch.optim.Adam([columns], lr=0.01)
    for _ in range(300):
        optimizer.zero_grad()
        overlap = jacobian_overlap(torch.zeros(1, 1, 4, 4), columns[None])
        overlap.backward()
        optimizer.step()
    assert float(overlap.detach()) < 1e-3
    after = columns.detach().flatten(1).norm(dim=1)
    assert bool((after > 0.5 * before).all())


def test_micro_batches_add_up(small_config: Config, small_data: ImageDataset) -> None:
    """Gradients of G's phase, with nothing else after it that would replace them."""
    images = torch.from_numpy(small_data.images[:8]).float() / 127.5 - 1
    found, overlaps = [], []
    for weight, micro in ((0.0, 0), (100.0, 0), (100.0, 4)):
        config = small_config(
            subspace=SubspaceConfig(mode=2, dims=2, jacobian_weight=weight),
            compute=ComputeConfig(micro_batch=micro),
            batch_size=8,
            learning_rate=1e-9,
            pl_interval=0,
        )
        state = TrainingState(config, CPU)
        stats = state.train_step(images[state.share], None, None, state.step_random())
        overlaps.append(float(stats.get("loss/jacobian", 0)))
        parameters = [p for p in state.generator.parameters() if p.grad is not None]
        found.append(torch.cat([p.grad.flatten() for p in parameters if p.grad is not None]))
    assert overlaps[1] == pytest.approx(overlaps[2], rel=1e-4)
    assert overlaps[1] > 0
    penalty = found[1] - found[0]
    assert penalty.norm() > found[0].norm()  # else a wrong factor on it would not show
    assert (found[1] - found[2]).norm() < 1e-4 * penalty.norm()
