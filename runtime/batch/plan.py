"""Requests for batches of images, and the file that each image of a request belongs to."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

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
from segan.runtime.bundle.manifest import encode_manifest
from segan.runtime.errors import ConfigError
from segan.runtime.generate.generator import Generator
from segan.runtime.latents.options import GenerationOptions, check_count, options_to_json
from segan.runtime.latents.seeds import SeedList, check_seed, check_seeds
from segan.runtime.pictures.encode import IMAGE_FORMATS, ImageEncoding, ImageFormat

BatchFormat = Literal["png", "webp", "jpeg", "npz", "zip", "tar"]


@dataclass(frozen=True, kw_only=True)
class BatchRequest:
    """What to generate, and how to store it.

    Attributes:
        seeds: each at most once; may be lazy, such as a range.
        options: how the images are made.
        format: ``png``, ``webp``, ``jpeg``: a file for each image; ``npz``, ``zip``, ``tar``:
            shards.
        quality: of webp and jpeg, 1 to 100.
        compress_level: of png, 0 to 9.
        shard_size: images in a shard; None is 10,000, and for npz at most 1 GiB of pixels.

    Raises:
        ConfigError: an unknown format, or a number out of its range.
    """

    seeds: Sequence[int]
    options: GenerationOptions = field(default_factory=GenerationOptions)
    format: BatchFormat = "png"
    quality: int = 95
    compress_level: int = 1
    shard_size: int | None = None

    def __post_init__(self) -> None:
        if self.format not in BATCH_FORMATS:
            raise ConfigError(
                field="format", value=self.format, expected=f"one of {', '.join(BATCH_FORMATS)}"
            )
        if self.shard_size is not None:
            check_count("shard_size", self.shard_size)
            if not self.sharded:
                raise ConfigError(
                    f"`shard_size` does not apply to the format {self.format}",
                    field="shard_size",
                    value=self.shard_size,
                    expected="npz, zip or tar",
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
    """Images that are written together: one shard, or all image files (``shard`` None)."""

    seeds: Sequence[int]
    shard: int | None


class BatchPlan:
    """A request and its folder: which file each image belongs to, and which files exist.

    Raises:
        ConfigError: an option does not fit the bundle, or a seed is given twice.
    """

    def __init__(self, generator: Generator, request: BatchRequest, folder: Path) -> None:
        check_unique(request.seeds)
        request.encoding.check_channels(generator.image_shape[2])
        self.request = request
        self.folder = folder
        self.batch_size = request.options.batch_size
        self.encoding = request.encoding
        self.image_shape = generator.image_shape
        self._generator = generator
        self._settings = generator.resolve(request.options)
        self._subfolders = not request.sharded and len(request.seeds) > FOLDER_SIZE
        self._shard_size = 0
        if request.sharded:
            self._shard_size = request.shard_size or default_shard_size(
                cast(ShardFormat, request.format), self.image_shape
            )

    def record(self) -> GenerationRecord:
        """The request as ``generation.json`` states it."""
        request, generator = self.request, self._generator
        has_png = request.format in ("png", "zip", "tar")
        has_quality = request.format in ("webp", "jpeg")
        return GenerationRecord(
            bundle=generator.manifest.name,
            bundle_sha256=hashlib.sha256(encode_manifest(generator.manifest)).hexdigest(),
            backend=generator.backend,
            precision=generator.precision,
            seeds=describe_seeds(request.seeds),
            options=options_to_json(generator.manifest, self._settings.options),
            files=request.format,
            quality=request.quality if has_quality else None,
            compress_level=request.compress_level if has_png else None,
            encoder=None if request.format == "npz" else request.encoding.encoder,
            layout="subfolders" if self._subfolders else "flat",
            shard_size=self._shard_size or None,
        )

    def default_options(self) -> dict[str, Any]:
        """What ``record`` states for options that are left at their defaults."""
        return options_to_json(self._generator.manifest, GenerationOptions())

    def parts(self) -> Iterator[Part]:
        """All parts of the request, in order."""
        seeds = self.request.seeds
        if not self.request.sharded:
            yield Part(seeds, None)
            return
        for number, first in enumerate(range(0, len(seeds), self._shard_size)):
            yield Part(seeds[first : first + self._shard_size], number)

    def path(self, seed: int) -> Path:
        """The image file of a seed."""
        return image_path(self.folder, seed, self.encoding.extension, subfolders=self._subfolders)

    def shard_path(self, number: int) -> Path:
        """The file of shard ``number``."""
        return shard_path(self.folder, number, cast(ShardFormat, self.request.format))

    def is_present(self, path: Path) -> bool:
        """Whether an earlier run finished this file.

        Image files are not synced to the disk one by one. After a power cut one may be empty; it
        is then made again.
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
        batches = self._generator.batches(map(check_seeds, chunks), self._settings)
        return (images for _, images in batches)


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
        raise ConfigError(
            f"seed {twice} is given twice", field="seeds", value=twice, expected="each seed once"
        )
    if isinstance(seeds, range) and len(seeds):
        check_seed(seeds[0])
        check_seed(seeds[-1])
