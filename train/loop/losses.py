"""The losses: logistic, R1, path length, information and orthonormality."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F


def generator_logistic(fake_score: torch.Tensor) -> torch.Tensor:
    """Non-saturating loss -E log σ(D(G(z))) for scores [N] (Goodfellow et al. 2014)."""
    return F.softplus(-fake_score).mean()


def discriminator_logistic(fake_score: torch.Tensor, real_score: torch.Tensor) -> torch.Tensor:
    """-E log σ(D(x)) - E log(1 - σ(D(G(z)))) for scores [N]."""
    return F.softplus(fake_score).mean() + F.softplus(-real_score).mean()


def r1_penalty(real_score: torch.Tensor, real: torch.Tensor, gamma: float) -> torch.Tensor:
    """γ/2 · E‖∇D(x)‖² on real images [N, C, H, W] that require gradients.

    Source: Mescheder et al. 2018, Eq. 9. The result can be differentiated again.
    """
    (gradient,) = torch.autograd.grad(real_score.sum(), real, create_graph=True)
    return gamma / 2 * gradient.square().sum(dim=(1, 2, 3)).mean()


def path_lengths(image: torch.Tensor, ws: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """‖Jᵀy‖ for each sample: how far the image moves per unit of style, [N].

    Args:
        image: [N, C, H, W], computed from ws.
        ws: [N, num_sites, w_dim]; the square norm over w_dim is averaged over sites.
        y: standard normal image, [N, C, H, W]; scaled by 1/√(HW) here.

    Source: Karras et al. 2020b, Eq. 4.
    """
    projected = (image * y / math.sqrt(image.shape[2] * image.shape[3])).sum()
    (gradient,) = torch.autograd.grad(projected, ws, create_graph=True)
    # The tiny constant keeps the second derivative finite where a length is 0.
    return (gradient.square().sum(dim=2).mean(dim=1) + 1e-16).sqrt()


def path_length_penalty(lengths: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
    """E(‖Jᵀy‖ - a)² for lengths [N] and their running mean a, a scalar that is held fixed.

    a is the mean before this batch, so that the shares of a batch do not need each other's lengths.
    """
    return (lengths - mean).square().mean()


def information_loss(predicted: torch.Tensor, coords: torch.Tensor) -> torch.Tensor:
    """Σ over coordinates of E(a - â)², for predicted [N, num_coords] and coords [N, …]."""
    return (predicted - coords.flatten(1)).square().mean(dim=0).sum()
