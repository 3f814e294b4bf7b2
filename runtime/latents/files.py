"""Latents from files: W and W+ of projected images, in the layouts of several projects.

StyleGAN2-ADA's projector writes ``projected_w.npz`` with ``w`` [1, num_ws, w_dim]; rosinality's
writes a .pt with ``latent``, read by ``segan.export.foreign.latent_tensors``;
``segan project`` writes ``w`` [N, num_sites, w_dim] and, for its coords space, ``coords``.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segan.runtime.bundle.manifest import Manifest
from segan.runtime.errors import ConfigError, DataError
from segan.runtime.files.arrays import read_arrays

Array = NDArray[np.float32]

#: Names of arrays that hold latents, the surest first.
LATENT_KEYS = ("ws", "w", "latent", "projected_w", "latents", "w_plus", "w_latent")

#: Names of arrays that hold one vector for each row of W+ rather than one for each image, when
#: they have two dimensions.
_ROW_KEYS = ("ws", "latent", "w_plus")


@dataclass(frozen=True, eq=False)
class Latents:
    """Latents to generate from; seeds are then positions in them.

    Attributes:
        w: [N, num_sites, w_dim] float32, before truncation and subspaces.
        coords: [N, num_subspaces, coords_dim] float32, as the offsets graph takes them; None is 0.
    """

    w: Array
    coords: Array | None = None

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
        """SHA-256 of all values."""
        digest = hashlib.sha256(np.ascontiguousarray(self.w).tobytes())
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
    w = np.concatenate([part.w for part in parts])
    if all(part.coords is None for part in parts):
        return Latents(w)
    shape = (manifest.num_subspaces, manifest.coords_dim)
    coords = [
        np.zeros((len(part), *shape), np.float32) if part.coords is None else part.coords
        for part in parts
    ]
    return Latents(w, np.concatenate(coords))


def num_ws_rows(manifest: Manifest) -> int:
    """Rows of W+ where a to_rgb shares the row of the next convolution: convolutions + 1."""
    return sum(site.kind != "rgb" for site in manifest.sites) + 1


def expand_rows(rows: NDArray[np.float64], manifest: Manifest) -> NDArray[np.float64]:
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
    taken, next_row = [], 0
    for site in manifest.sites:
        taken.append(next_row)
        next_row += site.kind != "rgb"
    return rows[..., taken, :]


def read_latents(path: Path, manifest: Manifest) -> Latents:
    """Read .npz and .npy files; for .pt files see ``segan.export.foreign.latent_tensors``.

    Raises:
        DataError: missing, damaged, unsafe, or of shapes that do not fit the bundle.
    """
    return latents_of_arrays(read_arrays(path), manifest, str(path))


def is_tensor_file(path: Path) -> bool:
    """Whether a file was written by PyTorch: a zip that holds data.pkl, or a bare pickle."""
    try:
        with open(path, "rb") as file:
            head = file.read(4)
            if head[:2] == b"PK":
                with zipfile.ZipFile(file) as archive:
                    return any(name.endswith("data.pkl") for name in archive.namelist())
            return head[:1] == b"\x80"
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
        return False  # ``read_arrays`` raises an error that describes the file.


def latents_of_arrays(
    arrays: Mapping[str, NDArray[np.generic]],
    manifest: Manifest,
    where: str,
    *,
    row_keys: Iterable[str] = _ROW_KEYS,
) -> Latents:
    """Latents from named arrays.

    Args:
        arrays: the arrays of a file; one is named as in LATENT_KEYS, or there is only one.
        manifest: of the bundle to generate with.
        where: the file, for messages.
        row_keys: names of arrays whose two dimensions are read as [num_ws, w_dim] where they fit;
            two dimensions of others are [N, w_dim].

    Raises:
        DataError: no latents, or shapes that do not fit the bundle.
    """
    name = next((key for key in LATENT_KEYS if key in arrays), None)
    if name is None and len(arrays) == 1:
        name = next(iter(arrays))
    if name is None:
        held = ", ".join(sorted(arrays)[:8]) or "nothing"
        raise DataError(
            f"{where} holds {held}",
            field="latents",
            value=where,
            expected=f"an array named {', '.join(LATENT_KEYS[:-1])} or {LATENT_KEYS[-1]}",
        )
    found = arrays[name]
    counts = {manifest.num_sites, num_ws_rows(manifest)}
    unfit = DataError(
        f"{where}: {name or 'the array'} is {found.dtype} {list(found.shape)}",
        field="latents",
        value=where,
        expected=f"numbers, {_shapes(manifest)}",
        remedy="Latents from another generator do not fit.",
    )
    if found.dtype.kind not in "fiu" or found.ndim not in (1, 2, 3, 4) or not found.size:
        raise unfit
    values = found.astype(np.float64)
    if values.ndim == 4 and 1 in values.shape[:2]:
        values = values.reshape(-1, *values.shape[2:])
    if values.ndim == 1:
        values = values[None]
    if values.ndim == 2 and name in tuple(row_keys) and len(values) in counts:
        values = values[None]
    if values.ndim == 2:
        values = values[:, None]
    if values.ndim != 3 or values.shape[-1] != manifest.w_dim:
        raise unfit
    if values.shape[1] == 1:
        values = np.repeat(values, manifest.num_sites, axis=1)
    if values.shape[1] not in counts:
        raise unfit
    w = expand_rows(values, manifest).astype(np.float32)
    if not np.isfinite(w).all():
        raise _not_finite(where, name)
    return Latents(np.ascontiguousarray(w), _coords(arrays, manifest, len(w), where))


def _coords(
    arrays: Mapping[str, NDArray[np.generic]], manifest: Manifest, count: int, where: str
) -> Array | None:
    """Stored coordinates; directions that were added to the bundle since then are 0."""
    found = arrays.get("coords")
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
    if not np.isfinite(found.astype(np.float32)).all():
        raise _not_finite(where, "coords")
    coords = np.zeros(shape, np.float32)
    coords[:, : found.shape[1], : found.shape[2]] = found
    return coords


def _not_finite(where: str, name: str) -> DataError:
    return DataError(
        f"{where}: {name} holds values that are not finite",
        field="latents",
        value=where,
        remedy="Project the image again.",
    )


def _shapes(manifest: Manifest) -> str:
    w_dim = manifest.w_dim
    return (
        f"[N, {w_dim}], [N, {num_ws_rows(manifest)}, {w_dim}] or [N, {manifest.num_sites}, {w_dim}]"
    )
