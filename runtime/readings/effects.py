"""The effect of one slider on the attributes of images, and on the identity of what they show.

Changes of an attribute are in its standard deviations (sd), ``Reading.spread``, so that effects on
different attributes can be compared:

- continuous: the change of the reading; the whole range is √12 = 3.46 sd.
- hue: the change of the angle in units of 2π / √12, the sd of a uniform angle; half a turn is
  1.73 sd.
- categorical: total variation ½ Σ|Δp| of the values' probabilities in units of
  (½ Σ q (1 - q))^½, where q are the values' frequencies. For two equally frequent values this is
  the sd of the indicator; a full switch is 1.7 to 2 sd.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segan.runtime.readings.reading import ANGLE_SD, Array, Reading

#: A slider that changes the image by less (rms, in [-1, 1]) is dead: 1.3 of 256 grey levels.
DEAD_BELOW = 0.01


class SliderEffect(NamedTuple):
    """The effect of one slider on each attribute, in the order of the readings.

    Attributes:
        change: root mean square over seeds and pixels of the image's change from the low end, at
            the value where it is largest, for images in [-1, 1].
        consistent: [attributes] magnitude of the mean over seeds of the signed change from end to
            end, in sd: changes whose direction differs from seed to seed cancel.
        absolute: [attributes] mean over seeds of the magnitude of the change, in sd; includes the
            estimator's noise.
        sign: [attributes] 1 or -1, the direction of the mean change; 0 for no direction.
        monotonicity: [attributes] magnitude of the mean over seeds of the rank correlation
            (Spearman) between the slider's value and the reading: 1 = always ordered, and in the
            same direction for all seeds.
    """

    change: float
    consistent: Array
    absolute: Array
    sign: Array
    monotonicity: Array


class SliderReadings(NamedTuple):
    """Readings while a slider moves from its low to its high end.

    Attributes:
        attributes: [values, seeds, width of the reader].
        change: [seeds] mean square over pixels of the image's change from the low end, at the
            value where it is largest: after a full turn a hue is what it was at the low end.
    """

    attributes: Array
    change: Array

    def of_seeds(self, rows: NDArray[np.intp]) -> SliderReadings:
        """Return the readings of some of the seeds; a seed may be given more than once."""
        return SliderReadings(self.attributes[:, rows], self.change[rows])

    def effect(self, readings: Sequence[Reading]) -> SliderEffect:
        """Return the slider's effect on each attribute."""
        change = math.sqrt(float(self.change.mean()))
        return effect_of_readings(self.attributes, readings, change)


def effect_of_readings(
    outputs: Array, readings: Sequence[Reading], change: float = math.nan
) -> SliderEffect:
    """Return the effect from outputs [values, seeds, width], ordered from low to high end."""
    rows = []
    for reading in readings:
        part = outputs[:, :, reading.columns]
        if reading.kind == "circular":
            rows.append(_circular(part))
        elif reading.kind == "categorical":
            rows.append(_categorical(part, reading))
        else:
            rows.append(_continuous(part[:, :, 0] / reading.sd))
    consistent, absolute, sign, monotonicity = np.array(rows).T
    return SliderEffect(change, consistent, absolute, sign, monotonicity)


def _continuous(path: Array) -> tuple[float, float, float, float]:
    moved = path[-1] - path[0]
    mean = moved.mean()
    return abs(mean), np.abs(moved).mean(), np.sign(mean), _monotonicity(path)


def _circular(vectors: Array) -> tuple[float, float, float, float]:
    """The effect on a hue, from readings [values, seeds, 2].

    A slider can change hues consistently in two ways: turn every seed's hue by the same angle, or
    take every seed's hue from one colour to another. The first is the mean angle along the path.
    The second is the mean change of the vector (cos, sin); its length is a chord of the unit
    circle and gives an angle as well. The larger angle counts.
    """
    angle = np.arctan2(vectors[:, :, 1], vectors[:, :, 0])
    steps = np.remainder(np.diff(angle, axis=0) + np.pi, 2 * np.pi) - np.pi
    path = np.concatenate([np.zeros_like(angle[:1]), np.cumsum(steps, axis=0)])
    length = np.linalg.norm(vectors, axis=2, keepdims=True)
    inside = vectors / np.maximum(length, 1)  # an uncertain reading stays short
    chord = float(np.linalg.norm((inside[-1] - inside[0]).mean(0)))
    turned = float(path[-1].mean())
    mean = max(abs(turned), 2 * math.asin(min(1.0, chord / 2)))
    shifts = inside - inside[0]
    along = shifts @ shifts[-1].mean(0)
    monotonicity = max(_monotonicity(path), _monotonicity(along))
    return (
        mean / ANGLE_SD,
        np.abs(path[-1]).mean() / ANGLE_SD,
        np.sign(turned),
        monotonicity,
    )


def _categorical(chances: Array, reading: Reading) -> tuple[float, float, float, float]:
    moved = chances[-1] - chances[0]
    mean = moved.mean(0)
    return (
        np.abs(mean).sum() / 2 / reading.spread,
        np.abs(moved).sum(1).mean() / 2 / reading.spread,
        0.0,
        _monotonicity(chances @ mean),
    )


def _monotonicity(path: Array) -> float:
    """|Mean over seeds of Spearman's ρ| between a path [values, seeds] and the order of values."""
    less = (path[:, None] > path[None]).sum(1) + 0.5 * ((path[:, None] == path[None]).sum(1) - 1)
    ranks = less - less.mean(0)
    order = np.arange(len(path)) - (len(path) - 1) / 2
    norm = np.sqrt(np.square(ranks).sum(0) * np.square(order).sum())
    return float(abs(((order @ ranks) / np.maximum(norm, 1e-12)).mean()))


def person(outputs: Array, readings: Sequence[Reading], main: str) -> Array:
    """Scale outputs [..., width] to unit variance per attribute, and drop the main attribute.

    The cosine and sine of a hue have unit variance together; so have the probabilities of a
    categorical attribute, where they are certain, after division by (Σ q (1 - q))^½.
    """
    parts = []
    for reading in readings:
        if reading.name == main:
            continue
        part = outputs[..., reading.columns]
        if reading.kind == "categorical":
            part = part / (math.sqrt(2) * reading.spread)
        elif reading.kind == "continuous":
            part = part / reading.sd
        parts.append(part)
    return np.concatenate(parts, axis=-1)


def identity_kept(moved: SliderReadings, readings: Sequence[Reading], main: str) -> float:
    """Return the share of a person's identity that a slider preserves from its low to its high end.

    Args:
        moved: readings of the slider, for 2 or more seeds.
        readings: what they are.
        main: the attribute that the slider changes most, which does not count; empty where it
            changes none, and all attributes count.

    Returns:
        1 or less; NaN for fewer than two different persons, and where only the main attribute
        is read.
    """
    if all(reading.name == main for reading in readings):
        return math.nan
    ends = person(moved.attributes[[0, -1]], readings, main)
    step = np.square(ends[1] - ends[0]).sum(-1).mean()
    count = ends.shape[1]
    if count < 2:
        return math.nan
    # Mean over pairs of seeds of ‖y - y'‖² is twice the unbiased variance.
    apart = 2 * ends.var(axis=1, ddof=1).sum(-1).mean()
    return float(1 - step / apart) if apart > 0 else math.nan
