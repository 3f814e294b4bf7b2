"""Latents from files: W and W+ of projected images, in the layouts of several projects.

StyleGAN2-ADA's projector writes ``projected_w.npz`` with ``w`` [1, num_ws, w_dim]; rosinality's
writes a .pt with ``latent``, read by ``segan.export.foreign.latent_tensors``;
``segan project`` writes ``w`` [N, num_sites, w_dim] and, for its coords space, ``coords``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from segan.runtime.bundle.manifest import Manifest
from segan.runtime.errors import ConfigError, DataError
from segan.runtime.files.arrays import read_arrays
from segan.runtime.files.zips import DamagedZipError, open_zip
from segan.runtime.latents.readings import (
    ROW_KEYS,
    LatentSpace,
    Reading,
    check_rows,
    read_array,
)

Array = NDArray[np.float32]

_Number = TypeVar("_Number", bound=np.generic)

#: The mapping network of a generator: z [N, z_dim] → w [N, w_dim]; see ``Renderer.z_mapper``.
MapZ = Callable[[Array], Array]

#: Name of the array with the names of the rows' sites, and of the file, that ``segan project``
#: writes; files of older versions have no such array.
SITES, PROJECTED = "sites", "projected.npz"


@dataclass(frozen=True, eq=False)
class Latents:
    """Latents to generate from; seeds are then positions in them.

    Attributes:
        w: [N, num_sites, w_dim] float32, before truncation and subspaces.
        coords: [N, num_subspaces, coords_dim] float32, as the offsets graph takes them; None is 0.
        z: [N, z_dim] float32, what w was mapped from; None for w of a file.
        notes: how the files were read where that could be done in two ways, one sentence each.
    """

    w: Array
    coords: Array | None = None
    z: Array | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.w.ndim != 3 or not len(self.w):
            raise ConfigError(
                f"w of the latents has the shape {list(self.w.shape)}",
                field="w",
                value=self.w.shape,
                expected="[N, num_sites, w_dim], N >= 1",
            )

    def __len__(self) -> int:
        return len(self.w)

    def sha256(self) -> str:
        """SHA-256 of all values; of z where w was mapped, since backends round differently."""
        digest = hashlib.sha256()
        for image in self.w if self.z is None else self.z:
            digest.update(np.ascontiguousarray(image).tobytes())
        if self.coords is not None:
            digest.update(np.ascontiguousarray(self.coords).tobytes())
        return digest.hexdigest()

    def check(self, manifest: Manifest) -> None:
        """Raises ConfigError unless the shapes are the bundle's."""
        expected = (manifest.num_sites, manifest.w_dim)
        if self.w.shape[1:] != expected:
            raise ConfigError(
                f"w of `latents` has the shape {list(self.w.shape)}",
                field="latents",
                value=self.w.shape,
                expected=f"[N, {expected[0]}, {expected[1]}]",
            )
        shape = (len(self.w), manifest.num_subspaces, manifest.coords_dim)
        if self.coords is not None and self.coords.shape != shape:
            raise ConfigError(
                f"coords of `latents` has the shape {list(self.coords.shape)}",
                field="latents",
                value=self.coords.shape,
                expected=str(list(shape)),
            )

    def rows(self, positions: Sequence[int]) -> list[int]:
        """The positions as a list. Raises: ConfigError for a position past the last latent."""
        for position in positions:
            if not 0 <= position < len(self.w):
                raise ConfigError(
                    f"seed is {position}, and with `latents` seeds are their positions",
                    field="seed",
                    value=position,
                    expected=f"0 to {len(self.w) - 1}",
                )
        return list(positions)


def join_latents(parts: Sequence[Latents], manifest: Manifest) -> Latents:
    """The latents of several files, one after the other."""
    if len(parts) == 1:
        return parts[0]
    w = np.concatenate([part.w for part in parts])
    drawn = [part.z for part in parts if part.z is not None]
    z = np.concatenate(drawn) if len(drawn) == len(parts) else None
    notes = tuple(dict.fromkeys(note for part in parts for note in part.notes))
    if all(part.coords is None for part in parts):
        return Latents(w, z=z, notes=notes)
    shape = (manifest.num_subspaces, manifest.coords_dim)
    coords = [
        np.zeros((len(part), *shape), np.float32) if part.coords is None else part.coords
        for part in parts
    ]
    return Latents(w, np.concatenate(coords), z, notes)


def expand_rows(rows: NDArray[_Number], manifest: Manifest) -> NDArray[_Number]:
    """Expand NVIDIA's num_ws rows to num_sites; num_sites rows are returned unchanged.

    A to_rgb takes the row of the next convolution, and the last to_rgb the last row.

    Args:
        rows: [..., num_ws or num_sites, w_dim].
        manifest: the bundle's.

    Returns:
        [..., num_sites, w_dim].
    """
    if rows.shape[-2] == manifest.num_sites:
        return rows
    return rows[..., _rows_of_sites(manifest), :]


def _rows_of_sites(manifest: Manifest) -> list[int]:
    taken, next_row = [], 0
    for site in manifest.sites:
        taken.append(next_row)
        next_row += site.kind != "rgb"
    return taken


def read_latents(
    path: Path,
    manifest: Manifest,
    *,
    latent_space: LatentSpace | None = None,
    map_z: MapZ | None = None,
) -> Latents:
    """Read .npz and .npy files; for .pt files see ``segan.export.foreign.latent_tensors``.

    ``Generator.read_latents`` gives the mapping network too.

    Args:
        path: the file.
        manifest: of the bundle to generate with.
        latent_space: what the file holds; None decides by the array's name and shape.
        map_z: maps z; None refuses files of z.

    Raises:
        DataError: missing, damaged, unsafe, of shapes that do not fit the bundle, or of a space
            that neither name nor shape tells.
        ConfigError: an unknown space, or z of a conditional bundle without a class.
    """
    if is_tensor_file(path):
        raise DataError(
            f"{path} is a file of PyTorch",
            field="latents",
            value=str(path),
            expected="npz or npy",
            remedy="Read it with segan.export.foreign.latent_tensors.read_tensor_latents.",
        )
    arrays = read_arrays(path, convert=False)
    return latents_of_arrays(
        arrays,
        manifest,
        str(path),
        latent_space=latent_space,
        map_z=map_z,
        has_sites=path.name == PROJECTED,
    )


def is_tensor_file(path: Path) -> bool:
    """Whether a file was written by PyTorch: a zip that holds data.pkl, or a bare pickle."""
    if not path.is_file():
        return False  # opening a pipe waits for its writer
    try:
        with open(path, "rb") as file:
            head = file.read(4)
        if head[:2] == b"PK":
            with open_zip(path) as archive:
                return any(name.endswith("data.pkl") for name in archive.namelist())
        return head[:1] == b"\x80"
    except (OSError, DamagedZipError):
        return False  # ``read_arrays`` raises an error that describes the file.


def latents_of_arrays(
    arrays: Mapping[str, NDArray[np.generic]],
    manifest: Manifest,
    where: str,
    *,
    row_keys: Iterable[str] = ROW_KEYS,
    latent_space: LatentSpace | None = None,
    map_z: MapZ | None = None,
    has_sites: bool = False,
) -> Latents:
    """Latents from named arrays.

    Args:
        arrays: the arrays of a file; one is named as in LATENT_KEYS, or there is only one.
        manifest: of the bundle to generate with.
        where: the file, for messages.
        row_keys: see ``read_array``.
        latent_space: see ``read_latents``.
        map_z: see ``read_latents``.
        has_sites: the file is known to hold a row for each site.

    Raises:
        DataError, ConfigError: see ``read_latents``.
    """
    arrays = dict(arrays)
    named = arrays.pop(SITES, None)
    coords = arrays.pop("coords", None)
    sites: tuple[str, ...] | bool | None = None
    if named is not None and named.dtype.kind == "U" and named.ndim == 1 and named.size:
        sites = tuple(str(name) for name in named[: 2 * manifest.num_sites])
    elif has_sites or coords is not None or latent_space == "w+":
        # Coordinates are those of subspaces, which only segan's generators have.
        sites = True
    reading = read_array(arrays, manifest, where, latent_space, row_keys)
    if reading.space == "w+":
        note = check_rows(reading, manifest, where, sites)
        if note is not None:
            reading = replace(reading, notes=(*reading.notes, note))
    found = _to_sites(reading, manifest, where, map_z)
    return replace(found, coords=_coords(coords, manifest, len(found), where))


def _to_sites(reading: Reading, manifest: Manifest, where: str, map_z: MapZ | None) -> Latents:
    """Return the latents of an array with a vector for each site; one vector is not copied."""
    count, shape = len(reading.values), (manifest.num_sites, manifest.w_dim)
    if reading.space == "w+":
        w = np.empty((count, *shape), np.float32)
        own = reading.values.shape[1] == manifest.num_sites
        rows = range(manifest.num_sites) if own else _rows_of_sites(manifest)
        for site, row in enumerate(rows):
            w[:, site] = _floats(reading.values[:, row])
        _check_finite(w, where, reading.name)
        return Latents(w, notes=reading.notes)
    single = _floats(reading.values)
    _check_finite(single, where, reading.name)
    z: Array | None = None
    if reading.space == "z":
        if map_z is None:
            raise DataError(
                f"{where}: {reading.name or 'the array'} is z, which the mapping network maps to w",
                field="latents",
                value=where,
                remedy="Read the file with Generator.read_latents, or give its map_z.",
            )
        z, single = single, map_z(single)
        note = f"{where}: {reading.name or 'the array'} is z, mapped to w by the bundle's network."
        reading = replace(reading, notes=(*reading.notes, note))
    return Latents(np.broadcast_to(single[:, None], (count, *shape)), z=z, notes=reading.notes)


def _floats(values: NDArray[np.generic]) -> Array:
    with np.errstate(over="ignore"):  # too large a number becomes infinite, and is refused
        return values.astype(np.float32, copy=False)


def _check_finite(values: Array, where: str, name: str) -> None:
    if not np.isfinite(values).all():
        raise _not_finite(where, name)


def _coords(
    found: NDArray[np.generic] | None, manifest: Manifest, count: int, where: str
) -> Array | None:
    """Stored coordinates; directions that were added to the bundle since then are 0."""
    if found is None:
        return None
    shape = (count, manifest.num_subspaces, manifest.coords_dim)
    fits = found.ndim == 3 and found.dtype.kind == "f" and found.shape[0] == count
    if not fits or any(have > room for have, room in zip(found.shape, shape, strict=True)):
        raise DataError(
            f"{where}: coords is {found.dtype} {list(found.shape)}",
            field="latents",
            value=where,
            expected=f"floats, up to {list(shape)}",
            remedy="Latents from another generator do not fit.",
        )
    if not np.isfinite(_floats(found)).all():
        raise _not_finite(where, "coords")
    coords = np.zeros(shape, np.float32)
    coords[:, : found.shape[1], : found.shape[2]] = _floats(found)
    return coords


def _not_finite(where: str, name: str) -> DataError:
    return DataError(
        f"{where}: {name} holds values that are not finite",
        field="latents",
        value=where,
        remedy="Project the image again.",
    )
