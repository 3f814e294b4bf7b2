"""Images of seeds, made by a checkpoint's generator or by a bundle on any backend.

Both begin with the same ``GraphInputs``, drawn from the seeds as the runtime draws them. So a seed
has the same z, coordinates, noise and class in both, and their images differ by computation alone.
"""

from __future__ import annotations

import abc
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from segan.runtime.bundle.layout import Site, Subspace, noise_sizes
from segan.runtime.errors import ConfigError
from segan.runtime.latents.draws import psi_row, sample_coords, sample_noise, sample_z
from segan.runtime.latents.inputs import GraphInputs

Array = NDArray[np.float32]

Images = NDArray[np.uint8]

NoiseMode = Literal["const", "random", "none"]

#: Streams of a seed beside those of the runtime (1 coordinates, 2 noise).
_CLASS_STREAM, _POSITION_STREAM = 3, 4

#: Pixels that are made at once, where the number of images is not given.
_BATCH_PIXELS = 1 << 20


def uniform_of_seeds(seeds: Sequence[int], stream: int = _POSITION_STREAM) -> NDArray[np.float64]:
    """One number of each seed, uniform on [0, 1), from a stream of its own: [N]."""
    return np.array(
        [
            np.random.RandomState(
                np.random.MT19937(np.random.SeedSequence((seed, stream)))
            ).random_sample()
            for seed in seeds
        ]
    )


@dataclass(frozen=True, kw_only=True)
class GeneratorFacts:
    """The shapes of a generator's inputs and images.

    Attributes:
        resolution: height and width of an image.
        img_channels: 1 or 3; others are refused.
        z_dim: width of z.
        c_dim: classes; 0 = unconditional.
        sites: in synthesis order.
        subspaces: rows of coordinates.
        coords_dim: their width.
        noise: ``absent``: the generator has no noise; ``unused``: it was trained without, so that
            noise changes nothing; ``used``.
    """

    resolution: int
    img_channels: int
    z_dim: int
    c_dim: int
    sites: tuple[Site, ...]
    subspaces: tuple[Subspace, ...]
    coords_dim: int
    noise: Literal["absent", "unused", "used"]


@dataclass(frozen=True, kw_only=True)
class MakerSettings:
    """How images of seeds are asked for.

    Attributes:
        psi: truncation strength, 0 to 1; 1 = off, as published scores have it.
        noise: ``random``, drawn from each seed, as StyleGAN2-ADA measures; ``const`` or ``none``.
            None: ``random`` where it changes anything, else ``none``.
        batch_size: images made at once; None: as many as have 2**20 pixels, 64 at most.
    """

    psi: float = 1.0
    noise: NoiseMode | None = None
    batch_size: int | None = None


class ImageMaker(abc.ABC):
    """Makes images of seeds.

    Args:
        facts: of the generator.
        model: for the record.
        settings: how.

    Attributes:
        backend: ``torch``, or the runtime's backend.
        precision: of the computation.
        noise: the mode that is used.
        batch_size: images made at once.
        class_shares: how often each class is drawn, [c_dim]; at first all equally often.

    Raises:
        ConfigError: psi or noise cannot be, or images with alpha.
    """

    backend: str
    precision: str

    def __init__(self, facts: GeneratorFacts, model: ModelRecord, settings: MakerSettings) -> None:
        if facts.img_channels not in (1, 3):
            raise ConfigError(
                f"{model.path} makes images of {facts.img_channels} channels; metrics compare grey "
                "or RGB images, without alpha."
            )
        size = settings.batch_size
        if size is not None and size < 1:
            raise ConfigError(f"batch_size is {size}; expected 1 or more.")
        if settings.noise == "random" and facts.noise == "absent":
            raise ConfigError("noise is 'random', but this generator has none; expected none.")
        self.facts, self.model, self.settings = facts, model, settings
        self.batch_size = size or max(1, min(64, _BATCH_PIXELS // facts.resolution**2))
        self.noise: NoiseMode = settings.noise or ("random" if facts.noise == "used" else "none")
        self.class_shares: NDArray[np.float64] = np.ones(facts.c_dim)
        self._psi = psi_row(facts.sites, settings.psi, None)
        self._noise_size = sum(noise_sizes(facts.sites))

    # What a seed stands for.

    def classes_of(self, seeds: Sequence[int]) -> NDArray[np.int64] | None:
        """Each seed's class, [N]; None for an unconditional generator."""
        count = self.facts.c_dim
        if not count:
            return None
        ends = np.cumsum(self.class_shares) / self.class_shares.sum()
        found = np.searchsorted(ends, uniform_of_seeds(seeds, _CLASS_STREAM), side="right")
        return np.minimum(found, count - 1)

    def labels_of(self, seeds: Sequence[int]) -> Array | None:
        """The classes one-hot, [N, c_dim]; None for an unconditional generator."""
        classes = self.classes_of(seeds)
        return None if classes is None else np.eye(self.facts.c_dim, dtype=np.float32)[classes]

    def coords_of(self, seeds: Sequence[int]) -> Array | None:
        """ψ times each seed's coordinates, [N, num_subspaces, coords_dim]; None without any."""
        facts = self.facts
        if not facts.subspaces:
            return None
        sampled = sample_coords(seeds, facts.subspaces, facts.coords_dim)
        if self.settings.psi == 1:
            return sampled
        return sampled * np.float32(self.settings.psi)

    def noise_of(self, seeds: Sequence[int]) -> Array | None:
        """[N, size] drawn from each seed, [1, size] zeros, or None for the constant noise."""
        if self.facts.noise == "absent" or self.noise == "const":
            return None
        if self.noise == "random":
            return sample_noise(seeds, self._noise_size)
        # Where it changes nothing, the constant noise need not even be replaced.
        return None if self.facts.noise == "unused" else np.zeros((1, self._noise_size), np.float32)

    def inputs(self, seeds: Sequence[int]) -> GraphInputs:
        """All that the images of seeds are computed from."""
        return GraphInputs(
            z=sample_z(seeds, self.facts.z_dim),
            labels=self.labels_of(seeds),
            psi=self._psi,
            coords=self.coords_of(seeds),
            noise=self.noise_of(seeds),
        )

    def images(self, seeds: Sequence[int]) -> Iterator[Images]:
        """The images of seeds, ``batch_size`` at a time: [n, H, W, C] uint8.

        Raises:
            BackendError: a pixel is not a finite number, or the backend failed.
        """
        size = self.batch_size
        starts = range(0, len(seeds), size)
        return self.stream(self.inputs(seeds[start : start + size]) for start in starts)

    # What computes.

    @abc.abstractmethod
    def stream(self, batches: Iterable[GraphInputs]) -> Iterator[Images]:
        """The images of each batch, in order."""

    @abc.abstractmethod
    def map(self, z: Array, labels: Array | None) -> Array:
        """z [N, z_dim] → w [N, w_dim]."""

    @abc.abstractmethod
    def render(self, w: Array, coords: Array | None, noise: Array | None) -> Array:
        """w [N, w_dim] → images [N, C, H, W] float32, nominally in [-1, 1], with the maker's psi.

        Args:
            w: before truncation.
            coords: [N, num_subspaces, coords_dim], used as they are.
            noise: [N, size], [1, size], or None for the constant noise.
        """

    def close(self) -> None:
        """Gives the backend's memory back."""
        return None


class ModelRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured.

    Attributes:
        path: of the checkpoint's folder or the bundle.
        kind: ``checkpoint`` or ``bundle``.
        kimg: thousand real images that its training had shown; None where that is not known.
        sha256: of a checkpoint's exported weights, or of the hashes of the bundle's graphs that
            were run.
    """

    path: str
    kind: str
    kimg: float | None
    sha256: str
