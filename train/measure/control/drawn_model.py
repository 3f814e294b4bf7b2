"""The drawn faces as a model with known sliders: the ground truth of control.

The model has one slider for each attribute. With a mixing matrix, a slider changes several
attributes by known amounts, so that every measure can be compared with its expected value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from segan.runtime.bundle.layout import Slider
from segan.runtime.errors import ConfigError
from segan.runtime.latents.draws import sample_z
from segan.train.data.faces.attributes import FACE_ATTRIBUTES
from segan.train.data.faces.draw import draw_faces
from segan.train.measure.control.attribute_training import as_tensor
from segan.train.measure.control.attributes import CIRCULAR, UNIFORM_SD
from segan.train.measure.models.model import Codes, Render, SliderRange

Array = npt.NDArray[np.float64]

#: Ends of a slider: those of a uniform distribution of variance 1.
REACH = math.sqrt(3.0)


class DrawnModel:
    """Faces drawn from seeds: z ~ N(0, I), coordinates u = √12 (Φ(z) - ½), attributes u · mixing.

    Args:
        resolution: of the images.
        mixing: [sliders, attributes]; the change of each attribute, in standard deviations, when a
            slider changes by 1. Attributes stop at the ends of their range. None: slider i is
            attribute i.

    Raises:
        ConfigError: a mixing matrix of another width.
    """

    def __init__(self, resolution: int, mixing: Array | None = None) -> None:
        width = len(FACE_ATTRIBUTES)
        self._resolution = resolution
        self.mixing = np.eye(width) if mixing is None else np.asarray(mixing, np.float64)
        if self.mixing.ndim != 2 or self.mixing.shape[1] != width:
            raise ConfigError(
                f"`mixing` has the shape {self.mixing.shape}",
                field="mixing",
                value=self.mixing.shape,
                expected=f"[sliders, {width}]",
            )
        # A fixed rotation: in w, every attribute is spread over all dimensions.
        normal = np.random.RandomState(0).randn(len(self.mixing), len(self.mixing))
        self._turn = np.linalg.qr(normal)[0]

    @property
    def resolution(self) -> int:
        """Height and width of the images."""
        return self._resolution

    @property
    def sliders(self) -> tuple[SliderRange, ...]:
        """One for each row of the mixing matrix."""
        return tuple(SliderRange(Slider(0, 0, k), -REACH, REACH) for k in range(len(self.mixing)))

    def codes(self, seeds: Sequence[int]) -> Codes:
        """Return z, w (z rotated), and the sliders' coordinates."""
        z = sample_z(seeds, len(self.mixing)).astype(np.float64)
        uniform = torch.special.ndtr(torch.from_numpy(z)).numpy()
        return Codes(z, z @ self._turn, (uniform - 0.5) * 2 * REACH)

    def render(self, seeds: Sequence[int]) -> torch.Tensor:
        """Return the images [N, 3, R, R] of seeds, in [-1, 1]."""
        return self._draw(self.codes(seeds).coords)

    def slider(self, slider: Slider) -> Render:
        """Return a function that renders seeds with a slider set to a value."""

        def render(seeds: Sequence[int], value: float) -> torch.Tensor:
            coords = self.codes(seeds).coords.copy()
            coords[:, slider.dim] = value
            return self._draw(coords)

        return render

    def _draw(self, coords: Array) -> torch.Tensor:
        return as_tensor(draw_faces(self.attributes(coords), self._resolution))

    def attributes(self, coords: Array) -> dict[str, npt.NDArray[np.float64 | np.int64]]:
        """Return name → [N] for coordinates [N, sliders]; hues wrap, other attributes stop."""
        standard = coords @ self.mixing
        columns: dict[str, npt.NDArray[np.float64 | np.int64]] = {}
        for column, attribute in enumerate(FACE_ATTRIBUTES):
            share = standard[:, column] * UNIFORM_SD + 0.5  # [0, 1] from end to end
            if attribute.name in CIRCULAR:
                share = np.where((share < 0) | (share > 1), share % 1, share)
            share = np.clip(share, 0, 1)
            if attribute.kind == "categorical":
                bounds = np.cumsum(attribute.weights)[:-1]
                columns[attribute.name] = np.searchsorted(bounds, share, side="right")
            else:
                value = attribute.low + share * (attribute.high - attribute.low)
                # Rounding may exceed an end by one unit in the last place.
                columns[attribute.name] = np.clip(value, attribute.low, attribute.high)
        return columns
