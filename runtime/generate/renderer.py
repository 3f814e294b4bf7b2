"""Images from latents: the three graphs, one by one or in turn, and layers of mixed styles."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Self, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segan.runtime.backends.graphs import BundleGraphs
from segan.runtime.bundle.layout import Subspace
from segan.runtime.bundle.manifest import Manifest
from segan.runtime.bundle.sliders import find_slider
from segan.runtime.latents.draws import sample_z
from segan.runtime.latents.inputs import GraphInputs
from segan.runtime.latents.options import (
    GenerationOptions,
    Options,
    Settings,
    resolve_options,
    show_options,
)
from segan.runtime.latents.seeds import check_seeds, in_chunks

if TYPE_CHECKING:
    from segan.runtime.latents.files import MapZ

Array = NDArray[np.float32]

Images = NDArray[np.uint8]

#: Latents of a file that are mapped at once: their labels take memory for each class.
_MAPPED = 256


class Renderer:
    """Images of seeds and latents from three loaded graphs. Usable as a context manager.

    Args:
        graphs: mapping, offsets and synthesis, and the manifest that describes them.
    """

    def __init__(self, graphs: BundleGraphs) -> None:
        self._graphs = graphs

    @property
    def manifest(self) -> Manifest:
        """The sizes and tables of the generator."""
        return self._graphs.manifest

    @property
    def backend(self) -> str:
        """The backend that computes, for example ``cpu``."""
        return self._graphs.choice.backend

    @property
    def precision(self) -> str:
        """What synthesis is computed in, for example ``fp32``."""
        return self._graphs.choice.precision

    @property
    def passed_over(self) -> dict[str, str]:
        """Better backends that do not compute, each with the reason."""
        return self._graphs.choice.passed_over

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an image."""
        resolution = self.manifest.resolution
        return resolution, resolution, self.manifest.img_channels

    def close(self) -> None:
        """Free the backend's memory. No image can be generated afterwards."""
        self._graphs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def slider(self, layer: int, dim: int, index: int = 0) -> tuple[int, Subspace]:
        """The row of ``coords`` and the subspace of a slider.

        Raises:
            ConfigError: there is no such layer, index or dim.
        """
        return find_slider(self.manifest, layer, dim, index)

    # The three graphs.

    def map(self, z: ArrayLike, labels: ArrayLike | None = None) -> Array:
        """Mapping network.

        Args:
            z: [N, z_dim].
            labels: [N, c_dim] one-hot for a conditional bundle, else None.

        Returns:
            w, [N, w_dim] float32.

        Raises:
            ConfigError: a wrong shape, or labels missing or not expected.
            BackendError: the backend failed.
        """
        return self._graphs.run("mapping", {"z": z, "c": labels})["w"]

    def style(
        self, w: ArrayLike, psi: ArrayLike = 1.0, coords: ArrayLike | None = None
    ) -> tuple[Array, Array | None]:
        """Truncation and subspaces.

        Args:
            w: [N, w_dim], or [N, num_sites, w_dim] with a vector for each site.
            psi: one number, [num_sites] or [N, num_sites].
            coords: [N, num_subspaces, coords_dim], or None for zeros.

        Returns:
            ws, [N, num_sites, w_dim] float32, and in mode 1 shifts,
            [N, num_subspaces, coords_dim] float32, else None.

        Raises:
            ConfigError: a wrong shape.
            BackendError: the backend failed.
        """
        return self._graphs.style(w, psi, coords)

    def synthesize(
        self, ws: ArrayLike, shifts: ArrayLike | None = None, noise: ArrayLike | None = None
    ) -> Array:
        """Synthesis network.

        Args:
            ws: [N, num_sites, w_dim].
            shifts: [N, num_subspaces, coords_dim] in mode 1, else None.
            noise: [1, size] or [N, size]; None takes the bundle's constant noise, where it has one.

        Returns:
            [N, C, H, W] float32, nominally in [-1, 1].

        Raises:
            ConfigError: a wrong shape, or shifts missing or not expected.
            BackendError: the backend failed.
        """
        return self._graphs.synthesize(ws, shifts, noise)

    # Seeds and latents to images.

    def resolve(self, options: GenerationOptions) -> Settings:
        """Check options against the manifest. Raises: ConfigError, naming the option."""
        return resolve_options(self.manifest, options)

    @show_options
    def settings(self, **options: Unpack[Options]) -> Settings:
        """``resolve`` with the options as keyword arguments."""
        return self.resolve(GenerationOptions(**options))

    def map_seeds(
        self, seeds: Sequence[int], settings: Settings, labels: Array | None = None
    ) -> Array:
        """The w of seeds, or of positions in the settings' latents.

        Args:
            seeds: integers from 0 to 4294967295.
            settings: latents, class and mixed layers are used.
            labels: [N, c_dim] one-hot, the class of each seed; None takes that of the settings.

        Returns:
            [N, w_dim] float32, or [N, num_sites, w_dim] for latents and mixed layers.
        """
        if settings.latents is not None:
            return self.mix_layers(settings.latents.w[settings.latents.rows(seeds)], settings)
        labels = settings.labels_of(len(seeds)) if labels is None else labels
        return self.mix_layers(self.map(sample_z(seeds, self.manifest.z_dim), labels), settings)

    def z_mapper(self, class_index: int | str | None = None) -> MapZ:
        """A function that maps z [N, z_dim] to w [N, w_dim], for ``read_latents``.

        Args:
            class_index: class of a conditional generator, by name or number from 0.

        Returns:
            The function. It raises ConfigError where the generator needs a class.
        """

        def map_z(z: Array) -> Array:
            settings = self.settings(class_index=class_index)
            w = np.empty((len(z), self.manifest.w_dim), np.float32)
            for first in range(0, len(z), _MAPPED):
                part = z[first : first + _MAPPED]
                w[first : first + len(part)] = self.map(part, settings.labels_of(len(part)))
            return w

        return map_z

    def mix_layers(self, w: Array, settings: Settings) -> Array:
        """Replace the styles of the layers in ``settings.mixed`` by those of their seeds.

        Args:
            w: [N, w_dim] or [N, num_sites, w_dim].
            settings: without mixed layers, w is returned unchanged.

        Returns:
            [N, num_sites, w_dim] float32 where layers are mixed.
        """
        if not settings.mixed:
            return w
        manifest = self.manifest
        styles = np.array(np.broadcast_to(by_site(w), (len(w), manifest.num_sites, manifest.w_dim)))
        seeds = sorted(set(settings.mixed.values()))
        style_of = dict(zip(seeds, self.map_seeds(seeds, settings.unmixed()), strict=True))
        for number, site in enumerate(manifest.sites):
            if site.layer in settings.mixed:
                styles[:, number] = style_of[settings.mixed[site.layer]]
        return styles

    def noise_of(self, seeds: Sequence[int], settings: Settings) -> Array | None:
        """The noise of seeds, as ``render_with`` takes it; see ``Settings.noise_of``.

        Args:
            seeds: one for each image, or one for all images.
            settings: noise is used.
        """
        return settings.noise_of(seeds, self._graphs.noise)

    def render(
        self, w: ArrayLike, coords: Array, noise_seeds: Sequence[int], settings: Settings
    ) -> Images:
        """Images of latents.

        Args:
            w: [N, w_dim] or [N, num_sites, w_dim].
            coords: [N, num_subspaces, coords_dim], the input of the offsets graph.
            noise_seeds: N seeds, or one for all images, that random noise is drawn from.
            settings: psi and noise are used.

        Returns:
            [N, H, W, C] uint8.
        """
        return self.render_with(w, coords, self.noise_of(noise_seeds, settings), settings)

    def render_with(
        self, w: ArrayLike, coords: Array, noise: Array | None, settings: Settings
    ) -> Images:
        """As ``render``, with noise that is drawn already.

        Args:
            w: as in ``render``.
            coords: as in ``render``.
            noise: [1 or N, size], from ``noise_of``; None for the constant noise, or for none.
            settings: psi is used.
        """
        return self._graphs.images(GraphInputs(w=w, psi=settings.psi, coords=coords, noise=noise))

    def render_float(
        self, w: ArrayLike, coords: Array, noise: Array | None, settings: Settings
    ) -> Array:
        """As ``render_with``, before the images are rounded to 8 bits.

        Returns:
            [N, C, H, W] float32, nominally in [-1, 1].
        """
        ws, shifts = self.style(w, settings.psi, coords)
        return self.synthesize(ws, shifts, noise)

    def images(self, seeds: int | Iterable[int], settings: Settings) -> Images:
        """The images of seeds, [N, H, W, C] uint8; see ``Generator.generate``."""
        wanted = seeds if isinstance(seeds, Sequence) else check_seeds(seeds)
        images = np.empty((len(wanted), *self.image_shape), np.uint8)
        start = 0
        chunks = in_chunks(wanted, settings.options.batch_size)
        for chunk, part in self.batches(chunks, settings):
            images[start : start + len(chunk)] = part
            start += len(chunk)
        return images

    def batches(
        self, chunks: Iterable[list[int]], settings: Settings
    ) -> Iterator[tuple[list[int], Images]]:
        """The seeds and images of each chunk; the backend may take a chunk ahead of its turn."""
        begun: collections.deque[list[int]] = collections.deque()

        def inputs() -> Iterator[GraphInputs]:
            for chunk in chunks:
                begun.append(chunk)
                drawn = settings.inputs_of(chunk, self._graphs.noise)
                if settings.mixed:
                    w = self.map_seeds(chunk, settings)
                    drawn = replace(drawn, z=None, labels=None, w=w)
                yield drawn

        for images in self._graphs.stream(inputs()):
            yield begun.popleft(), images


def by_site(w: Array) -> Array:
    """[N, w_dim] → [N, 1, w_dim]; one vector for each site stays as it is."""
    return w[:, None] if w.ndim == 2 else w
