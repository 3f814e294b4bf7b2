"""A generator whose images are measured: a checkpoint in PyTorch, or a bundle on a backend.

Both draw latents, coordinates, noise and class from a seed as the runtime does. The images of a
checkpoint and of its bundle therefore differ by computation alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from segan.runtime.backends.graphs import BundleGraphs
from segan.runtime.bundle.classes import one_hot
from segan.runtime.bundle.layout import Slider, Subspace
from segan.runtime.errors import ConfigError
from segan.runtime.generate.probe import Probe
from segan.runtime.generate.renderer import Images, Renderer
from segan.runtime.latents.draws import sample_z
from segan.runtime.latents.inputs import GraphInputs
from segan.runtime.latents.options import Noise

if TYPE_CHECKING:
    import torch

#: Renders seeds with a slider at a value: images [N, 3, R, R], nominally in [-1, 1].
Render = Callable[[Sequence[int], float], "torch.Tensor"]

#: Streams of a seed that the runtime does not use (it uses 1 for coordinates, 2 for noise).
_CLASS_STREAM, _POSITION_STREAM = 3, 4

#: Pixels of a batch whose number of images is not given.
_BATCH_PIXELS = 1 << 20


class ModelRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The identity of a measured model.

    Attributes:
        path: of the checkpoint's folder or the bundle.
        kind: ``checkpoint`` or ``bundle``.
        kimg: thousand real images shown in its training; None where unknown.
        sha256: of a checkpoint's exported weights, or of the hashes of the bundle's files that
            were run.
    """

    path: str
    kind: str
    kimg: float | None
    sha256: str


@dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """How the images of seeds are made.

    Attributes:
        psi: truncation strength, 0 to 1; 1 = off, as in published scores.
        noise: ``random``, drawn from each seed, as StyleGAN2-ADA measures; ``const`` or ``none``.
            None: ``random`` where noise changes the images, else ``none``.
        batch_size: images of a batch; None: as many as have 2**20 pixels, 64 at most.
    """

    psi: float = 1.0
    noise: Noise | None = None
    batch_size: int | None = None


class SliderRange(NamedTuple):
    """A slider and the ends of its range."""

    slider: Slider
    low: float
    high: float


class Codes(NamedTuple):
    """The latent codes of images, each [N, width] float64.

    Attributes:
        z: the input latent.
        w: the intermediate latent.
        coords: the coordinates that are drawn from the seeds; width 0 where none are drawn: in
            mode 0, and for directions that were added to a bundle.
    """

    z: NDArray[np.float64]
    w: NDArray[np.float64]
    coords: NDArray[np.float64]


class SliderModel(Protocol):
    """What the measures of control need: a ``MeasuredModel``, or the drawn faces themselves."""

    @property
    def resolution(self) -> int:
        """Height and width of the images."""
        ...

    @property
    def sliders(self) -> tuple[SliderRange, ...]:
        """All sliders in table order; empty for a model without sliders."""
        ...

    def render(self, seeds: Sequence[int]) -> torch.Tensor:
        """Return the images [N, 3, R, R] of seeds, nominally in [-1, 1]."""
        ...

    def slider(self, slider: Slider) -> Render:
        """Return a function that renders seeds with the slider set to a value."""
        ...

    def codes(self, seeds: Sequence[int]) -> Codes:
        """Return the latent codes of seeds."""
        ...


class MeasuredModel:
    """Images and latent codes of seeds, from three loaded graphs.

    Args:
        graphs: of a checkpoint or a bundle.
        record: identity of the model.
        options: how images are made.
        uses_noise: False for a generator that was trained without noise, whose images noise does
            not change.

    Attributes:
        renderer: runs the graphs.
        manifest: sizes and tables of the generator.
        record: identity of the model.
        psi: truncation strength.
        settings: how images are made, checked. The class of a seed replaces that of the settings.
        class_shares: how often each class is drawn, [c_dim]; equal shares by default.
        on_images: called with the number of images that ``render`` or a slider has just made.

    Raises:
        ConfigError: psi, noise or batch size is out of range, or images have an alpha channel.
    """

    def __init__(
        self,
        graphs: BundleGraphs,
        record: ModelRecord,
        options: ImageOptions | None = None,
        *,
        uses_noise: bool = True,
    ) -> None:
        options, manifest = options or ImageOptions(), graphs.manifest
        if manifest.img_channels not in (1, 3):
            raise ConfigError(
                f"{record.path} makes images of {manifest.img_channels} channels",
                field="img_channels",
                value=manifest.img_channels,
                expected="1 (grey) or 3 (RGB): metrics compare images without alpha",
            )
        self._graphs = graphs
        self.renderer, self.manifest, self.record = Renderer(graphs), manifest, record
        noisy = manifest.noise is not None and uses_noise
        size = max(1, min(64, _BATCH_PIXELS // manifest.resolution**2))
        self.psi = options.psi
        self.settings = self.renderer.settings(
            psi=options.psi,
            noise=options.noise or ("random" if noisy else "none"),
            batch_size=size if options.batch_size is None else options.batch_size,
            class_index=0 if manifest.c_dim else None,
        )
        self.class_shares: NDArray[np.float64] = np.ones(manifest.c_dim)
        self.on_images: Callable[[int], None] = lambda images: None
        self._probe: Probe | None = None

    @property
    def backend(self) -> str:
        """``torch``, or the name of the runtime's backend."""
        return self.renderer.backend

    @property
    def precision(self) -> str:
        """Precision of the synthesis network."""
        return self.renderer.precision

    @property
    def noise(self) -> Noise:
        """The noise mode."""
        return self.settings.options.noise

    @property
    def batch_size(self) -> int:
        """Images of a batch."""
        return self.settings.options.batch_size

    @property
    def resolution(self) -> int:
        """Height and width of the images."""
        return self.manifest.resolution

    def close(self) -> None:
        """Free the backend's memory."""
        self.renderer.close()

    # 8-bit images.

    def images(self, seeds: Sequence[int]) -> Iterator[Images]:
        """Render seeds in batches of [n, H, W, C] uint8.

        Raises:
            BackendError: a pixel is not a finite number, or the backend failed.
        """
        size = self.batch_size
        starts = range(0, len(seeds), size)
        return self._graphs.stream(self._inputs(seeds[start : start + size]) for start in starts)

    def classes_of(self, seeds: Sequence[int]) -> list[int] | None:
        """Return the class of each seed; None for an unconditional generator."""
        count = self.manifest.c_dim
        if not count:
            return None
        ends = np.cumsum(self.class_shares) / self.class_shares.sum()
        found = np.searchsorted(ends, uniform_of_seeds(seeds, _CLASS_STREAM), side="right")
        return [int(number) for number in np.minimum(found, count - 1)]

    def labels_of(self, seeds: Sequence[int]) -> NDArray[np.float32] | None:
        """Return the classes one-hot, [N, c_dim]; None for an unconditional generator."""
        classes = self.classes_of(seeds)
        return None if classes is None else one_hot(classes, self.manifest.c_dim)

    def _inputs(self, seeds: Sequence[int]) -> GraphInputs:
        drawn = self.settings.inputs_of(seeds, self._graphs.noise)
        return replace(drawn, labels=self.labels_of(seeds))

    # Images that are not rounded to 8 bits, with one slider set.

    @property
    def sliders(self) -> tuple[SliderRange, ...]:
        """All sliders in table order; empty in mode 0."""
        return tuple(
            SliderRange(Slider(entry.layer, entry.index, dim), entry.low, entry.high)
            for entry in self.manifest.subspaces
            for dim in range(entry.dims)
        )

    def require_rgb(self) -> None:
        """Raise ConfigError unless images are RGB, as the built-in faces are."""
        channels = self.manifest.img_channels
        if channels != 3:
            raise ConfigError(
                f"the generator makes images of {channels} channels",
                field="img_channels",
                value=channels,
                expected="3 (the built-in faces are RGB)",
            )

    def render(self, seeds: Sequence[int]) -> torch.Tensor:
        """Return the images [N, C, R, R] of seeds, nominally in [-1, 1]."""
        return self._render(seeds, {})

    def slider(self, slider: Slider) -> Render:
        """Return a function that renders seeds with a slider set to a value.

        The value replaces the seed's own coordinate.

        Raises:
            ConfigError: there is no such slider.
        """
        self.renderer.slider(slider.layer, slider.dim, slider.index)
        return lambda seeds, value: self._render(seeds, {slider: value})

    def codes(self, seeds: Sequence[int]) -> Codes:
        """Return the latent codes of seeds."""
        probe = self._probe_of(seeds)
        return Codes(
            sample_z(seeds, self.manifest.z_dim).astype(np.float64),
            probe.w.astype(np.float64),
            drawn_coords(self.manifest.subspaces, probe.coords),
        )

    def _render(self, seeds: Sequence[int], sliders: dict[Slider, float]) -> torch.Tensor:
        # Imported here: reports read ``ModelRecord`` without PyTorch.
        import torch

        batches = self._probe_of(seeds).float_batches(sliders)
        return torch.cat([torch.from_numpy(batch) for batch in batches])

    def _probe_of(self, seeds: Sequence[int]) -> Probe:
        """The seeds with their w and coordinates, computed once for all values of all sliders."""
        if self._probe is None or self._probe.seeds != list(seeds):
            self._probe = Probe(
                self.renderer,
                seeds,
                self.settings,
                classes=self.classes_of(seeds),
                on_images=lambda count: self.on_images(count),
            )
        return self._probe


def drawn_coords(table: Sequence[Subspace], coords: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the coordinates [N, D] of coords [N, num_subspaces, K] that are drawn from seeds."""
    columns = [
        coords[:, row, : entry.dims]
        for row, entry in enumerate(table)
        if entry.prior != "zero" and entry.dims
    ]
    empty = np.zeros((len(coords), 0), np.float32)
    return np.concatenate([empty, *columns], axis=1).astype(np.float64)


def uniform_of_seeds(seeds: Sequence[int], stream: int = _POSITION_STREAM) -> NDArray[np.float64]:
    """Return one number per seed, uniform on [0, 1), from a stream of its own: [N]."""
    return np.array(
        [
            np.random.RandomState(
                np.random.MT19937(np.random.SeedSequence((seed, stream)))
            ).random_sample()
            for seed in seeds
        ]
    )
