"""Where a batch's images go: one file an image, or shards (npz, zip, tar) of many.

Every name and every byte is a function of the request alone, so that an interrupted batch that is
started again ends with the files that an uninterrupted one writes.
"""

from __future__ import annotations

import contextlib
import io
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from segan.runtime.pictures.encode import IMAGE_FORMATS, ImageEncoding, encode_image

ShardFormat = Literal["npz", "zip", "tar"]
SHARD_FORMATS: tuple[ShardFormat, ...] = get_args(ShardFormat)
BATCH_FORMATS: tuple[str, ...] = (*IMAGE_FORMATS, *SHARD_FORMATS)

#: Images in one folder, or in one shard; requests with more get sub-folders, or more shards.
FOLDER_SIZE = 10_000

#: Most bytes of raw images in one npz shard, since whoever reads it holds them all in memory.
NPZ_SHARD_BYTES = 1 << 30

#: Puts one image into the open shard: ``add(seed, payload)``.
AddImage = Callable[[int, "bytes | NDArray[np.uint8]"], None]

#: zip's earliest date: a time of day in the file would make every run's bytes different.
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)


def image_name(seed: int, extension: str) -> str:
    """``seed000017.png``: six digits, more when the seed has more."""
    return f"seed{seed:06d}{extension}"


def image_path(folder: Path, seed: int, extension: str, *, subfolders: bool) -> Path:
    """Where the image of ``seed`` lies.

    ``folder/seed000017.png``; with ``subfolders`` (requests of more than FOLDER_SIZE seeds)
    ``folder/0001/seed012345.png``, the sub-folder being seed // 10,000 in at least four digits.
    """
    name = image_name(seed, extension)
    return folder / f"{seed // FOLDER_SIZE:04d}" / name if subfolders else folder / name


def shard_path(folder: Path, number: int, shard_format: ShardFormat) -> Path:
    """``folder/shard-000000.tar``."""
    return folder / f"shard-{number:06d}.{shard_format}"


def default_shard_size(shard_format: ShardFormat, image_shape: tuple[int, int, int]) -> int:
    """Images a shard: 10,000, and for npz no more than 1 GiB of pixels."""
    if shard_format != "npz":
        return FOLDER_SIZE
    height, width, channels = image_shape
    return max(1, min(FOLDER_SIZE, NPZ_SHARD_BYTES // (height * width * channels)))


@contextlib.contextmanager
def open_shard(
    file: BinaryIO, shard_format: ShardFormat, count: int, image_shape: tuple[int, int, int]
) -> Iterator[AddImage]:
    """Writes one shard to ``file`` image by image, without holding them.

    Args:
        file: open for writing bytes, seekable.
        shard_format: ``zip`` and ``tar`` take encoded PNG bytes and store them as
            ``seed000017.png``; ``npz`` takes uint8 [H, W, C] and stores ``images`` (uint8
            [count, H, W, C]) and ``seeds`` (int64 [count]), uncompressed.
        count: how many images the shard will hold.
        image_shape: (H, W, C).

    Yields:
        ``add(seed, payload)``, to be called ``count`` times.
    """
    if shard_format == "tar":
        with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            yield lambda seed, payload: _add_to_tar(archive, seed, payload)
    elif shard_format == "zip":
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as zipped:
            yield lambda seed, payload: zipped.writestr(
                zipfile.ZipInfo(image_name(seed, ".png"), _ZIP_EPOCH), bytes(payload)
            )
    else:
        with _open_npz(file, count, image_shape) as add:
            yield add


def _add_to_tar(archive: tarfile.TarFile, seed: int, payload: bytes | NDArray[np.uint8]) -> None:
    data = bytes(payload)
    entry = tarfile.TarInfo(image_name(seed, ".png"))
    entry.size = len(data)
    entry.mode = 0o644
    archive.addfile(entry, io.BytesIO(data))


@contextlib.contextmanager
def _open_npz(file: BinaryIO, count: int, image_shape: tuple[int, int, int]) -> Iterator[AddImage]:
    seeds: list[int] = []
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        # Zip64 sizes always: the entry may pass 2 GiB, and its header is written first.
        with archive.open(
            zipfile.ZipInfo("images.npy", _ZIP_EPOCH), "w", force_zip64=True
        ) as entry:
            header = {"descr": "|u1", "fortran_order": False, "shape": (count, *image_shape)}
            np.lib.format.write_array_header_1_0(entry, header)

            def add(seed: int, payload: bytes | NDArray[np.uint8]) -> None:
                entry.write(np.ascontiguousarray(payload).tobytes())
                seeds.append(seed)

            yield add
        table = io.BytesIO()
        np.lib.format.write_array(table, np.asarray(seeds, np.int64), allow_pickle=False)
        archive.writestr(zipfile.ZipInfo("seeds.npy", _ZIP_EPOCH), table.getvalue())


def shard_payload(
    image: NDArray[np.uint8], shard_format: ShardFormat, encoding: ImageEncoding
) -> bytes | NDArray[np.uint8]:
    """What ``add`` of ``open_shard`` takes for this image."""
    return image if shard_format == "npz" else encode_image(image, encoding)
