"""Images of the same seeds again and again, with sliders set to values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Self, TypeVar, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segan.runtime.bundle.layout import Slider
from segan.runtime.bundle.sliders import find_slider
from segan.runtime.generate.renderer import Array, Images, Renderer
from segan.runtime.latents.options import Options, Settings, one_hot_rows
from segan.runtime.latents.seeds import check_seeds

#: Most bytes of noise that a probe keeps.
_KEPT_NOISE_BYTES = 1 << 26

_Batch = TypeVar("_Batch", Images, Array)

#: Value of each slider: one for all images, or one for each.
SliderValues = Mapping[Slider, ArrayLike]


class Probe:
    """Seeds whose w and coordinates are computed once, to be rendered with sliders set to values.

    A slider's value replaces the seed's own coordinate. Sliders that ``settings`` adds to stay
    added to the coordinates that are not replaced. Noise and class are those of each seed.

    Args:
        renderer: what computes.
        seeds: integers from 0 to 4294967295, or positions in the settings' latents.
        settings: psi, noise, added sliders and batch size, among others.
        classes: the class of each seed, by name or number; None takes that of the settings.
        on_images: called with the number of images of each batch, once it is computed.

    Attributes:
        settings: psi, noise, added sliders and batch size, among others.
        seeds: S integers.
        classes: the class of each seed; None for that of the settings.
        w: [S, w_dim] or [S, num_sites, w_dim] float32.
        coords: [S, num_subspaces, coords_dim] float32, with no slider set.

    Raises:
        ConfigError: a seed, position or class is out of its range.
        BackendError: the backend failed.
    """

    def __init__(
        self,
        renderer: Renderer,
        seeds: int | Iterable[int],
        settings: Settings,
        *,
        classes: Sequence[int | str] | None = None,
        on_images: Callable[[int], None] = lambda images: None,
    ) -> None:
        self._renderer, self.settings, self._on_images = renderer, settings, on_images
        self.seeds, self.classes = check_seeds(seeds), classes
        labels = None if classes is None else one_hot_rows(renderer.manifest, classes)
        self.w = renderer.map_seeds(self.seeds, settings, labels)
        self.coords = settings.coords_of(self.seeds)
        self._noise: dict[tuple[int, ...], Array | None] = {}

    @classmethod
    def in_turn(
        cls,
        renderer: Renderer,
        seeds: int | Iterable[int],
        *,
        on_images: Callable[[int], None] = lambda images: None,
        **options: Unpack[Options],
    ) -> Self:
        """A probe whose seeds take the classes in turn: 0, 1, … and from 0 again.

        With ``class_index`` among the options, or without classes, it is an ordinary probe.
        """
        checked, count = check_seeds(seeds), renderer.manifest.c_dim
        classes = None
        if count and options.get("class_index") is None:
            classes = [number % count for number in range(len(checked))]
            options["class_index"] = 0
        settings = renderer.settings(**options)
        return cls(renderer, checked, settings, classes=classes, on_images=on_images)

    def images(
        self,
        sliders: SliderValues | None = None,
        rows: Sequence[int] | None = None,
        added: SliderValues | None = None,
    ) -> Images:
        """The images of ``batches`` in one array, [N, H, W, C] uint8."""
        count = len(self.seeds) if rows is None else len(rows)
        images = np.empty((count, *self._renderer.image_shape), np.uint8)
        start = 0
        for batch in self.batches(sliders, rows, added):
            images[start : start + len(batch)] = batch
            start += len(batch)
        return images

    def batches(
        self,
        sliders: SliderValues | None = None,
        rows: Sequence[int] | None = None,
        added: SliderValues | None = None,
    ) -> Iterator[Images]:
        """Render the seeds, batch by batch, with some sliders set.

        Args:
            sliders: the value of each slider that is set: one number, or one for each image.
            rows: the positions in ``seeds`` to render, one image each; None renders each seed once.
            added: values that are added to sliders, after those of ``sliders`` are set.

        Returns:
            An iterator over [n, H, W, C] uint8.

        Raises:
            ConfigError: there is no such slider.
            BackendError: the backend failed.
        """
        return self._batches(self._renderer.render_with, sliders, rows, added)

    def float_batches(
        self,
        sliders: SliderValues | None = None,
        rows: Sequence[int] | None = None,
        added: SliderValues | None = None,
    ) -> Iterator[Array]:
        """As ``batches``, not rounded to 8 bits: [n, C, H, W] float32, nominally in [-1, 1]."""
        return self._batches(self._renderer.render_float, sliders, rows, added)

    def _batches(
        self,
        render: Callable[[ArrayLike, Array, Array | None, Settings], _Batch],
        sliders: SliderValues | None,
        rows: Sequence[int] | None,
        added: SliderValues | None,
    ) -> Iterator[_Batch]:
        where = np.arange(len(self.seeds)) if rows is None else np.asarray(rows, np.intp)
        columns: list[tuple[bool, int, int, NDArray[np.float32]]] = []
        for adds, given in ((False, sliders), (True, added)):
            for slider, value in (given or {}).items():
                place = slider.layer, slider.dim, slider.index
                row, _ = find_slider(self._renderer.manifest, *place)
                values = np.broadcast_to(np.asarray(value, np.float32), where.shape)
                columns.append((adds, row, slider.dim, values))
        for start in range(0, len(where), self.settings.options.batch_size):
            part = slice(start, start + self.settings.options.batch_size)
            chosen = where[part]
            coords = self.coords[chosen]
            for adds, row, dim, values in columns:
                coords[:, row, dim] = values[part] + (coords[:, row, dim] if adds else 0)
            batch = render(self.w[chosen], coords, self._noise_of(chosen), self.settings)
            self._on_images(len(batch))
            yield batch

    def _noise_of(self, rows: NDArray[np.intp]) -> Array | None:
        """The noise of a batch, kept for the next values of sliders where it is small enough."""
        # The noise of a single seed is drawn once for the whole batch.
        at = (0,) if len(self.seeds) == 1 else tuple(rows.tolist())
        if at in self._noise:
            return self._noise[at]
        noise = self._renderer.noise_of([self.seeds[row] for row in at], self.settings)
        kept = sum(0 if each is None else each.nbytes for each in self._noise.values())
        if noise is None or kept + noise.nbytes <= _KEPT_NOISE_BYTES:
            self._noise[at] = noise
        return noise
