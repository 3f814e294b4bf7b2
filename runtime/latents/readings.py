"""How an array of a file is read: as z, as w, or as W+ with a row for each modulated convolution.

The space is known from the array's name, from its shape, or by asking. What could be two things is
refused, with a sentence on how to tell, because a wrong guess gives images without a word.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from segan.runtime.bundle.manifest import Manifest
from segan.runtime.errors import ConfigError, DataError

Array = NDArray[np.float32]

LatentSpace = Literal["z", "w", "w+"]

#: Names of arrays that hold w or W+, the surest first: ``segan project``, StyleGAN2-ADA's
#: projector, and rosinality's write ``w``, ``w`` and ``latent``.
W_KEYS = ("ws", "w", "latent", "projected_w", "w_plus", "wplus", "wp", "w+", "w_latent", "dlatents")

#: Names of arrays that hold z. The name "latents" says neither: StyleGAN's code calls z so.
Z_KEYS = ("z", "zs", "z_latent", "latent_z")

#: All names of latents, the surest first.
LATENT_KEYS = (*W_KEYS, *Z_KEYS, "latents")

#: Names of arrays whose two dimensions are the rows of one image's W+.
ROW_KEYS = ("ws", "latent", "w_plus", "wplus", "wp", "w+", "dlatents")


@dataclass(frozen=True, eq=False)
class Reading:
    """An array, and what it was taken for.

    Attributes:
        space: what the values are.
        values: [N, z_dim] for z, [N, w_dim] for w, [N, rows, w_dim] for W+; the file's numbers.
        name: the array's name; empty for the array of an .npy.
        notes: what could have been read in another way, one sentence each.
    """

    space: LatentSpace
    values: NDArray[np.generic]
    name: str
    notes: tuple[str, ...] = ()


def check_space(space: str | None) -> None:
    """Raise ConfigError unless ``space`` is None or a latent space."""
    if space is not None and space not in get_args(LatentSpace):
        raise ConfigError(field="latent_space", value=space, expected="z, w or w+")


def read_array(
    arrays: Mapping[str, NDArray[np.generic]],
    manifest: Manifest,
    where: str,
    space: LatentSpace | None,
    row_keys: Iterable[str] = ROW_KEYS,
) -> Reading:
    """Choose the array of a file that holds the latents, and decide how it is read.

    Args:
        arrays: the arrays of a file by name.
        manifest: of the bundle to generate with.
        where: the file, for messages.
        space: what the array holds; None decides by its name and shape.
        row_keys: names of arrays whose two dimensions are the rows of one image's W+ where their
            number is the bundle's.

    Raises:
        DataError: no latents, another generator's, or several readings are possible.
        ConfigError: an unknown space.
    """
    check_space(space)
    name = _choose(arrays, where, space)
    values = arrays[name]
    if values.dtype.kind not in "fiu" or values.dtype.itemsize < 2 or not values.size:
        raise unfit(where, name, values, f"floating-point numbers, {shapes(manifest)}")
    if values.ndim == 4 and 1 in values.shape[:2]:
        values = values.reshape(-1, *values.shape[2:])
    if not 1 <= values.ndim <= 3:
        raise unfit(where, name, arrays[name], shapes(manifest))
    found = space or _known_space(name, values, manifest, where)
    if found == "z":
        reading = Reading("z", _single(values, manifest.z_dim, "z", name, where), name)
    elif found == "w" and space == "w":
        reading = Reading("w", _single(values, manifest.w_dim, "w", name, where), name)
    else:
        is_rows = space == "w+" or name in tuple(row_keys)
        reading = _read_w(
            values, manifest, name, where, is_rows, strict=space == "w+" or name in ROW_KEYS
        )
    others = [key for key in arrays if key in LATENT_KEYS and key != name]
    if others:
        note = f"{where}: {name} is taken, and {', '.join(others)} is not used."
        reading = Reading(reading.space, reading.values, name, (*reading.notes, note))
    return reading


def _choose(
    arrays: Mapping[str, NDArray[np.generic]], where: str, space: LatentSpace | None
) -> str:
    """Return the name of the array that holds the latents."""
    keys = {"z": (*Z_KEYS, "latents"), None: LATENT_KEYS}.get(space, (*W_KEYS, "latents"))
    name = next((key for key in keys if key in arrays), None)
    if name is None and len(arrays) == 1:
        name = next(iter(arrays))
    if name is None:
        held = ", ".join(sorted(arrays)[:8]) or "nothing"
        raise DataError(
            f"{where} holds {held[:200]}",
            field="latents",
            value=where,
            expected=f"an array named {', '.join(keys[:-1])} or {keys[-1]}",
        )
    return name


def _known_space(
    name: str, values: NDArray[np.generic], manifest: Manifest, where: str
) -> LatentSpace:
    """Return z or w by the name, else by the shape. Raises: DataError where neither tells."""
    if name in Z_KEYS:
        return "z"
    has_rows = values.ndim == 3 and values.shape[1] > 1
    if name in W_KEYS or has_rows:
        return "w"
    z_dim, w_dim, width = manifest.z_dim, manifest.w_dim, values.shape[-1]
    if width not in (z_dim, w_dim):
        expected = f"z of {z_dim} or {shapes(manifest)}"
        raise unfit(where, name, values, expected)
    if z_dim != w_dim:
        return "z" if width == z_dim else "w"
    shown = f"{name[:60]} {list(values.shape)}" if name else f"an array {list(values.shape)}"
    raise DataError(
        f"{where} holds {shown}, which may be z, the input of the mapping network, or w, its "
        f"output: both have {w_dim} dimensions here",
        field="latents",
        value=where,
        expected="an array whose name says which, z or w",
        remedy="Give `latent_space z`, `latent_space w`, or `latent_space w+` for the rows of one "
        "image. z has values around 0 with a standard deviation of 1; a projector writes w.",
    )


def _single(
    values: NDArray[np.generic], width: int, space: str, name: str, where: str
) -> NDArray[np.generic]:
    """Return one vector for each image, [N, width]. Raises: DataError."""
    if values.ndim == 3 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim == 1:
        values = values[None]
    if values.ndim != 2 or values.shape[1] != width:
        other = "" if values.ndim == 2 else f"; {space} is one vector for each image"
        expected = f"{space} of this bundle, [N, {width}]{other}"
        raise unfit(where, name, values, expected, rows=values.ndim == 3)
    return values


def _read_w(
    values: NDArray[np.generic],
    manifest: Manifest,
    name: str,
    where: str,
    is_rows: bool,
    *,
    strict: bool,
) -> Reading:
    """Read w or W+ by the number of dimensions and rows.

    Args:
        values: of 1 to 3 dimensions.
        manifest: of the bundle.
        name: the array's name.
        where: the file.
        is_rows: two dimensions are the rows of one image where their number is the bundle's.
        strict: two dimensions of another number of rows are refused, not read as images.
    """
    counts = (manifest.num_sites, num_ws_rows(manifest))
    given, shown = values, f"{where}: {name or 'the array'} {list(values.shape)}"
    notes: tuple[str, ...] = ()
    if values.shape[-1] != manifest.w_dim:
        raise unfit(where, name, given, shapes(manifest), rows=values.ndim == 3 or is_rows)
    if values.ndim == 1:
        values = values[None]
    if values.ndim == 2 and len(values) > 1:
        count = len(values)
        if is_rows and count in counts:
            values = values[None]
            notes = (
                f"{shown} is taken as W+ of one image; `latent_space w` takes it as {count} images "
                "with one w each.",
            )
        elif is_rows and strict:
            raise unfit(where, name, given, shapes(manifest))
        else:
            notes = (f"{shown} is taken as {count} images with one w each.",)
            if count in counts:
                notes = (f"{notes[0][:-1]}; `latent_space w+` takes it as the rows of one image.",)
    if values.ndim == 3 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim == 2:
        return Reading("w", values, name, notes)
    if values.shape[1] not in counts:
        raise unfit(where, name, given, shapes(manifest))
    return Reading("w+", values, name, notes)


def num_ws_rows(manifest: Manifest) -> int:
    """Rows of W+ where a to_rgb shares the row of the next convolution: convolutions + 1."""
    return sum(site.kind != "rgb" for site in manifest.sites) + 1


def resolution_of_rows(rows: int) -> int | None:
    """Image size of an original project's generator with so many rows of W+; None for none."""
    size: int = 2 ** ((rows + 2) // 2)
    return size if rows % 2 == 0 and 8 <= size <= 4096 else None


def check_rows(reading: Reading, manifest: Manifest, where: str, sites: object) -> str | None:
    """Decide whether the rows of W+ are the bundle's sites or num_ws of the original project.

    Args:
        reading: in W+, whose number of rows is one of the two.
        manifest: of the bundle.
        where: the file.
        sites: names of the rows' sites, as ``segan project`` writes them; True for a file that
            is known to have a row for each site, None for others.

    Returns:
        What was decided, in a sentence, or None where nothing else was possible.

    Raises:
        DataError: the rows are those of another generator, or may be.
    """
    rows, size = reading.values.shape[1], manifest.resolution
    own = tuple(site.name for site in manifest.sites)
    if isinstance(sites, tuple) and sites != own:
        raise DataError(
            f"{where} was written for a generator with {len(sites)} sites, to {sites[-1][:40]}",
            field="latents",
            value=where,
            expected=f"latents of this bundle: {len(own)} sites, to {own[-1]}",
            remedy="Latents from another generator do not fit.",
        )
    num_ws = num_ws_rows(manifest)
    if sites is not None or num_ws == len(own):
        return None
    if rows == num_ws:
        return (
            f"{where}: {reading.name or 'the array'} has {rows} rows, num_ws of {size} x {size}: a "
            f"to_rgb of the {len(own)} sites takes the row of the next convolution."
        )
    other = resolution_of_rows(rows)
    if other is None:
        return None
    if "imported" in manifest.provenance:
        raise DataError(
            f"{where}: {reading.name or 'the array'} {list(reading.values.shape)} has {rows} rows, "
            f"num_ws of a generator of {other} x {other}; this bundle is of {size} x {size}, where "
            f"num_ws is {num_ws} and {rows} is the number of sites",
            field="latents",
            value=where,
            expected=f"{num_ws} rows, as the original project writes them",
            remedy="Give `latent_space w+` if the rows are the sites of this bundle.",
        )
    return (
        f"{where}: the {rows} rows are taken as the sites of this generator of {size} x {size}; "
        f"one of {other} x {other} of another project has {rows} rows, too."
    )


def unfit(
    where: str,
    name: str,
    found: NDArray[np.generic],
    expected: str,
    *,
    rows: bool = True,
) -> DataError:
    """Return the error for an array of another generator, which names both sizes."""
    problem = f"{where}: {name[:60] or 'the array'} is {found.dtype} {list(found.shape)}"
    side = found.shape[-2] if found.ndim >= 2 and rows else 0
    other = resolution_of_rows(side)
    if other is not None:
        problem += f", with {side} rows, num_ws of {other} x {other},"
    return DataError(
        problem.rstrip(","),
        field="latents",
        value=where,
        expected=expected,
        remedy="Latents from another generator do not fit.",
    )


def shapes(manifest: Manifest) -> str:
    """Return the shapes of w and W+ that fit a bundle."""
    w_dim, size = manifest.w_dim, manifest.resolution
    return (
        f"[N, {w_dim}], [N, {num_ws_rows(manifest)}, {w_dim}] or "
        f"[N, {manifest.num_sites}, {w_dim}] for this bundle of {size} x {size}"
    )
