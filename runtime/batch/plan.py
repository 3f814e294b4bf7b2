"""What a batch is asked for, and which file of which folder each of its images belongs to."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
from numpy.typing import NDArray

from segan.runtime.batch.record import GenerationRecord, describe_seeds
from segan.runtime.batch.writers import (
    BATCH_FORMATS,
    FOLDER_SIZE,
    ShardFormat,
    default_shard_size,
    image_path,
    shard_path,
)
from segan.runtime.bundle.attributes import resolve_names
from segan.runtime.bundle.classes import class_number
from segan.runtime.bundle.layout import Slider
from segan.runtime.bundle.manifest import encode_manifest
from segan.runtime.errors import ConfigError
from segan.runtime.latents.options import psi_by_layer, seed_by_layer
from segan.runtime.latents.seeds import SeedList, check_seed
from segan.runtime.pictures.encode import IMAGE_FORMATS, ImageEncoding, ImageFormat

if TYPE_CHECKING:
    from segan.runtime.generate.generator import Generator
    from segan.runtime.latents.files import Latents

BatchFormat = Literal["png", "webp", "jpeg", "npz", "zip", "tar"]


@dataclass(frozen=True, kw_only=True)
class BatchRequest:
    """What to generate, and how to store it.

    Attributes:
        seeds: each at most once; may be lazy, such as a range.
        psi: truncation strength, 0 to 1.
        cutoff: last resolution or site that psi acts on; None for all.
        coords: ``sampled`` from each seed, or ``zero``.
        sliders: what to add to coordinates.
        noise: ``const``, ``random`` or ``none``.
        class_index: class of a conditional generator, by name or number from 0.
        latents: given ones; seeds are then positions in them.
        psi_layers: truncation strength of single layers, by ``0-1,3`` or a number.
        mix: seeds that single layers take their styles from, by ``0-1,3`` or a number.
        format: ``png``, ``webp``, ``jpeg``: a file an image; ``npz``, ``zip``, ``tar``: shards.
        quality: of webp and jpeg, 1 to 100.
        compress_level: of png, 0 to 9.
        shard_size: images in a shard; None is 10,000, and for npz at most 1 GiB of pixels.

    Raises:
        ConfigError: an unknown format, or a number out of its range.
    """

    seeds: Sequence[int]
    psi: float = 1.0
    cutoff: int | str | None = None
    coords: Literal["sampled", "zero"] = "sampled"
    sliders: Mapping[Slider | str, float] = field(default_factory=dict)
    noise: Literal["const", "random", "none"] = "const"
    class_index: int | str | None = None
    latents: Latents | None = None
    psi_layers: Mapping[str | int, float] = field(default_factory=dict)
    mix: Mapping[str | int, int] = field(default_factory=dict)
    format: BatchFormat = "png"
    quality: int = 95
    compress_level: int = 1
    shard_size: int | None = None

    def __post_init__(self) -> None:
        if self.format not in BATCH_FORMATS:
            raise ConfigError(
                f"format is {self.format!r}; expected one of {', '.join(BATCH_FORMATS)}."
            )
        if self.shard_size is not None and self.shard_size < 1:
            raise ConfigError(f"shard_size is {self.shard_size}; expected 1 or more.")
        if self.shard_size is not None and not self.sharded:
            raise ConfigError(
                f"shard_size does not apply to {self.format}; it is for npz, zip, tar."
            )
        _ = self.encoding

    @property
    def sharded(self) -> bool:
        """Whether images are stored in shards."""
        return self.format not in IMAGE_FORMATS

    @property
    def encoding(self) -> ImageEncoding:
        """How one image is encoded; zip and tar hold PNG."""
        image_format = "png" if self.sharded else cast(ImageFormat, self.format)
        return ImageEncoding(
            format=image_format, quality=self.quality, compress_level=self.compress_level
        )


@dataclass(frozen=True)
class Part:
    """Images that are written together: one shard, or all image files."""

    seeds: Sequence[int]
    shard: int | None


class BatchPlan:
    """The request against one folder: what belongs where, and what is there already."""

    def __init__(
        self, generator: Generator, request: BatchRequest, folder: Path, batch_size: int
    ) -> None:
        check_unique(request.seeds)
        request.encoding.check_channels(generator.image_shape[2])
        self.request = request
        self.folder = folder
        self.batch_size = batch_size
        self.encoding = request.encoding
        self.image_shape = generator.image_shape
        self._generator = generator
        self._subfolders = not request.sharded and len(request.seeds) > FOLDER_SIZE
        self._shard_size = 0
        if request.sharded:
            self._shard_size = request.shard_size or default_shard_size(
                cast(ShardFormat, request.format), self.image_shape
            )

    def record(self) -> GenerationRecord:
        """The request as ``generation.json`` states it."""
        request = self.request
        manifest = self._generator.manifest
        has_png = request.format in ("png", "zip", "tar")
        has_quality = request.format in ("webp", "jpeg")
        return GenerationRecord(
            bundle=manifest.name,
            bundle_sha256=hashlib.sha256(encode_manifest(manifest)).hexdigest(),
            backend=self._generator.backend,
            precision=self._generator.precision,
            seeds=describe_seeds(request.seeds),
            psi=float(request.psi),
            cutoff=request.cutoff,
            coords=request.coords,
            sliders={
                str(slider): float(value)
                for slider, value in resolve_names(self._generator.bundle, request.sliders).items()
            },
            noise=request.noise,
            class_index=class_number(request.class_index, manifest.class_names, manifest.c_dim),
            latents=None if request.latents is None else request.latents.sha256(),
            files=request.format,
            quality=request.quality if has_quality else None,
            compress_level=request.compress_level if has_png else None,
            encoder=None if request.format == "npz" else request.encoding.encoder,
            layout="subfolders" if self._subfolders else "flat",
            shard_size=self._shard_size or None,
            psi_layers={
                str(layer): psi for layer, psi in psi_by_layer(manifest, request.psi_layers).items()
            },
            mix={str(layer): seed for layer, seed in seed_by_layer(manifest, request.mix).items()},
        )

    def parts(self) -> Iterator[Part]:
        """Everything that is asked for, in order."""
        seeds = self.request.seeds
        if not self.request.sharded:
            yield Part(seeds, None)
            return
        for number, first in enumerate(range(0, len(seeds), self._shard_size)):
            yield Part(seeds[first : first + self._shard_size], number)

    def path(self, seed: int) -> Path:
        """The image file of ``seed``."""
        return image_path(self.folder, seed, self.encoding.extension, subfolders=self._subfolders)

    def shard_path(self, number: int) -> Path:
        """The file of shard ``number``."""
        return shard_path(self.folder, number, cast(ShardFormat, self.request.format))

    def is_present(self, path: Path) -> bool:
        """Whether an earlier run finished this file.

        Image files are not waited for one by one until they are on the disk; after a power cut
        one may be empty, and is made again.
        """
        try:
            found = path.stat()
        except OSError:
            return False
        return stat.S_ISREG(found.st_mode) and found.st_size > 0

    def count_present(self) -> int:
        """How many images an earlier run finished."""
        if self.request.sharded:
            parts = ((part.shard or 0, len(part.seeds)) for part in self.parts())
            return sum(n for shard, n in parts if self.is_present(self.shard_path(shard)))
        return sum(self.is_present(self.path(seed)) for seed in self.request.seeds)

    def compute(self, chunks: Iterable[Sequence[int]]) -> Iterator[NDArray[np.uint8]]:
        """The images of each chunk of seeds, uint8 [n, H, W, C], in order."""
        request = self.request
        return self._generator.generate_chunks(
            chunks,
            psi=request.psi,
            cutoff=request.cutoff,
            coords=request.coords,
            sliders=request.sliders,
            noise=request.noise,
            class_index=request.class_index,
            latents=request.latents,
            psi_layers=request.psi_layers,
            mix=request.mix,
        )


def check_unique(seeds: Sequence[int]) -> None:
    """Raises ConfigError for a seed out of range or given twice; ranges take no memory."""
    twice: int | None = None
    if isinstance(seeds, SeedList):
        twice = seeds.first_repeated()
    elif not isinstance(seeds, range):
        values, counts = np.unique([check_seed(seed) for seed in seeds], return_counts=True)
        if counts.max(initial=0) > 1:
            twice = int(values[counts > 1][0])
    if twice is not None:
        raise ConfigError(f"seed {twice} is given twice; expected each seed once.")
    if isinstance(seeds, range) and len(seeds):
        check_seed(seeds[0])
        check_seed(seeds[-1])
