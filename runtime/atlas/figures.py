"""What a slider does to images, in figures.

All figures are computed on the images of S seeds at T strengths, x[s, t], as float in [-1, 1]. The
span is the pair of strengths between which the images change most, nearly always the two ends. D[s]
is the difference image of seed s over the span, from the lower strength to the higher one.

- effect: root mean square of D over seeds, pixels and channels.
- locality: 1 - the share of the picture that the change fills, where a seed's share is
  (Σ e)² / (P Σ e²) with e[p] the mean square of D[s] over channels at pixel p of P: the
  participation ratio. A change that is equal over a square of a tenth of the picture and zero
  elsewhere has locality 0.9; one that is equal everywhere 0. Seeds count by their energy Σ e.
- consistency: mean over pairs of seeds of the cosine between D[s] and D[s']. 1 = the same change
  for every seed, 0 = unrelated ones.
- straightness: effect / length of the path, the sum of root mean squares from strength to strength
  over the span. 1 = the image moves along a straight line, at any speed.
- monotonicity: mean over seeds of |p[T-1] - p[0]| / Σ |p[t+1] - p[t]|, where p[t] is the
  projection of x[s, t] on D[s]. 1 = the image never reverses.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segan.runtime.readings.effects import DEAD_BELOW

Floats = NDArray[np.float32]
Images = NDArray[np.uint8]

#: Side, in pixels, that difference images are reduced to before sliders are compared.
COMPARED_SIDE = 32
#: The ends are the span unless another pair changes the image by more than this factor.
_ENDS_UNLESS = 1.02


class Figures(NamedTuple):
    """The figures of one slider, as the module defines them.

    Attributes:
        effect: 0 to 2, of images in [-1, 1].
        locality: 0 to 1.
        consistency: -1 to 1; 0 with fewer than two seeds that change.
        straightness: 0 to 1; 0 without a change.
        monotonicity: 0 to 1; 0 without a change.
        span: positions of the two strengths between which the images change most.
    """

    effect: float
    locality: float
    consistency: float
    straightness: float
    monotonicity: float
    span: tuple[int, int]

    @property
    def dead(self) -> bool:
        """Whether the slider does not change the image."""
        return self.effect < DEAD_BELOW

    @property
    def score(self) -> float:
        """The figure that sliders are ranked by: effect · locality."""
        return self.effect * self.locality


class Measured(NamedTuple):
    """One slider's figures and difference images.

    Attributes:
        figures: as the module defines them.
        heat: [H, W] float32, root mean square of D at each pixel over seeds and channels.
        change: [S, h, w, C] float32, D reduced to at most 32 pixels a side, of norm 1 over all;
            zeros without a change.
    """

    figures: Figures
    heat: Floats
    change: Floats


def measure(images: Images) -> Measured:
    """Measure one slider.

    Args:
        images: uint8 [S, T, H, W, C], S seeds at T >= 2 strengths from low to high.
    """
    x = images.astype(np.float32) / np.float32(127.5)
    count = x.shape[1]
    apart = np.zeros((count, count))
    for low in range(count):
        for high in range(low + 1, count):
            apart[low, high] = _rms(x[:, high] - x[:, low])
    low, high = (int(place) for place in np.unravel_index(apart.argmax(), apart.shape))
    if apart[0, -1] * _ENDS_UNLESS >= apart[low, high]:
        low, high = 0, count - 1
    difference = x[:, high] - x[:, low]  # [S, H, W, C]
    effect = float(apart[low, high])
    length = sum(apart[step, step + 1] for step in range(low, high))
    energy = np.square(difference, dtype=np.float64).mean(-1)  # [S, H, W]
    figures = Figures(
        effect=effect,
        locality=_locality(energy),
        consistency=_consistency(difference),
        straightness=float(min(1.0, effect / length)) if length > 0 else 0.0,
        monotonicity=_monotonicity(x, difference),
        span=(low, high),
    )
    heat = np.sqrt(energy.mean(0)).astype(np.float32)
    change = reduce_side(difference, COMPARED_SIDE)
    norm = float(np.linalg.norm(change))
    return Measured(figures, heat, change / np.float32(norm) if norm > 0 else change)


def reduce_side(pixels: Floats, side: int) -> Floats:
    """Average whole blocks of pixels, so that no side is longer than ``side``.

    Args:
        pixels: [N, H, W, C], H = W a power of two.
        side: a power of two.
    """
    factor = max(1, pixels.shape[1] // side)
    if factor == 1:
        return pixels
    n, height, width, channels = pixels.shape
    blocks = pixels.reshape(n, height // factor, factor, width // factor, factor, channels)
    return np.asarray(blocks.mean((2, 4)), np.float32)


def _rms(values: Floats) -> float:
    return math.sqrt(float(np.square(values, dtype=np.float64).mean()))


def _locality(energy: NDArray[np.float64]) -> float:
    """From each seed's energy by pixel, [S, H, W]."""
    flat = energy.reshape(len(energy), -1)
    total = flat.sum(1)
    if not total.any():
        return 0.0
    moving = total > 0
    part, flat = total[moving], flat[moving]
    filled = np.square(part) / (flat.shape[1] * np.square(flat).sum(1))
    return float(1 - np.average(filled, weights=part))


def _consistency(difference: Floats) -> float:
    flat = difference.reshape(len(difference), -1).astype(np.float64)
    norms = np.linalg.norm(flat, axis=1)
    units = flat[norms > 0] / norms[norms > 0, None]
    n = len(units)
    if n < 2:
        return 0.0
    # Σ over pairs of cosines, from the length of the sum of the unit vectors.
    return float((np.square(units.sum(0)).sum() - n) / (n * (n - 1)))


def _monotonicity(x: Floats, difference: Floats) -> float:
    path = np.einsum("sthwc,shwc->st", x, difference, dtype=np.float64, optimize=True)
    travelled = np.abs(np.diff(path, axis=1)).sum(1)
    moving = travelled > 0
    if not moving.any():
        return 0.0
    net = np.abs(path[moving, -1] - path[moving, 0])
    return float((net / travelled[moving]).mean())
