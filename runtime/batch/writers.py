"""The files of a batch: one file for each image, or shards (npz, zip, tar) of many images.

Names and bytes depend on the request alone, so that a batch which was interrupted and continued has
the same files as an uninterrupted one.
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

#: Most bytes of images in one npz shard, since a reader holds all of them in memory.
NPZ_SHARD_BYTES = 1 << 30

#: Puts one image into the open shard: ``add(seed, payload)``.
AddImage = Callable[[int, "bytes | NDArray[np.uint8]"], None]

#: The earliest date of a zip entry: with the current time the bytes of each run would differ.
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)


def image_name(seed: int, extension: str) -> str:
    """``seed000017.png``: six digits, or as many as the seed has."""
    return f"seed{seed:06d}{extension}"


def image_path(folder: Path, seed: int, extension: str, *, subfolders: bool) -> Path:
    """The path of a seed's image.

    ``folder/seed000017.png``; with ``subfolders`` (requests of more than FOLDER_SIZE seeds)
    ``folder/0001/seed012345.png``, the sub-folder being seed // 10,000 in at least four digits.
    """
    name = image_name(seed, extension)
    return folder / f"{seed // FOLDER_SIZE:04d}" / name if subfolders else folder / name


def shard_path(folder: Path, number: int, shard_format: ShardFormat) -> Path:
    """``folder/shard-000000.tar``."""
    return folder / f"shard-{number:06d}.{shard_format}"


def default_shard_size(shard_format: ShardFormat, image_shape: tuple[int, int, int]) -> int:
    """Images of a shard: 10,000, and for npz at most 1 GiB of pixels."""
    if shard_format != "npz":
        return FOLDER_SIZE
    height, width, channels = image_shape
    return max(1, min(FOLDER_SIZE, NPZ_SHARD_BYTES // (height * width * channels)))


@contextlib.contextmanager
def open_shard(
    file: BinaryIO, shard_format: ShardFormat, count: int, image_shape: tuple[int, int, int]
) -> Iterator[AddImage]:
    """Write one shard to ``file`` image by image, without holding all images in memory.

    Args:
        file: open for writing bytes, seekable.
        shard_format: ``zip`` and ``tar`` take encoded PNG bytes and store them as
            ``seed000017.png``; ``npz`` takes uint8 [H, W, C] and stores ``images`` (uint8
            [count, H, W, C]) and ``seeds`` (int64 [count]), uncompressed.
        count: number of images of the shard.
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
    """The payload of an image for ``add`` of ``open_shard``."""
    return image if shard_format == "npz" else encode_image(image, encoding)
