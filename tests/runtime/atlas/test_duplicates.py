from __future__ import annotations

import numpy as np
import pytest

from segan.runtime.atlas.duplicates import DUPLICATE_FROM, group, nearest, similarities


def units(*rows: list[float]) -> list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    found = []
    for row in rows:
        vector = np.array(row, np.float32).reshape(1, 1, 1, -1)
        norm = np.linalg.norm(vector)
        found.append(vector / norm if norm else vector)
    return found


def test_cosines() -> None:
    alike = similarities(units([1, 0], [-2, 0], [1, 1], [0, 0]))
    root = 0.5**0.5
    expected = np.array([[1, -1, root, 0], [-1, 1, -root, 0], [root, -root, 1, 0], [0.0] * 4])
    assert np.abs(alike - expected).max() < 1e-6


def test_the_nearest_in_either_direction() -> None:
    alike = similarities(units([1, 0, 0], [-1, 0.1, 0], [0, 1, 0], [1, 0, 0]))
    found = nearest(alike, [True, True, True, False])
    assert found[0] is not None
    assert found[0].position == 1
    assert found[0].similarity == pytest.approx(-(1.01**-0.5))
    assert found[2] is not None
    assert found[2].position == 1
    assert found[3] is None  # dead: like nothing
    assert nearest(alike[:1, :1], [True]) == [None]


def test_members_are_similar_to_their_leader() -> None:
    """Each of a fan is like its neighbours, but the ends are unlike."""
    angles = np.radians([0, 30, 60, 90])
    alike = similarities(units(*[[float(np.cos(a)), float(np.sin(a))] for a in angles]))
    assert group(alike, [0, 1, 2, 3]) == [[0, 1], [2, 3]]
    assert group(alike, [1, 0, 2, 3]) == [[1, 0, 2], [3]]


def test_a_mirror_image_is_a_duplicate_and_the_threshold_counts() -> None:
    assert group(similarities(units([1, 0], [-1, 0])), [1, 0]) == [[1, 0]]
    near = float(np.sqrt(1 / DUPLICATE_FROM**2 - 1))
    assert group(similarities(units([1, 0], [1, near * 0.99])), [0, 1]) == [[0, 1]]
    assert group(similarities(units([1, 0], [1, near * 1.01])), [0, 1]) == [[0], [1]]
    assert group(similarities(units([1, 0], [1, 0])), [1]) == [[1]]
