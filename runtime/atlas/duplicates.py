"""The similarity of sliders, and groups of near-duplicates.

The similarity of two sliders is the cosine between their difference images, concatenated over all
seeds: it is high only if both do the same to the same seeds, where the mean over seeds of a slider
with inconsistent effects would cancel to noise. -1 means the same change in the other direction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

#: Sliders at least this similar, in either direction, are near-duplicates: they share 64 % of the
#: energy of their changes.
DUPLICATE_FROM = 0.8

Similarities = NDArray[np.float64]


class Nearest(NamedTuple):
    """The slider that is most similar to another.

    Attributes:
        position: of that slider.
        similarity: -1 to 1; negative for the same change in the other direction.
    """

    position: int
    similarity: float


def similarities(changes: Sequence[NDArray[np.float32]]) -> Similarities:
    """Return the cosines [N, N] between sliders.

    Args:
        changes: of each slider, arrays of one shape and norm 1, or zeros for no change.
    """
    flat = np.stack([change.reshape(-1) for change in changes]).astype(np.float64)
    return np.asarray(np.clip(flat @ flat.T, -1, 1))


def nearest(alike: Similarities, alive: Sequence[bool]) -> list[Nearest | None]:
    """Return the most similar slider of each; None for dead sliders and those without another."""
    strength = np.abs(alike)
    np.fill_diagonal(strength, -1)
    strength[:, ~np.asarray(alive, bool)] = -1
    found: list[Nearest | None] = []
    for row, (values, lives) in enumerate(zip(strength, alive, strict=True)):
        place = int(values.argmax())
        known = lives and values[place] >= 0
        found.append(Nearest(place, float(alike[row, place])) if known else None)
    return found


def group(
    alike: Similarities, order: Sequence[int], threshold: float = DUPLICATE_FROM
) -> list[list[int]]:
    """Return groups of near-duplicates, each led by its best slider.

    In the given order, a slider joins the first group whose leader is similar, or leads a new
    group. So every member is similar to its leader.

    Args:
        alike: [N, N] similarities.
        order: the sliders to group, best first; others are left out.
        threshold: least absolute similarity within a group.

    Returns:
        Groups of one or more sliders, the leader first.
    """
    groups: list[list[int]] = []
    for slider in order:
        for members in groups:
            if abs(alike[slider, members[0]]) >= threshold:
                members.append(slider)
                break
        else:
            groups.append([slider])
    return groups
