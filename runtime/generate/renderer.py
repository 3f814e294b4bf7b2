"""A bundle whose three graphs are loaded, and can be run one by one."""

from __future__ import annotations

from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segan.runtime.backends.graphs import BundleGraphs
from segan.runtime.bundle.layout import Subspace
from segan.runtime.bundle.manifest import Manifest
from segan.runtime.bundle.reader import Bundle
from segan.runtime.bundle.sliders import find_slider
from segan.runtime.latents.options import Settings

if TYPE_CHECKING:
    from segan.runtime.generate.generator import Generator

Array = NDArray[np.float32]


class LoadedBundle:
    """Mapping, offsets and synthesis of a bundle. Usable as a context manager.

    Attributes:
        bundle: the open bundle.
    """

    def __init__(self, bundle: Bundle, graphs: BundleGraphs) -> None:
        self.bundle = bundle
        self._graphs = graphs

    @property
    def manifest(self) -> Manifest:
        """What the bundle holds."""
        return self.bundle.manifest

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
        """Gives the backend's memory back; nothing can be generated from then on."""
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
        """The row of ``coords`` and the subspace that hold a slider.

        Raises:
            ConfigError: there is no such layer, index or dim; the message names the range.
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


def mix_in(generator: Generator, settings: Settings, w: NDArray[np.float32]) -> NDArray[np.float32]:
    """The styles with the layers of ``settings.mixed`` replaced by those of their seeds.

    Args:
        generator: maps the seeds.
        settings: without mixed layers, w is returned as it is.
        w: [N, w_dim] or [N, num_sites, w_dim].

    Returns:
        [N, num_sites, w_dim] float32 where layers are mixed.
    """
    if not settings.mixed:
        return w
    manifest = generator.manifest
    shape = (len(w), manifest.num_sites, manifest.w_dim)
    styles = np.array(np.broadcast_to(by_site(w), shape))
    own = replace(settings, latents=None, mixed={})
    seeds = sorted(set(settings.mixed.values()))
    taken = dict(zip(seeds, generator.map_seeds(seeds, own), strict=True))
    for number, site in enumerate(manifest.sites):
        if site.layer in settings.mixed:
            styles[:, number] = taken[settings.mixed[site.layer]]
    return styles


def by_site(w: NDArray[np.float32]) -> NDArray[np.float32]:
    """[n, w_dim] → [n, 1, w_dim]; one vector for each site stays as it is."""
    return w[:, None] if w.ndim == 2 else w
