"""What the measures of control need from a model: images of seeds, sliders, and latents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch

from segan.runtime.bundle.layout import Slider, Subspace
from segan.runtime.errors import ConfigError
from segan.runtime.latents.draws import sample_z
from segan.train.measure.models.model import Array, ImageMaker, MakerSettings
from segan.train.measure.models.open import Compute, open_images
from segan.train.measure.models.torch_graphs import GeneratorImages
from segan.train.networks.stylegan2.generator import Generator

#: Seeds and a slider's value → images [N, 3, R, R], nominally in [-1, 1].
Render = Callable[[Sequence[int], float], torch.Tensor]


class SliderRange(NamedTuple):
    """A slider and the ends of its range."""

    slider: Slider
    low: float
    high: float


class Codes(NamedTuple):
    """What images of seeds were made from, each [N, width] float64.

    Attributes:
        z: the input latent.
        w: the intermediate latent.
        coords: the coordinates that are drawn from the seeds; width 0 where there are none, as in
            mode 0 and for directions that were added to a bundle.
    """

    z: npt.NDArray[np.float64]
    w: npt.NDArray[np.float64]
    coords: npt.NDArray[np.float64]


class ModelImages(Protocol):
    """A checkpoint, a bundle, or the drawn faces themselves."""

    @property
    def resolution(self) -> int:
        """Height and width of the images."""
        ...

    @property
    def sliders(self) -> tuple[SliderRange, ...]:
        """All sliders in table order; empty for a model that has none."""
        ...

    def render(self, seeds: Sequence[int]) -> torch.Tensor:
        """Images [N, 3, R, R], nominally in [-1, 1], of seeds."""
        ...

    def slider(self, slider: Slider) -> Render:
        """Renders seeds with a slider set to a value in place of the seed's own coordinate."""
        ...

    def codes(self, seeds: Sequence[int]) -> Codes:
        """The latents of seeds."""
        ...


def slider_ranges(table: Sequence[Subspace]) -> tuple[SliderRange, ...]:
    """Every slider of a subspace table."""
    return tuple(
        SliderRange(Slider(entry.layer, entry.index, dim), entry.low, entry.high)
        for entry in table
        for dim in range(entry.dims)
    )


def drawn_coords(
    table: Sequence[Subspace], coords: npt.NDArray[np.float32]
) -> npt.NDArray[np.float64]:
    """The coordinates [N, D] of coords [N, num_subspaces, K] that are drawn from the seeds."""
    columns = [
        coords[:, row, : entry.dims]
        for row, entry in enumerate(table)
        if entry.prior != "zero" and entry.dims
    ]
    empty = np.zeros((len(coords), 0), np.float32)
    return np.concatenate([empty, *columns], axis=1).astype(np.float64)


class SeedImages:
    """The images of seeds that an ``ImageMaker`` makes, with one slider set to a value.

    They are not rounded to 8 bits, so that those of a bundle and of its checkpoint are the same
    within the bundle's tolerance. z, coordinates, noise and class are a seed's own.

    Args:
        maker: of a checkpoint or a bundle, RGB.
        on_images: told how many images were just made.

    Raises:
        ConfigError: it makes no RGB images.
    """

    def __init__(self, maker: ImageMaker, on_images: Callable[[int], None] | None = None) -> None:
        if maker.facts.img_channels != 3:
            raise ConfigError(
                f"the generator makes images of {maker.facts.img_channels} channels; "
                "expected 3 (the built-in faces are RGB)."
            )
        self.maker = maker
        self._on_images = on_images or (lambda _: None)
        self._seeds: tuple[int, ...] = ()
        self._w: Array = np.empty((0, 0), np.float32)
        self._coords: Array | None = None
        self._noise: Array | None = None

    @property
    def resolution(self) -> int:
        """Height and width of the images."""
        return self.maker.facts.resolution

    @property
    def sliders(self) -> tuple[SliderRange, ...]:
        """All sliders in table order; empty in mode 0."""
        return slider_ranges(self.maker.facts.subspaces)

    def codes(self, seeds: Sequence[int]) -> Codes:
        """The latents of seeds."""
        self._draw(seeds)
        coords = np.zeros((len(seeds), 0, 0), np.float32) if self._coords is None else self._coords
        return Codes(
            sample_z(seeds, self.maker.facts.z_dim).astype(np.float64),
            self._w.astype(np.float64),
            drawn_coords(self.maker.facts.subspaces, coords),
        )

    def render(self, seeds: Sequence[int]) -> torch.Tensor:
        """Images [N, 3, R, R] of seeds, 0 to 2**32 - 1 each."""
        self._draw(seeds)
        return self._images(self._coords)

    def slider(self, slider: Slider) -> Render:
        """Sets a coordinate instead of drawing it. Raises: ConfigError for none of its own."""
        if slider not in (entry.slider for entry in self.sliders):
            raise ConfigError(f"there is no slider {slider}; this model has {len(self.sliders)}.")
        rows = [(entry.layer, entry.index) for entry in self.maker.facts.subspaces]
        row = rows.index(slider[:2])

        def render(seeds: Sequence[int], value: float) -> torch.Tensor:
            self._draw(seeds)
            assert self._coords is not None, "a generator with sliders has coordinates"
            coords = self._coords.copy()
            coords[:, row, slider.dim] = value
            return self._images(coords)

        return render

    def _draw(self, seeds: Sequence[int]) -> None:
        # The mapping network is run once for all values of all sliders.
        if tuple(seeds) == self._seeds:
            return
        maker = self.maker
        self._w = maker.map(sample_z(seeds, maker.facts.z_dim), maker.labels_of(seeds))
        self._coords, self._noise = maker.coords_of(seeds), maker.noise_of(seeds)
        self._seeds = tuple(seeds)

    def _images(self, coords: Array | None) -> torch.Tensor:
        parts, noise = [], self._noise
        for start in range(0, len(self._w), self.maker.batch_size):
            rows = slice(start, start + self.maker.batch_size)
            each = noise if noise is None or len(noise) == 1 else noise[rows]
            given = None if coords is None else coords[rows]
            parts.append(torch.from_numpy(self.maker.render(self._w[rows], given, each)))
            self._on_images(len(parts[-1]))
        return torch.cat(parts)


def generator_images(generator: Generator) -> SeedImages:
    """The images of a generator in memory, in evaluation mode, with constant noise.

    Raises:
        ConfigError: it makes no RGB images.
    """
    return SeedImages(GeneratorImages(generator, MakerSettings(noise="const")))


def open_model(path: Path | str, *, threads: int | None = None) -> SeedImages:
    """A run's newest checkpoint, a checkpoint or a bundle, with constant noise, on the CPU.

    Args:
        path: of a run, a checkpoint or a bundle (NAME.segan, a folder or one file).
        threads: that a bundle's backend computes with; None takes all cores.

    Raises:
        ConfigError: it makes no RGB images.
        CheckpointError: nothing there, or a checkpoint that cannot be read.
        BundleError: a bundle that cannot be read.
    """
    compute = Compute(threads=threads, device=torch.device("cpu"))
    return SeedImages(open_images(Path(path), MakerSettings(noise="const"), compute))
