"""What a projection starts from: a generator, a photo, and a bundle whose sliders are swept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segan.runtime.errors import ConfigError, DataError
from segan.runtime.generate.generator import Generator as BundleGenerator
from segan.runtime.generate.generator import load
from segan.runtime.pictures.decode import quiet_decoding
from segan.train.data.prepare import Crop, prepare_image
from segan.train.data.sources import MAX_ENCODED_BYTES, too_large
from segan.train.networks.family import Generator


@dataclass(frozen=True, eq=False, kw_only=True)
class ProjectionSource:
    """A generator to project into.

    Attributes:
        generator: on the CPU, in evaluation mode.
        path: the checkpoint folder or file.
        about: name of the checkpoint, for the record.
        class_names: names of the classes; empty if the checkpoint states none.
    """

    generator: Generator
    path: Path
    about: str
    class_names: tuple[str, ...]


def load_source(path: Path | None) -> ProjectionSource:
    """Load the generator of a run or checkpoint folder, or of another project's file.

    Args:
        path: a run, a checkpoint folder or a file of one, or a file that ``load_foreign`` reads;
            None takes the newest run under the current folder.

    Raises:
        CheckpointError: missing, damaged, or not a generator.
    """
    from segan.export.foreign.load import load_foreign
    from segan.train.runs.checkpoint import RECORD, load_generator, resolve_checkpoint

    if path is not None and path.is_file() and not (path.parent / RECORD).is_file():
        return ProjectionSource(
            generator=load_foreign(path).generator, path=path, about=path.name, class_names=()
        )
    found = resolve_checkpoint(path)
    loaded = load_generator(found)
    return ProjectionSource(
        generator=loaded.generator,
        path=found,
        about=f"{loaded.meta.name} {found.name} {loaded.meta.sha256[:12]}",
        class_names=loaded.meta.class_names,
    )


def read_photo(path: Path, generator: Generator, *, crop: Crop = "center") -> NDArray[np.uint8]:
    """Read a photo in the size and channels of a generator: [R, R, C] uint8.

    Args:
        path: an image file.
        generator: gives resolution and channels.
        crop: how the photo becomes square; see ``prepare_image``.

    Raises:
        DataError: the file is missing, or not an image that can be used.
    """
    try:
        size = path.stat().st_size
        if size > MAX_ENCODED_BYTES:
            raise too_large(str(path), size)
        data = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror})",
            field="photo",
            value=path,
            remedy="Give an image, such as photo.jpg.",
        ) from None
    network = generator.network
    with quiet_decoding():
        picture = prepare_image(
            data,
            str(path),
            resolution=network.resolution,
            crop=crop,
            channels=network.img_channels,
        )
    return np.asarray(picture).reshape(network.resolution, network.resolution, -1)


def open_bundle_of(path: Path, generator: Generator) -> BundleGenerator:
    """Open a bundle of a generator, such as one with added directions.

    Raises:
        ConfigError: the bundle is of another generator: sites, w_dim or channels differ.
        BundleError: the bundle cannot be opened.
    """
    bundle = load(path)
    manifest, network = bundle.manifest, generator.network
    shapes = (manifest.sites, manifest.w_dim, manifest.img_channels)
    if shapes != (network.sites, network.w_dim, network.img_channels):
        raise ConfigError(
            f"`bundle {path}` is of another generator: its sites, w_dim or channels differ",
            field="bundle",
            value=path,
            remedy="Export this checkpoint, or leave `bundle` out.",
        )
    return bundle
