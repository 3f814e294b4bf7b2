"""A checkpoint's images of seeds, with one slider or direction set to a value."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from segan.runtime.latents import sample_coords, sample_z
from segan.runtime.layout import Slider
from segan.train.generator import Generator
from segan.train.metrics.model_images import (
    Codes,
    Render,
    SliderRange,
    check_rgb,
    drawn_coords,
    slider_ranges,
)

#: Images made at once.
_BATCH = 64


class SeededImages:
    """Images as the runtime makes them: z and coords from the seed, constant noise, psi 1.

    Args:
        generator: in evaluation mode, RGB; a conditional one shows its classes in turn.

    Raises:
        ConfigError: the generator makes no RGB images.
    """

    def __init__(self, generator: Generator) -> None:
        check_rgb(generator.network.img_channels)
        self.generator = generator
        self._noise = generator.synthesis.noise_const()
        self._seeds: tuple[int, ...] = ()
        self._w = torch.empty(0)
        self._coords = torch.empty(0)

    @property
    def resolution(self) -> int:
        """Height and width of the images."""
        return self.generator.network.resolution

    @property
    def sliders(self) -> tuple[SliderRange, ...]:
        """All sliders in table order; empty in mode 0."""
        return slider_ranges(self.generator.table)

    @torch.no_grad()
    def codes(self, seeds: Sequence[int]) -> Codes:
        """The latents of seeds."""
        self._draw(seeds)
        return Codes(
            sample_z(seeds, self.generator.network.z_dim).astype(np.float64),
            self._w.double().numpy(),
            drawn_coords(self.generator.table, self._coords.numpy()),
        )

    def _draw(self, seeds: Sequence[int]) -> None:
        # The mapping network is run once for all values of all sliders.
        if tuple(seeds) == self._seeds:
            return
        generator, network = self.generator, self.generator.network
        z = torch.from_numpy(sample_z(seeds, network.z_dim))
        labels = None
        if network.c_dim:
            classes = torch.tensor(list(seeds)) % network.c_dim
            labels = torch.nn.functional.one_hot(classes, network.c_dim).float()
        self._w = generator.mapping(z, labels)
        self._coords = torch.from_numpy(
            sample_coords(seeds, generator.table, generator.coords_shape[1])
        )
        self._seeds = tuple(seeds)

    @torch.no_grad()
    def render(
        self,
        seeds: Sequence[int],
        change: Callable[[torch.Tensor, torch.Tensor], None] | None = None,
    ) -> torch.Tensor:
        """Images [N, 3, R, R] of seeds.

        Args:
            seeds: 0 to 2**32 - 1 each.
            change: changes the sites' w [N, num_sites, w_dim] and coords [N, num_subspaces, K] in
                place, before the subspaces.
        """
        self._draw(seeds)
        generator = self.generator
        images = []
        for start in range(0, len(seeds), _BATCH):
            w = generator.broadcast(self._w[start : start + _BATCH]).clone()
            coords = self._coords[start : start + _BATCH].clone()
            if change is not None:
                change(w, coords)
            ws, shifts = generator.offsets(w, coords)
            images.append(generator.synthesis(ws, shifts, self._noise))
        return torch.cat(images)

    def slider(self, slider: Slider) -> Render:
        """Sets a coordinate instead of drawing it."""
        rows = [(entry.layer, entry.index) for entry in self.generator.table]
        row = rows.index(slider[:2])

        def render(seeds: Sequence[int], value: float) -> torch.Tensor:
            def change(w: torch.Tensor, coords: torch.Tensor) -> None:
                coords[:, row, slider.dim] = value

            return self.render(seeds, change)

        return render

    def direction(self, offset: torch.Tensor | np.ndarray, sites: Sequence[int]) -> Render:
        """Adds value · offset [w_dim] to the w of sites, as closed-form directions do."""
        step = torch.as_tensor(offset, dtype=torch.float32)
        chosen = list(sites)

        def render(seeds: Sequence[int], value: float) -> torch.Tensor:
            def change(w: torch.Tensor, coords: torch.Tensor) -> None:
                w[:, chosen] += value * step

            return self.render(seeds, change)

        return render
