"""Groups of fakes with the same coordinates, so that z has to make what varies within a group.

The information term makes the generator use its coordinates, and with enough of them they explain
all images: z dies. The discriminator compares the fakes of a group by its minibatch standard
deviation. Where a group shares its coordinates, only z can give it the variety of real images.
"""

from __future__ import annotations

import torch


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
