"""Whether a face stays the same person while a slider moves its attribute.

Everything but the slider's main attribute is the person: a vector y of the other attributes'
readings, each of unit variance over the built-in faces. With y at both ends of the slider's range,

    identity = 1 - E ‖y_high - y_low‖² / E ‖y - y'‖²,

where y and y' belong to different seeds at the same end. 1: nothing but the attribute changes; 0:
the ends are as far apart as two persons of this model; below 0 where the slider leads farther than
that. So it is a ratio of mean squares as an intraclass correlation is (Shrout & Fleiss 1979). For
a slider that moves m other attributes by √12 standard deviations each, and persons that differ in
n attributes besides the main one, it is 1 - 12 m / 2n. Readings err, which costs a perfect slider
some hundredths.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from segan.train.control.attributes import READINGS
from segan.train.control.slider_effects import SliderReadings

Array = npt.NDArray[np.float64]


def person(readings: Array, main: str) -> Array:
    """Readings [..., OUTPUTS] without the main attribute, all others of unit variance.

    A hue's cosine and sine have unit variance together; so have a categorical attribute's
    probabilities, when sure, after a division by (Σ q (1 - q))^½.
    """
    parts = []
    for reading in READINGS:
        if reading.name == main:
            continue
        part = readings[..., reading.start : reading.start + reading.width]
        if reading.kind == "categorical":
            q = np.array(reading.attribute.weights)
            part = part / math.sqrt(float((q * (1 - q)).sum()))
        parts.append(part)
    return np.concatenate(parts, axis=-1)


def identity_kept(readings: SliderReadings, main: str) -> float:
    """The share of the person that stays when a slider goes from its low to its high end.

    Args:
        readings: of the slider, for 2 seeds or more.
        main: the attribute that it moves most; empty where it moves none: all attributes count.

    Returns:
        1 or less; NaN for fewer than two different persons.
    """
    ends = person(readings.attributes[[0, -1]], main)
    moved = np.square(ends[1] - ends[0]).sum(-1).mean()
    count = ends.shape[1]
    if count < 2:
        return math.nan
    # Mean over pairs of seeds of ‖y - y'‖² is twice the unbiased variance.
    apart = 2 * ends.var(axis=1, ddof=1).sum(-1).mean()
    return float(1 - moved / apart) if apart > 0 else math.nan
