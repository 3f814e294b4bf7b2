"""What the measures of control need from a model: images of seeds, sliders, and latents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch

from segan.runtime.errors import ConfigError
from segan.runtime.layout import Slider, Subspace

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


def open_model(path: Path | str, *, threads: int | None = None) -> ModelImages:
    """A run's newest checkpoint, a checkpoint or a bundle, ready to be measured.

    Args:
        path: of a run, a checkpoint or a bundle (NAME.segan, a folder or one file).
        threads: that a bundle's backend computes with; None takes all cores.

    Raises:
        ConfigError: it makes no RGB images.
        CheckpointError: nothing there, or a checkpoint that cannot be read.
        BundleError: a bundle that cannot be read.
    """
    from segan.runtime.bundle import MANIFEST
    from segan.runtime.generator import load
    from segan.train.checkpoint import load_generator, resolve_checkpoint
    from segan.train.metrics.bundle_images import BundleImages
    from segan.train.metrics.seeded_images import SeededImages

    path = Path(path)
    if path.is_file() or (path / MANIFEST).is_file():
        return BundleImages(load(path, "auto", threads=threads))
    return SeededImages(load_generator(resolve_checkpoint(path)).generator)


def check_rgb(channels: int) -> None:
    """Raises ConfigError unless images have 3 channels."""
    if channels != 3:
        raise ConfigError(
            f"the generator makes images of {channels} channels; "
            "expected 3 (the built-in faces are RGB)."
        )
