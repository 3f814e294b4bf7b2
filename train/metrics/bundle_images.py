"""A bundle's images of seeds, with one slider set to a value: learned, or an added direction."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from segan.runtime.generator import Generator
from segan.runtime.latents import sample_coords, sample_z
from segan.runtime.layout import Slider
from segan.train.metrics.model_images import (
    Codes,
    Render,
    SliderRange,
    check_rgb,
    drawn_coords,
    slider_ranges,
)

#: Images made at once.
_BATCH = 32


class BundleImages:
    """Images as the runtime makes them: z and coords from the seed, constant noise, psi 1.

    They are not rounded to 8 bits, so that those of a bundle and of its checkpoint are the same
    within the bundle's tolerance.

    Args:
        generator: the open bundle, RGB; a conditional one shows its classes in turn.

    Raises:
        ConfigError: the bundle makes no RGB images.
    """

    def __init__(self, generator: Generator) -> None:
        check_rgb(generator.manifest.img_channels)
        self.generator = generator
        self._seeds: tuple[int, ...] = ()
        self._w = np.empty((0, 0), np.float32)
        self._coords = np.empty((0, 0, 0), np.float32)

    @property
    def resolution(self) -> int:
        """Height and width of the images."""
        return self.generator.manifest.resolution

    @property
    def sliders(self) -> tuple[SliderRange, ...]:
        """All sliders in table order."""
        return slider_ranges(self.generator.manifest.subspaces)

    def codes(self, seeds: Sequence[int]) -> Codes:
        """The latents of seeds."""
        self._draw(seeds)
        manifest = self.generator.manifest
        return Codes(
            sample_z(seeds, manifest.z_dim).astype(np.float64),
            self._w.astype(np.float64),
            drawn_coords(manifest.subspaces, self._coords),
        )

    def render(self, seeds: Sequence[int]) -> torch.Tensor:
        """Images [N, 3, R, R] of seeds, 0 to 2**32 - 1 each."""
        self._draw(seeds)
        return self._images(self._coords)

    def slider(self, slider: Slider) -> Render:
        """Sets a coordinate instead of drawing it."""
        row, _ = self.generator.slider(slider.layer, slider.dim, slider.index)

        def render(seeds: Sequence[int], value: float) -> torch.Tensor:
            self._draw(seeds)
            coords = self._coords.copy()
            coords[:, row, slider.dim] = value
            return self._images(coords)

        return render

    def _draw(self, seeds: Sequence[int]) -> None:
        # The mapping network is run once for all values of all sliders.
        if tuple(seeds) == self._seeds:
            return
        manifest = self.generator.manifest
        labels = None
        if manifest.c_dim:
            labels = np.eye(manifest.c_dim, dtype=np.float32)[np.array(seeds) % manifest.c_dim]
        self._w = self.generator.map(sample_z(seeds, manifest.z_dim), labels)
        self._coords = sample_coords(seeds, manifest.subspaces, manifest.coords_dim)
        self._seeds = tuple(seeds)

    def _images(self, coords: npt.NDArray[np.float32]) -> torch.Tensor:
        parts = []
        for start in range(0, len(coords), _BATCH):
            rows = slice(start, start + _BATCH)
            given = coords[rows] if coords.shape[1] else None
            ws, shifts = self.generator.style(self._w[rows], 1.0, given)
            parts.append(torch.from_numpy(self.generator.synthesize(ws, shifts)))
        return torch.cat(parts)
