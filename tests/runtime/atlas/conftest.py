"""A generator whose sliders do what is written here, so that every figure has a known answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from segan.runtime.backends.graphs import open_graphs
from segan.runtime.bundle.reader import open_bundle
from segan.runtime.generate.generator import Generator

ROOT3 = 3**0.5


class DrawnGenerator(Generator):
    """Toy bundle's tables and latents, but pictures of 16² that are drawn from coordinates alone.

    Every picture is grey 128, with a mark of its seed; then
    L0N0D0 brightens the square of the first 4 x 4 pixels, 20 steps a unit;
    L0N0D1 darkens the same square, 10 steps a unit;
    L0N0D2 does nothing;
    L0N0D3 brightens the whole picture, 5 steps a unit;
    L0N0D4 brightens a square elsewhere, for odd seeds, and darkens it for even ones;
    L1N0D0 goes there and back: brightest in the middle of its range;
    L1N0D1 changes red in one square and green in another, one after the other.
    Their own coordinates do not show, so that each slider is seen alone.
    """

    def noise_of(self, seeds: Sequence[int], settings: Any) -> Any:
        return np.array(seeds)  # the pictures show their seeds

    def render_with(
        self, w: ArrayLike, coords: Any, noise: Any, settings: Any
    ) -> NDArray[np.uint8]:
        own = self.settings().coords_of(noise.tolist())
        moved = np.where(coords == own, np.nan, coords)
        images = np.full((len(coords), 16, 16, 3), 128, np.float64)
        images[:, 15, 15] = noise[:, None] % 256
        for image, at, seed in zip(images, moved, noise, strict=True):
            first, second = np.nan_to_num(at[0]), at[1]
            image[:4, :4] += 20 * first[0] - 10 * first[1]
            image += 5 * first[3]
            image[8:12, 8:12] += (1 if seed % 2 else -1) * 20 * first[4]
            if np.isfinite(second[0]):
                image[:4, 8:12] += 30 * (1 - (second[0] / ROOT3) ** 2)
            if np.isfinite(second[1]):
                along = (second[1] + ROOT3) / (2 * ROOT3)
                image[12:, :4, 0] += 60 * min(1, 2 * along)
                image[12:, 4:8, 1] += 60 * max(0, 2 * along - 1)
        return np.asarray(np.clip(np.rint(images), 0, 255), np.uint8)


@pytest.fixture
def open_drawn() -> Iterator[Callable[[Path], DrawnGenerator]]:
    """Opens a copy of toy.segan as a DrawnGenerator."""
    opened: list[DrawnGenerator] = []

    def make(path: Path) -> DrawnGenerator:
        bundle = open_bundle(path)
        opened.append(DrawnGenerator(bundle, open_graphs(bundle, "cpu")))
        return opened[-1]

    yield make
    for generator in opened:
        generator.close()


@pytest.fixture
def drawn(open_drawn: Callable[[Path], DrawnGenerator], toy_bundle: Path) -> DrawnGenerator:
    """It, over toy.segan without names."""
    return open_drawn(toy_bundle)
