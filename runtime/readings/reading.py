"""What a reader reads from images: attributes as columns of numbers."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from segan.runtime.errors import ConfigError

Array = NDArray[np.float64]

ReadingKind = Literal["continuous", "circular", "categorical"]

#: Standard deviation of a uniform angle, in radians: 2π / √12.
ANGLE_SD = 2 * math.pi / math.sqrt(12.0)


class Reading(NamedTuple):
    """One attribute among the outputs of a reader.

    Attributes:
        name: of the attribute.
        kind: ``continuous``, one number; ``circular``, an angle as (cos, sin); or ``categorical``,
            the probability of each value.
        start: number of the first output.
        width: number of outputs.
        sd: continuous: how much of the output is one standard deviation; NaN where it is not known
            before images of a generator are read.
        weights: categorical: how frequent each value is; they add up to 1.
    """

    name: str
    kind: ReadingKind
    start: int
    width: int = 1
    sd: float = 1.0
    weights: tuple[float, ...] = ()

    @property
    def columns(self) -> slice:
        """The attribute's columns in outputs [N, width of the reader]."""
        return slice(self.start, self.start + self.width)

    @property
    def spread(self) -> float:
        """Unit of the outputs' changes: one standard deviation (sd) of the attribute.

        A hue's chord is the angle in radians where it is short. For a categorical attribute with
        frequencies q it is (½ Σ q (1 - q))^½, the unit of the total variation ½ Σ|Δp|; for two
        equally frequent values that is the sd of the indicator.
        """
        if self.kind == "circular":
            return ANGLE_SD
        if self.kind == "categorical":
            q = np.array(self.weights)
            return math.sqrt(float((q * (1 - q)).sum()) / 2)
        return self.sd


class Reader(Protocol):
    """Reads attributes from images: a network of any kind."""

    @property
    def readings(self) -> tuple[Reading, ...]:
        """The attributes, in the order of the outputs."""
        ...

    def read(self, images: NDArray[np.float32]) -> Array:
        """Return outputs [N, width] of images [N, 3, R, R], nominally in [-1, 1]."""
        ...


def find_reading(readings: Sequence[Reading], name: str) -> Reading:
    """Return the reading of a name. Raises: ConfigError, with the nearest names."""
    known = {reading.name: reading for reading in readings}
    if name not in known:
        near = difflib.get_close_matches(name.lower().replace("-", "_"), known, n=3, cutoff=0.5)
        raise ConfigError(
            field="attribute",
            value=name,
            expected=f"one of {', '.join(known)}",
            remedy=f"Did you mean {' or '.join(near)}?" if near else "",
        )
    return known[name]
