"""The losses against closed forms, and their gradients against finite differences, in float64."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
import pytest
import torch

from segan.train.loop.losses import (
    discriminator_logistic,
    generator_logistic,
    information_loss,
    path_length_penalty,
    path_lengths,
    r1_penalty,
)
from segan.train.networks.config import NetworkConfig, SubspaceConfig
from segan.train.networks.stylegan2.discriminator import Discriminator
from segan.train.networks.stylegan2.generator import Generator, SynthesisSite

TINY = NetworkConfig(
    resolution=8, img_channels=2, z_dim=4, w_dim=5, mapping_layers=2, channel_base=32, channel_max=4
)


def randn(*shape: int, seed: int = 0, grad: bool = False) -> torch.Tensor:
    values = np.random.RandomState(seed).randn(*shape)
    return torch.from_numpy(values).requires_grad_(grad)


def check_directional_derivatives(
    loss: Callable[[], torch.Tensor], parameters: Iterable[torch.Tensor], *, eps: float = 1e-6
) -> None:
    """Compares autograd with central differences along one random direction per parameter."""
    parameters = list(parameters)
    gradients = torch.autograd.grad(loss(), parameters, allow_unused=True)
    scale = max(float(g.norm()) for g in gradients if g is not None)
    assert scale > 0
    for number, (parameter, gradient) in enumerate(zip(parameters, gradients, strict=True)):
        direction = torch.from_numpy(
            np.asarray(np.random.RandomState(number).randn(*parameter.shape))
        )
        direction /= direction.norm()
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter += sign * eps * direction
            values.append(loss().item())
            with torch.no_grad():
                parameter -= sign * eps * direction
        numeric = (values[0] - values[1]) / (2 * eps)
        analytic = 0.0 if gradient is None else float((gradient * direction).sum())
        assert analytic == pytest.approx(numeric, rel=1e-5, abs=1e-7 * scale)


@pytest.mark.parametrize("score", [-40.0, -2.5, 0.0, 1e-3, 3.0, 30.0])
def test_logistic_losses_are_log_sigmoids(score: float) -> None:
    real = torch.tensor([score], dtype=torch.float64)
    fake = torch.tensor([score / 2], dtype=torch.float64)
    assert float(generator_logistic(real)) == pytest.approx(math.log1p(math.exp(-score)))
    expected = math.log1p(math.exp(score / 2)) + math.log1p(math.exp(-score))
    assert float(discriminator_logistic(fake, real)) == pytest.approx(expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_logistic_losses_at_large_scores_are_linear_with_finite_gradients(
    dtype: torch.dtype,
) -> None:
    scores = torch.tensor([-1e4, 1e4], dtype=dtype, requires_grad=True)
    loss = generator_logistic(scores)  # -log σ(x) → max(-x, 0)
    assert loss.item() == pytest.approx(5e3)
    (gradient,) = torch.autograd.grad(loss, scores)
    np.testing.assert_allclose(gradient.numpy(), [-0.5, 0.0], atol=1e-12)
    assert discriminator_logistic(scores, scores).item() == pytest.approx(1e4)


def test_logistic_losses_are_means_over_the_batch() -> None:
    scores = randn(6)
    expected = -np.log(1 / (1 + np.exp(-scores.numpy()))).mean()
    assert float(generator_logistic(scores)) == pytest.approx(expected)
    other = randn(4, seed=1)
    expected = -np.log(1 / (1 + np.exp(-other.numpy()))).mean()
    expected += -np.log(1 - 1 / (1 + np.exp(-scores.numpy()))).mean()
    assert float(discriminator_logistic(scores, other)) == pytest.approx(expected)


def test_r1_of_a_linear_discriminator() -> None:
    """D(x) = <a, x> has ∇D = a everywhere: γ/2 ‖a‖², with gradient γ a."""
    a, real = randn(3, 4, 4, grad=True), randn(5, 3, 4, 4, seed=1, grad=True)
    penalty = r1_penalty((real * a).sum(dim=(1, 2, 3)), real, 7.0)
    assert penalty.item() == pytest.approx(3.5 * float(a.detach().square().sum()))
    (gradient,) = torch.autograd.grad(penalty, a)
    torch.testing.assert_close(gradient, 7.0 * a.detach())


def test_r1_of_a_quadratic_discriminator() -> None:
    """D(x) = ½ xᵀQx + bᵀx has ∇D = ½ (Q + Qᵀ) x + b."""
    q, b = randn(12, 12, grad=True), randn(12, seed=2, grad=True)
    real = randn(6, 3, 2, 2, seed=1, grad=True)
    x = real.flatten(1)
    penalty = r1_penalty((x @ q * x).sum(1) / 2 + x @ b, real, 10.0)
    rows, matrix = x.detach().numpy(), q.detach().numpy()
    slopes = rows @ (matrix + matrix.T) / 2 + b.detach().numpy()
    assert penalty.item() == pytest.approx(5.0 * (slopes**2).sum(axis=1).mean())
    to_q, to_b = torch.autograd.grad(penalty, [q, b])
    np.testing.assert_allclose(to_b.numpy(), 10 * slopes.mean(axis=0))
    # d/dQ of γ/2 E‖g‖² with g = ½ (Q + Qᵀ) x + b is γ/2 E(g xᵀ + x gᵀ).
    outer = np.einsum("ni,nj->ij", slopes, rows) / 6
    np.testing.assert_allclose(to_q.numpy(), 5.0 * (outer + outer.T), atol=1e-10)


def test_gradient_of_r1_reaches_the_discriminators_parameters() -> None:
    torch.manual_seed(0)
    network = Discriminator(TINY, num_coords=3).double()
    real = randn(4, 2, 8, 8, grad=True)
    check_directional_derivatives(
        lambda: r1_penalty(network(real).score, real, 10.0), network.parameters()
    )


def linear_image(a: torch.Tensor, ws: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    return (ws.flatten(1) @ a.t()).reshape(-1, *shape)


def test_path_length_of_a_linear_generator() -> None:
    """image = A ws: the length for a given y is √(mean over sites of ‖Aₛᵀy‖² / (HW))."""
    a, ws, y = randn(36, 10, grad=True), randn(7, 2, 5, seed=1, grad=True), randn(7, 3, 4, 3)
    lengths = path_lengths(linear_image(a, ws, (3, 4, 3)), ws, y)
    sites = a.detach().numpy().reshape(36, 2, 5)
    projected = np.einsum("np,psd->nsd", y.numpy().reshape(7, 36), sites) / math.sqrt(4 * 3)
    expected = np.sqrt((projected**2).sum(axis=2).mean(axis=1))
    np.testing.assert_allclose(lengths.detach().numpy(), expected)


def test_expected_squared_path_length_of_a_linear_generator() -> None:
    """Over y ~ N(0, I) its expectation is ‖A‖²_F / (HW · num_sites)."""
    n = 20000
    a, ws, y = randn(12, 6), randn(n, 3, 2, seed=1, grad=True), randn(n, 3, 2, 2, seed=2)
    lengths = path_lengths(linear_image(a, ws, (3, 2, 2)), ws, y).detach()
    expected = float(a.square().sum()) / (2 * 2 * 3)
    deviation = float(lengths.square().std()) / math.sqrt(n)
    assert abs(float(lengths.square().mean()) - expected) < 4 * deviation


def test_path_length_penalty() -> None:
    lengths = torch.tensor([1.0, 2.0, 6.0], dtype=torch.float64, requires_grad=True)
    penalty = path_length_penalty(lengths, torch.tensor(4.5, dtype=torch.float64))
    assert penalty.item() == pytest.approx((3.5**2 + 2.5**2 + 1.5**2) / 3)
    # The mean is held fixed: d/dl = 2 (l - a) / N.
    (gradient,) = torch.autograd.grad(penalty, lengths)
    np.testing.assert_allclose(gradient.numpy(), np.array([-3.5, -2.5, 1.5]) * 2 / 3)


@pytest.mark.parametrize("mode", [0, 1, 2, 3])
def test_gradient_of_the_path_length_penalty_reaches_the_generators_parameters(mode: int) -> None:
    assert mode in (0, 1, 2, 3)
    torch.manual_seed(mode)
    generator = Generator(TINY, SubspaceConfig(mode=mode, dims=2)).double()  # type: ignore[arg-type]
    for site in generator.modules():
        if isinstance(site, SynthesisSite):
            torch.nn.init.constant_(site.noise_strength, 0.3)
    z, y = randn(3, 4), randn(3, 2, 8, 8, seed=1)
    coords = None if mode == 0 else randn(3, *generator.coords_shape, seed=2)
    fixed = torch.tensor(0.4, dtype=torch.float64)

    def penalty() -> torch.Tensor:
        ws, shifts = generator.offsets(generator.broadcast(generator.mapping(z)), coords)
        image = generator.synthesis(ws, shifts, generator.synthesis.noise_const())
        return path_length_penalty(path_lengths(image, ws, y), fixed)

    parameters = [p for p in generator.parameters() if p.requires_grad]
    check_directional_derivatives(penalty, parameters)


def test_information_loss_by_hand() -> None:
    predicted = torch.tensor([[1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 0.0, 0.0]])
    coords = torch.tensor([[[0.0, 2.0], [5.0, 4.0]], [[1.0, 0.0], [0.0, 3.0]]])
    # (1 + 1) / 2 + 0 + 4 / 2 + 9 / 2
    assert float(information_loss(predicted, coords)) == pytest.approx(7.5)


def test_information_loss_of_a_perfect_and_of_an_ignorant_head() -> None:
    """Coordinates of variance 1: a prediction of 0 costs 1 for each of them."""
    generator = Generator(TINY, SubspaceConfig(dims=3))
    coords = generator.sample_coords(40000, torch.Generator().manual_seed(0))
    assert coords is not None
    flat = coords.flatten(1)
    assert flat.shape == (40000, 6)
    assert float(information_loss(flat, coords)) == 0
    assert float(information_loss(torch.zeros_like(flat), coords)) == pytest.approx(6.0, rel=0.01)
