"""The terms of the losses: logistic, R1, path length, information and Jacobian overlap.

The orthonormality penalty is in ``networks/stylegan2/subspace.py``, with the bases.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

#: Length of a coordinate's move in the Jacobian's finite differences, in standard deviations.
STEP = 1.0


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
    """‖Jᵀy‖ for each sample, [N]: the change of the image per unit of style.

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

    a is the mean before this batch, so that a share of a batch does not need the others' lengths.
    """
    return (lengths - mean).square().mean()


def information_loss(predicted: torch.Tensor, coords: torch.Tensor) -> torch.Tensor:
    """Σ over coordinates of E(a - â)², for predicted [N, num_coords] and coords [N, …]."""
    return (predicted - coords.flatten(1)).square().mean(dim=0).sum()


def jacobian_overlap(base: torch.Tensor, moved: torch.Tensor) -> torch.Tensor:
    """Mean squared cosine between the changes that m coordinates make to an image, 0 to 1.

    A change is a column of the Jacobian of the image with respect to the coordinates, as the finite
    difference of a move by ``STEP``. Only angles are compared, so the penalty does not favour
    coordinates with small effects. With independent priors and orthogonal columns, a coordinate
    corresponds to one factor of the data (independent mechanisms).

    Args:
        base: [N, C, H, W], images.
        moved: [N, m, C, H, W], the same images, each with one coordinate moved.

    Sources: Gresele et al. 2021, Eq. 6, the same contrast in logarithms; OroJaR (Wei et al. 2021,
    Eq. 6), without the normalisation.
    """
    changes = (moved - base[:, None]).flatten(2)
    unit = changes / (changes.square().sum(dim=2, keepdim=True) + 1e-6).sqrt()
    cosines = unit @ unit.transpose(1, 2)  # [N, m, m]
    m = cosines.shape[1]
    squares = cosines.square().sum(dim=(1, 2)) - cosines.diagonal(dim1=1, dim2=2).square().sum(1)
    return (squares / (m * (m - 1))).mean()


def pick_coordinates(n: int, m: int, total: int, random: torch.Generator) -> torch.Tensor:
    """Draw m different positions of 0 … total - 1 for each of n images, int64 [n, m]."""
    order = torch.rand(n, total, generator=random, device=random.device).argsort(dim=1)
    return order[:, :m]


def moved_one_by_one(coords: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Copy coords m times, each with one coordinate moved by ``STEP`` towards 0.

    Args:
        coords: [N, num_subspaces, K].
        positions: [N, m], in the flattened coordinates.

    Returns:
        [N, m, num_subspaces, K].
    """
    flat = coords.flatten(1)
    here = flat.gather(1, positions)
    step = torch.where(here > 0, -STEP, STEP)
    moved = flat[:, None].repeat(1, positions.shape[1], 1)
    moved.scatter_add_(2, positions[:, :, None], step[:, :, None])
    return moved.reshape(*positions.shape, *coords.shape[1:])
