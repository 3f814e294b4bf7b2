"""Anti-aliased painting on a batch of images: distances, coverage, patches and palettes.

Pixels are computed by + - * / sqrt, min, max and rint alone, which IEEE 754 defines to the bit, so
that the same attributes give the same image on every machine and in every chunk.

Canvas coordinates: x to the right and y downwards, both from -1 to 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]


class Patch:
    """A window of the same size in some or all images of a batch.

    Attributes:
        index: [n] positions of the images.
        x: [n, h, w] float32 canvas x of the pixel centres.
        y: [n, h, w] float32 canvas y of the pixel centres.
        rgb: [3, n, h, w] float32 in [0, 1], a copy that ``close`` writes back.
        pixel: width of a pixel in canvas units.
    """

    def __init__(
        self, image: Array, index: npt.NDArray[Any], center: tuple[Array, Array], reach: float
    ) -> None:
        """Cut out a square of half width ``reach`` around ``center`` ([batch] x and y)."""
        size = image.shape[-1]
        self.pixel = 2.0 / size
        width = min(size, int(np.ceil(reach * size)) + 2)
        place = []
        for axis in center:
            first = np.floor((axis[index] - reach + 1) / self.pixel).astype(np.int64)
            place.append(np.clip(first, 0, size - width)[:, None] + np.arange(width))
        columns, rows = place
        self._image = image
        self._at = (slice(None), index[:, None, None], rows[:, :, None], columns[:, None, :])
        self.index = index
        shape = (len(index), width, width)
        self.x = np.broadcast_to(_centers(columns, size)[:, None, :], shape)
        self.y = np.broadcast_to(_centers(rows, size)[:, :, None], shape)
        self.rgb: Array = image[self._at]

    def coverage(self, distance: Array) -> Array:
        """The covered share of each pixel, 0 to 1, for signed distances (negative inside)."""
        alpha: Array = np.clip(0.5 - distance * (1 / self.pixel), 0, 1)
        return alpha

    def stroke(self, distance: Array, half_width: float | Array) -> Array:
        """Coverage of a line, also of one thinner than a pixel."""
        half = self.pixel / 2
        inner = np.minimum(distance + half_width, half) - np.maximum(distance - half_width, -half)
        alpha: Array = np.clip(inner * (1 / self.pixel), 0, 1)
        return alpha

    def paint(self, alpha: Array, color: Array | Sequence[Array]) -> None:
        """Blend a colour ([3, n] or [3, n, h, w]) over the patch with opacity ``alpha``."""
        for channel, value in zip(self.rgb, color, strict=True):
            channel += alpha * ((value[:, None, None] if value.ndim == 1 else value) - channel)

    def close(self) -> None:
        """Write the painted pixels back."""
        self._image[self._at] = self.rgb


def _centers(pixels: npt.NDArray[np.int64], size: int) -> Array:
    return ((pixels + 0.5) * (2.0 / size) - 1.0).astype(np.float32)


def column(values: npt.ArrayLike) -> Array:
    """[n] numbers as [n, 1, 1] float32, to broadcast over [n, h, w]."""
    return np.asarray(values, np.float32)[:, None, None]


def ellipse(x: Array, y: Array, a: Array | float, b: Array | float) -> Array:
    """Signed distance to an ellipse with half axes a and b, to first order at its edge."""
    u, v = x / a, y / b
    radius = np.sqrt(u * u + v * v)
    u, v = u / a, v / b
    distance: Array = radius * (radius - 1) / (np.sqrt(u * u + v * v) + 1e-6)
    return distance


def rounded_box(x: Array, y: Array, a: Array | float, b: Array | float, radius: float) -> Array:
    """Signed distance to a box with half sides a and b and rounded corners."""
    u = np.abs(x) - (a - radius)
    v = np.abs(y) - (b - radius)
    outside = np.sqrt(np.square(np.maximum(u, 0)) + np.square(np.maximum(v, 0)))
    distance: Array = outside + np.minimum(np.maximum(u, v), 0) - radius
    return distance


def blob(x: Array, y: Array, a: float, b: float) -> Array:
    """A soft spot: 1 in the middle, 0 on and outside the ellipse (a, b)."""
    u, v = x / a, y / b
    spot: Array = np.square(np.maximum(1 - u * u - v * v, 0))
    return spot


def smooth(low: float | Array, high: float | Array, value: Array) -> Array:
    """Smoothstep: 0 up to ``low``, 1 from ``high``."""
    t: Array = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def scallops(x: Array, count: float) -> Array:
    """Arcs of period 1 / count: 1 in the middle of each, 0 between them."""
    t = x * count
    t = t - np.rint(t)
    arcs: Array = 1 - 4 * t * t
    return arcs


def ramp(stops: Sequence[str], value: npt.NDArray[np.float64]) -> Array:
    """Colours along a palette: value in [0, 1] → [3, n] in [0, 1], by linear interpolation."""
    table = np.array([[int(stop[i : i + 2], 16) / 255 for i in (0, 2, 4)] for stop in stops])
    at = np.linspace(0, 1, len(stops))
    return np.stack([np.interp(value, at, channel) for channel in table.T]).astype(np.float32)


def hue(value: npt.NDArray[np.float64], saturation: float, brightness: float) -> Array:
    """HSV → RGB: hue in [0, 1] → [3, n] in [0, 1]."""
    sector = (value[None] * 6 + np.array([[5.0], [3.0], [1.0]])) % 6
    fall = np.clip(np.minimum(sector, 4 - sector), 0, 1)
    return np.asarray(brightness * (1 - saturation * fall), np.float32)


def mix(color: Array, other: Array | Sequence[float], amount: float) -> Array:
    """Colour moved towards another by ``amount``."""
    target = np.asarray(other, np.float32)
    target = target[:, None] if target.ndim == 1 else target
    return np.asarray(color + amount * (target - color), np.float32)


def between(color: Array, other: Array, amount: Array) -> list[Array]:
    """Two [3, n] colours blended pixel by pixel: amount [n, h, w] → three [n, h, w]."""
    return [
        a[:, None, None] + amount * (b - a)[:, None, None]
        for a, b in zip(color, other, strict=True)
    ]
