"""Coordinates that a group of fakes has in common."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from segan.train.data.dataset import ImageDataset
from segan.train.loop.latents import share_coords
from segan.train.loop.step import TrainingState
from segan.train.loop.streams import STEP, torch_random
from segan.train.networks.config import SubspaceConfig
from segan.train.networks.stylegan2.layers import MinibatchStd
from segan.train.runs.config import TrainConfig

CPU = torch.device("cpu")


def drawn(n: int) -> torch.Tensor:
    return torch.randn(n, 2, 3, generator=torch.Generator().manual_seed(1))


def test_the_groups_are_those_that_the_discriminator_compares() -> None:
    """A group that shares everything has no deviation, the others have one."""
    shared = share_coords(drawn(64), 4, 0.5, torch.Generator().manual_seed(2))
    told = MinibatchStd(4)(shared.flatten(1)[:, :, None, None])[:, -1].flatten()
    alike = told < 1e-3
    assert 0 < int(alike.sum()) < 64
    for first in range(16):
        group = shared[first::16]
        assert torch.equal(group, drawn(64)[first::16]) == (not alike[first])
        if alike[first]:
            assert torch.equal(group, drawn(64)[first].expand(4, -1, -1))


@pytest.mark.parametrize(("probability", "groups"), [(0.0, 0), (1.0, 16)])
def test_never_and_always(probability: float, groups: int) -> None:
    shared = share_coords(drawn(64), 4, probability, torch.Generator().manual_seed(2))
    equal = (shared[:16] == shared[16:32]).flatten(1).all(1)
    assert int(equal.sum()) == groups
    assert torch.equal(shared[:16], drawn(64)[:16])


def test_a_batch_that_does_not_divide_is_one_group() -> None:
    shared = share_coords(drawn(6), 4, 1.0, torch.Generator())
    assert torch.equal(shared, drawn(6)[:1].expand(6, -1, -1))


def test_the_share_of_groups_is_the_probability() -> None:
    coords = torch.rand(8000, 1, 1)
    shared = share_coords(coords, 4, 0.25, torch.Generator().manual_seed(3))
    share = float((shared[:2000] == shared[2000:4000]).float().mean())
    # Five standard deviations of a binomial of 2,000.
    assert share == pytest.approx(0.25, abs=5 * (0.25 * 0.75 / 2000) ** 0.5)


def test_training_shares_what_d_sees_and_nothing_else(
    small_config: Callable[..., TrainConfig],
    small_data: ImageDataset,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = small_config(subspace=SubspaceConfig(mode=2, dims=3, shared_coords=1.0), batch_size=8)
    state = TrainingState(config, CPU)
    seen = []
    offsets = state.generator.offsets

    def spy(w: torch.Tensor, coords: torch.Tensor | None) -> object:
        assert coords is not None
        seen.append(coords.clone())
        return offsets(w, coords)

    monkeypatch.setattr(state.generator, "offsets", spy)
    images = torch.from_numpy(small_data.images[:8]).float() / 127.5 - 1
    state.train_step(images, None, None, torch_random(0, STEP, 0, CPU))
    fakes, lengths = seen
    assert torch.equal(fakes[:2].repeat(4, 1, 1), fakes)
    assert not torch.equal(fakes[0], fakes[1])
    assert len(lengths) == 4
    assert len(lengths.flatten(1).unique(dim=0)) == 4
