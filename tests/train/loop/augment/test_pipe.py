"""The whole pipeline: identity, independence, streams, derivatives and bad input."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from segan.runtime.errors import ConfigError
from segan.train.loop.augment.pipe import AugmentPipe
from segan.train.runs.config import AugmentConfig

R = 8
ALL = AugmentConfig()
PIXEL = AugmentConfig(geometric=False, color=False)
GEOMETRIC = AugmentConfig(pixel=False, color=False)
COLOR = AugmentConfig(pixel=False, geometric=False)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.RandomState(seed).uniform(-1, 1, shape)).float()


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("p", [0, 0.0, torch.zeros(())])
def test_nothing_happens_at_p_0(channels: int, p: float | torch.Tensor) -> None:
    images = noise(5, channels, R, R)
    assert torch.equal(AugmentPipe(ALL, R, channels)(images, p, stream()), images)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_everything_happens_at_p_1(channels: int) -> None:
    images = noise(20, channels, R, R)
    result = AugmentPipe(ALL, R, channels)(images, 1.0, stream())
    assert result.shape == images.shape
    assert result.isfinite().all()
    assert not (result == images).flatten(1).all(dim=1).any()


def test_the_share_of_untouched_images_bit_for_bit() -> None:
    """What keeps augmentation from leaking: at any p < 1 some images come back as they were."""
    n, p = 4000, 0.1
    result = AugmentPipe(ALL, R, 3)(noise(3, R, R).expand(n, -1, -1, -1), p, stream())
    share = float((result == noise(3, R, R)).flatten(1).all(dim=1).double().mean())
    # At 8 pixels a shift rounds to 0 for half of the values of each axis.
    blits = (1 - p / 2) * (1 - 3 * p / 4) * (1 - 3 * p / 4)
    expected = blits * (1 - p) ** 4 * (1 - p) ** 4 * (1 - p / 2)
    assert abs(share - expected) < 4.5 * math.sqrt(expected * (1 - expected) / n)


def test_pixel_blitting_shows_only_the_images_own_pixels() -> None:
    images = noise(200, 3, R, R)
    result = AugmentPipe(PIXEL, R, 3)(images, 0.7, stream())
    for before, after in zip(images, result, strict=True):
        assert set(after[0].flatten().tolist()) <= set(before[0].flatten().tolist())


def test_the_same_stream_gives_the_same_images() -> None:
    pipe, images = AugmentPipe(ALL, R, 3), noise(6, 3, R, R)
    first = pipe(images, 0.6, stream(1))
    assert torch.equal(first, pipe(images, 0.6, stream(1)))
    assert torch.equal(first, pipe(images, torch.tensor(0.6), stream(1)))
    assert not torch.equal(first, pipe(images, 0.6, stream(2)))


@pytest.mark.parametrize("config", [ALL, PIXEL, GEOMETRIC, COLOR])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("p", [0.0, 0.4, 1.0])
def test_the_stream_is_read_equally_far(config: AugmentConfig, channels: int, p: float) -> None:
    expected, random = stream(), stream()
    AugmentPipe(ALL, R, 3).draw(5, 0.2, expected)
    AugmentPipe(config, R, channels)(noise(5, channels, R, R), p, random)
    assert torch.equal(torch.rand(4, generator=random), torch.rand(4, generator=expected))


def test_groups_that_are_off_leave_their_part_alone() -> None:
    for config in (PIXEL, GEOMETRIC):
        assert AugmentPipe(config, R, 3).draw(50, 1.0, stream()).same_color.all()
    assert AugmentPipe(PIXEL, R, 3).draw(50, 1.0, stream()).blit.all()
    parameters = AugmentPipe(COLOR, R, 3).draw(50, 1.0, stream())
    assert torch.equal(parameters.geometry, torch.eye(3).expand(50, -1, -1))
    # The other groups' parameters do not change with the switch.
    whole = AugmentPipe(ALL, R, 3).draw(50, 1.0, stream())
    assert torch.equal(parameters.color, whole.color)


def test_shares_of_a_batch_give_the_images_of_the_whole() -> None:
    pipe, images = AugmentPipe(ALL, 16, 3), noise(12, 3, 16, 16)
    parameters = pipe.draw(12, 0.6, stream())
    whole = pipe.apply_to(images, parameters)
    for index in (slice(0, 5), slice(5, 12), torch.tensor([3, 0, 11])):
        part = pipe.apply_to(images[index], parameters.take(index))
        torch.testing.assert_close(part, whole[index], rtol=0, atol=2e-6)


@pytest.mark.parametrize("channels", [2, 4])
def test_alpha_moves_with_the_image_and_keeps_its_values(channels: int) -> None:
    images = noise(8, channels, R, R)
    pipe, alone = AugmentPipe(ALL, R, channels), AugmentPipe(GEOMETRIC, R, 1)
    parameters = pipe.draw(8, 0.8, stream())
    result = pipe.apply_to(images, parameters)
    alpha = alone.apply_to(images[:, -1:], parameters)
    torch.testing.assert_close(result[:, -1:], alpha, rtol=0, atol=2e-6)


def test_channels_last_stays_and_changes_nothing() -> None:
    pipe, images = AugmentPipe(ALL, 16, 3), noise(6, 3, 16, 16)
    parameters = pipe.draw(6, 0.7, stream())
    result = pipe.apply_to(images.contiguous(memory_format=torch.channels_last), parameters)
    assert result.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(result, pipe.apply_to(images, parameters), rtol=0, atol=2e-6)


def test_precision_under_autocast_stays() -> None:
    pipe, images = AugmentPipe(ALL, R, 3), noise(6, 3, R, R)
    with torch.autocast("cpu", torch.bfloat16):
        result = pipe(images, 0.7, stream())
    assert torch.equal(result, pipe(images, 0.7, stream()))


def test_gradients_reach_the_images_twice() -> None:
    pipe = AugmentPipe(ALL, R, 3)
    parameters = pipe.draw(3, 0.8, stream(2))
    assert not parameters.blit.all()
    images = noise(3, 3, R, R).double().requires_grad_(True)

    def score(x: torch.Tensor) -> torch.Tensor:
        return (pipe.apply_to(x, parameters) ** 3).mean(dim=(1, 2, 3))

    assert torch.autograd.gradcheck(score, images, fast_mode=True)
    assert torch.autograd.gradgradcheck(score, images, fast_mode=True)


def test_r1_through_the_pipeline() -> None:
    """D(x) = <w, x>: ∇ is the pipeline's transpose of w, and γ/2 ‖∇‖² is quadratic in w."""
    pipe, images = AugmentPipe(ALL, R, 1), noise(2, 1, R, R).double().requires_grad_(True)
    parameters = pipe.draw(2, 1.0, stream(3))
    weights = noise(2, 1, R, R, seed=1).double().requires_grad_(True)
    score = (pipe.apply_to(images, parameters) * weights).sum()
    (gradient,) = torch.autograd.grad(score, images, create_graph=True)
    penalty = gradient.square().sum() / 2
    (found,) = torch.autograd.grad(penalty, weights)
    # Euler: a quadratic form's gradient along w is twice its value.
    assert (found * weights).sum().item() == pytest.approx(2 * penalty.item(), rel=1e-9)
    # The transpose, from the linear map's own values: <A x, w> = <x, Aᵀ w>.
    linear = pipe.apply_to(images, parameters) - pipe.apply_to(images * 0, parameters)
    assert (linear * weights).sum().item() == pytest.approx((images * gradient).sum().item())


def test_p_gets_no_gradient_and_the_pipe_has_no_weights() -> None:
    pipe = AugmentPipe(ALL, R, 3)
    assert not pipe.state_dict()
    assert not list(pipe.parameters())
    p = torch.tensor(0.5, requires_grad=True)
    assert not pipe(noise(2, 3, R, R), p, stream()).requires_grad


def test_parameters_follow_their_device() -> None:
    parameters = AugmentPipe(ALL, R, 3).draw(3, 0.5, stream()).to(torch.device("meta"))
    assert {part.device.type for part in parameters} == {"meta"}


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_a_p_that_is_no_probability(p: float) -> None:
    pipe = AugmentPipe(ALL, R, 3)
    with pytest.raises(ConfigError) as caught:
        pipe(noise(1, 3, R, R), p, stream())
    assert (caught.value.field, str(caught.value.value)) == ("p", str(p))


@pytest.mark.parametrize("shape", [(2, 1, 8, 8), (2, 3, 8, 16), (2, 3, 16, 16), (3, 3, 8, 8)])
def test_images_of_another_shape(shape: tuple[int, ...]) -> None:
    pipe = AugmentPipe(ALL, R, 3)
    parameters = pipe.draw(2, 0.5, stream())
    with pytest.raises(ConfigError, match=r"images are \[.*; expected \[2, 3, 8, 8\]"):
        pipe.apply_to(noise(*shape), parameters)
