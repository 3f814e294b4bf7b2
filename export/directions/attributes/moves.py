"""Moves of a generator's latents: coordinates of its subspaces, and w of its layers.

A move is a vector θ of P parameters: first the coordinates of all sliders, in table order, then for
each layer the components of w along its principal components, in standard deviations. Both are
added to the latents of a seed, so a move of 0 is the seed's own image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from segan.export.directions.statistics import WStatistics
from segan.runtime.bundle.layout import Slider
from segan.runtime.bundle.sliders import num_layers
from segan.runtime.generate.probe import Probe
from segan.runtime.generate.renderer import Renderer
from segan.runtime.readings.reading import Array, Reader

#: Images that are rendered, and then read, together.
_BATCH = 64
#: Height and width of images whose change is measured.
_REDUCED = 16


class MoveSpace:
    """The parameters of moves, and what they add to coordinates and w.

    Args:
        renderer: of the bundle.
        statistics: mean and covariance of its w.
        components: principal components of w for each layer, 0 to w_dim; 0 moves coordinates only.

    Attributes:
        manifest: of the bundle.
        sliders: of the first parameters.
        ends: the sliders with the ends of their ranges.
        size: number of parameters, P.
    """

    def __init__(self, renderer: Renderer, statistics: WStatistics, components: int) -> None:
        manifest = renderer.manifest
        self.manifest = manifest
        self.ends = tuple(
            (Slider(entry.layer, entry.index, dim), entry.low, entry.high)
            for entry in manifest.subspaces
            for dim in range(entry.dims)
        )
        self.sliders = tuple(slider for slider, _, _ in self.ends)
        values, vectors = np.linalg.eigh(statistics.covariance)
        order = np.argsort(values)[::-1][:components]
        deviations = np.sqrt(np.maximum(values[order], 0.0))
        self._axes = deviations[:, None] * vectors[:, order].T  # [components, w_dim]
        self._site_layers = np.array([site.layer for site in manifest.sites])
        self._layers = num_layers(manifest)
        self.size = len(self.sliders) + self._layers * components

    @property
    def coordinates(self) -> NDArray[np.bool_]:
        """[P], True for the parameters that are coordinates."""
        return np.arange(self.size) < len(self.sliders)

    def of_coords(self, move: Array) -> Array:
        """Return what a move adds to coordinates: [..., P] → [..., num_subspaces, coords_dim]."""
        manifest = self.manifest
        shape = (*move.shape[:-1], manifest.num_subspaces, manifest.coords_dim)
        added, start = np.zeros(shape), 0
        for row, entry in enumerate(manifest.subspaces):
            added[..., row, : entry.dims] = move[..., start : start + entry.dims]
            start += entry.dims
        return added

    def of_w(self, move: Array) -> Array:
        """Return what a move adds to the sites' w: [..., P] → [..., num_sites, w_dim]."""
        parts = move[..., len(self.sliders) :]
        parts = parts.reshape(*move.shape[:-1], self._layers, len(self._axes))
        return np.asarray((parts @ self._axes)[..., self._site_layers, :], np.float64)


class MovedSeeds:
    """Seeds that are rendered with moves, and read.

    Args:
        renderer: what computes.
        space: the moves' parameters.
        reader: reads the images.
        seeds: of the images. Classes are taken in turn.
        class_index: one class for all seeds; None takes all in turn.
        on_images: called with the number of images of each batch.
    """

    def __init__(
        self,
        renderer: Renderer,
        space: MoveSpace,
        reader: Reader,
        seeds: Sequence[int],
        *,
        class_index: int | None = None,
        on_images: Callable[[int], None] = lambda images: None,
    ) -> None:
        self._probe = Probe.in_turn(renderer, seeds, class_index=class_index)
        self._renderer, self.space, self._reader = renderer, space, reader
        self._on_images = on_images

    def __len__(self) -> int:
        return len(self._probe.seeds)

    def read(self, moves: Array) -> Array:
        """Return outputs [M, S, width] of all S seeds at moves [M, P]."""
        return self._by_move(moves, [self._reader.read(images) for images in self._images(moves)])

    def read_and_reduce(self, moves: Array) -> tuple[Array, Array]:
        """Return the outputs of ``read``, and the images averaged down to 16²: [M, S, pixels]."""
        outputs, small = [], []
        for images in self._images(moves):
            outputs.append(self._reader.read(images))
            small.append(_reduced(images))
        return self._by_move(moves, outputs), self._by_move(moves, small)

    def _by_move(self, moves: Array, parts: list[Array]) -> Array:
        rows = np.concatenate(parts)
        return rows.reshape(len(moves), len(self), rows.shape[1])

    def _images(self, moves: Array) -> Iterator[NDArray[np.float32]]:
        count = len(self)
        seeds = np.tile(np.arange(count), len(moves))
        which = np.repeat(np.arange(len(moves)), count)
        coords, w = self.space.of_coords(moves), self.space.of_w(moves)
        own = self._probe.w if self._probe.w.ndim == 3 else self._probe.w[:, None]
        for start in range(0, len(seeds), _BATCH):
            chosen, move = seeds[start : start + _BATCH], which[start : start + _BATCH]
            moved = (own[chosen] + w[move]).astype(np.float32)
            at = (self._probe.coords[chosen] + coords[move]).astype(np.float32)
            yield self._renderer.render_float(moved, at, None, self._probe.settings)
            self._on_images(len(chosen))


def _reduced(images: NDArray[np.float32]) -> Array:
    """Return images [N, 3, R, R] averaged down to 16², as rows."""
    count, channels, size, _ = images.shape
    factor = max(1, size // _REDUCED)
    side = size // factor
    blocks = images.reshape(count, channels, side, factor, side, factor)
    return np.asarray(blocks.mean(axis=(3, 5)).reshape(count, -1), np.float64)
