"""The direction that moves one reading and leaves the others: a small least-squares problem.

Let J[s] be the Jacobian of all readings with respect to the P parameters of a move at seed s, in
standard deviations of the readings. The direction θ for one reading minimises

    ‖E[J_o] θ‖² + λ_s E‖J_o θ‖² + λ_x E‖J_x θ‖² + λ ‖θ‖²   subject to  E[J_m] θ = 1,

where o are the columns of the other readings, m is the moved one, x are the pixels of the image,
and E is the mean over seeds: the others' means stay (strongly), and each seed's others and the rest
of its image, which no reading describes (weakly), with a ridge.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from segan.runtime.readings.reading import ANGLE_SD, Array, Reading

#: λ_s, the weight of each seed's other readings.
SEED_WEIGHT = 0.02
#: λ_x, the weight of the image's mean square change, in units of the variance between seeds.
IMAGE_WEIGHT = 0.05
#: λ, of which the one with the least leakage on held-out seeds is taken.
RIDGES = (0.001, 0.003, 0.01, 0.03, 0.1)
#: Directions of a hue that are tried, over half a turn.
_ANGLES = 4


def output_scales(readings: Sequence[Reading]) -> Array:
    """Return [width], factors that bring outputs to standard deviations of their readings.

    The length of a reading's scaled change is its effect in sd: exactly for numbers, for a short
    chord of a hue, and for a shift between two categories.
    """
    scales = []
    for reading in readings:
        unit = {
            "continuous": reading.sd,
            "circular": ANGLE_SD,
            "categorical": math.sqrt(2) * reading.spread,
        }[reading.kind]
        scales += [1 / unit] * reading.width
    return np.array(scales)


def targets(reading: Reading) -> list[Array]:
    """Return the unit vectors [width] along which a reading may be moved.

    One for a number, several angles for a hue, and each value against the others for a category.
    """
    if reading.kind == "circular":
        angles = np.arange(_ANGLES) * np.pi / _ANGLES
        return [np.array([np.cos(angle), np.sin(angle)]) for angle in angles]
    if reading.width == 1:
        return [np.ones(1)]
    found = []
    for value in range(reading.width):
        target = np.full(reading.width, -1 / (reading.width - 1))
        target[value] = 1
        found.append(target / np.linalg.norm(target))
        if reading.width == 2:
            break  # The second value is the first one's opposite.
    return found


class LeakageProblem:
    """The least-squares problem of one reading and one target.

    Args:
        jacobian: [S, P, width], scaled by ``output_scales``.
        change: [P, P], E[J_xᵀ J_x]: θᵀ change θ is the mean square change of the image.
        reading: that is moved.
        target: unit vector of its columns.
        ridge: λ.
        used: [P], False for parameters that stay 0.
    """

    def __init__(
        self,
        jacobian: Array,
        change: Array,
        reading: Reading,
        target: Array,
        ridge: float,
        used: NDArray[np.bool_] | None = None,
    ) -> None:
        size, width = jacobian.shape[1:]
        self._used = np.ones(size, bool) if used is None else used
        self._size = size
        self._others = np.ones(width, bool)
        self._others[reading.columns] = False
        part = jacobian[:, self._used]
        mean = part.mean(0)
        others = part[:, :, self._others]
        self._mean_others = mean[:, self._others]  # [P', others]
        hessian = self._mean_others @ self._mean_others.T
        flat = others.transpose(1, 0, 2).reshape(others.shape[1], -1)
        hessian += SEED_WEIGHT / len(jacobian) * flat @ flat.T
        hessian += IMAGE_WEIGHT * change[np.ix_(self._used, self._used)]
        hessian += ridge * np.eye(len(hessian))
        self._inverse = np.linalg.inv(hessian)
        self._gain = mean[:, reading.columns] @ target  # [P']

    def direction(self) -> Array:
        """Return θ, [P]: it moves the target by one sd."""
        return self._all(self._along())

    def _along(self) -> Array:
        moved = self._inverse @ self._gain
        scale = self._gain @ moved
        return np.asarray(moved / max(scale, 1e-12), np.float64)

    def correction(self, change: Array, missing: float) -> Array:
        """Return the step [P] that takes back a measured change of the other readings.

        Args:
            change: [width], mean change of the scaled outputs by the move so far.
            missing: how much more of the target is wanted, in sd.
        """
        back = -self._inverse @ (self._mean_others @ change[self._others])
        return self._all(back + (missing - self._gain @ back) * self._along())

    def _all(self, part: Array) -> Array:
        move = np.zeros(self._size)
        move[self._used] = part
        return move


def predicted_leakage(
    jacobian: Array, readings: Sequence[Reading], main: int, move: Array
) -> float:
    """Return the share of a small move's mean effects that is on other readings.

    Args:
        jacobian: [S, P, width], scaled.
        readings: all readings.
        main: the number of the moved one.
        move: [P].
    """
    change = move @ jacobian.mean(0)
    effects = np.array([np.linalg.norm(change[reading.columns]) for reading in readings])
    return float(1 - effects[main] / max(effects.sum(), 1e-12))
