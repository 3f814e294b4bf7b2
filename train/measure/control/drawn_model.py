"""The drawn faces themselves as a model whose sliders are known: the ground truth of control.

It has one slider for each attribute. With a mixing matrix its sliders move several attributes at
once, as far as the matrix says, so that every measure can be compared with what it should be.
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
        mixing: [sliders, attributes]; an attribute moves by its entry, in standard deviations,
            when the slider moves by 1, and stops at the ends of its range. None: slider i is
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
                f"mixing has the shape {self.mixing.shape}; expected [sliders, {width}]."
            )
        # A fixed rotation, so that w is a code in which every attribute is spread over all dims.
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
        """Z; w = z, rotated; and the sliders' coordinates."""
        z = sample_z(seeds, len(self.mixing)).astype(np.float64)
        uniform = torch.special.ndtr(torch.from_numpy(z)).numpy()
        return Codes(z, z @ self._turn, (uniform - 0.5) * 2 * REACH)

    def render(self, seeds: Sequence[int]) -> torch.Tensor:
        """Images [N, 3, R, R] in [-1, 1]."""
        return self._draw(self.codes(seeds).coords)

    def slider(self, slider: Slider) -> Render:
        """Sets a coordinate instead of drawing it."""

        def render(seeds: Sequence[int], value: float) -> torch.Tensor:
            coords = self.codes(seeds).coords.copy()
            coords[:, slider.dim] = value
            return self._draw(coords)

        return render

    def _draw(self, coords: Array) -> torch.Tensor:
        return as_tensor(draw_faces(self.attributes(coords), self._resolution))

    def attributes(self, coords: Array) -> dict[str, npt.NDArray[np.float64 | np.int64]]:
        """The attributes of coordinates [N, sliders]: name → [N]; hues wrap, others stop."""
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
                # Rounding may lead past an end by one unit in the last place.
                columns[attribute.name] = np.clip(value, attribute.low, attribute.high)
        return columns
