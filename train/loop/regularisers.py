"""The penalty that keeps what different coordinates do to an image apart.

A coordinate's effect is a column of the Jacobian of the image with respect to the coordinates,
here the finite difference of moving it by ``STEP``.
"""

from __future__ import annotations

import torch

#: How far a coordinate is moved, in its standard deviations, towards the middle of its range.
STEP = 1.0


def jacobian_overlap(base: torch.Tensor, moved: torch.Tensor) -> torch.Tensor:
    """Mean squared cosine between the changes that m coordinates make to an image, 0 to 1.

    Args:
        base: [N, C, H, W], images.
        moved: [N, m, C, H, W], the same with one coordinate moved in each.

    The columns of the Jacobian (its finite differences) are compared by angle alone, so that the
    penalty does not ask for weaker coordinates. With independent priors and orthogonal columns
    a coordinate is tied to one factor of the data: independent mechanisms (Gresele et al. 2021,
    Eq. 6 is the same contrast in logarithms); OroJaR (Wei et al. 2021, Eq. 6) without the angles'
    normalisation.
    """
    changes = (moved - base[:, None]).flatten(2)
    unit = changes / (changes.square().sum(dim=2, keepdim=True) + 1e-6).sqrt()
    cosines = unit @ unit.transpose(1, 2)  # [N, m, m]
    m = cosines.shape[1]
    squares = cosines.square().sum(dim=(1, 2)) - cosines.diagonal(dim1=1, dim2=2).square().sum(1)
    return (squares / (m * (m - 1))).mean()


def pick_coordinates(n: int, m: int, total: int, random: torch.Generator) -> torch.Tensor:
    """Positions of m different coordinates of ``total`` for each of n images, int64 [n, m]."""
    order = torch.rand(n, total, generator=random, device=random.device).argsort(dim=1)
    return order[:, :m]


def moved_one_by_one(coords: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Copies of coords, each with one coordinate moved by ``STEP`` towards 0.

    Args:
        coords: [N, num_subspaces, K].
        positions: [N, m], counted through all subspaces.

    Returns:
        [N, m, num_subspaces, K].
    """
    flat = coords.flatten(1)
    here = flat.gather(1, positions)
    step = torch.where(here > 0, -STEP, STEP)
    moved = flat[:, None].repeat(1, positions.shape[1], 1)
    moved.scatter_add_(2, positions[:, :, None], step[:, :, None])
    return moved.reshape(*positions.shape, *coords.shape[1:])


def share_coords(
    coords: torch.Tensor, group: int, probability: float, random: torch.Generator
) -> torch.Tensor:
    """The coordinates, in some groups all equal to those of the group's first image.

    Args:
        coords: [N, num_subspaces, K], drawn for each image.
        group: group size of the minibatch standard deviation; sample i of N belongs to group
            i mod (N / group), and all are one group when that does not divide (``MinibatchStd``).
        probability: of each group to share, 0 to 1.
        random: where the choice is drawn from, on the device of coords.

    Returns:
        [N, num_subspaces, K]; every image's own distribution is the one it was.
    """
    n = len(coords)
    if n % group:
        group = n
    shared = torch.rand(n // group, generator=random, device=coords.device) < probability
    groups = coords.unflatten(0, (group, -1))
    return torch.where(shared[:, None, None], groups[:1], groups).flatten(0, 1)
