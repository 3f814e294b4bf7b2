"""Sliders that do the same: how alike two are, and groups of near-duplicates.

Two sliders are as alike as the cosine between their difference images, those of all seeds laid end
to end. Where a slider does something else to each seed, the mean over seeds would cancel to noise;
this way two sliders are alike only if they do the same to the same seeds. -1 is the same the other
way round.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

#: Sliders at least this alike, in either direction, are near-duplicates: 64 % of what one does
#: is what the other does.
DUPLICATE_FROM = 0.8

Similarities = NDArray[np.float64]


class Nearest(NamedTuple):
    """The slider most like another.

    Attributes:
        position: of that slider.
        similarity: -1 to 1; negative where it does the same the other way round.
    """

    position: int
    similarity: float


def similarities(changes: Sequence[NDArray[np.float32]]) -> Similarities:
    """Cosines [N, N] between sliders.

    Args:
        changes: of each slider, arrays of one shape and norm 1, or zeros where nothing changes.
    """
    flat = np.stack([change.reshape(-1) for change in changes]).astype(np.float64)
    return np.asarray(np.clip(flat @ flat.T, -1, 1))


def nearest(alike: Similarities, alive: Sequence[bool]) -> list[Nearest | None]:
    """For each slider the one most like it, dead ones aside; None where there is none."""
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
    """Groups of near-duplicates, each led by its best slider.

    In the order given, a slider joins the first group whose leader it is like, or else leads a
    new one. So every member is like its leader; no chain of small steps joins unlike ones.

    Args:
        alike: [N, N] similarities.
        order: the sliders to group, best first; others are left out.
        threshold: of the similarity's size.

    Returns:
        Groups, also of one, each with its leader first.
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
