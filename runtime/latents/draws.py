"""What is drawn from a seed: z, coordinates and noise; and interpolation between latents.

A value depends on the seed alone, not on the batch, the order of the seeds, the backend or the
machine. Numpy guarantees that the streams of ``RandomState`` do not change.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segan.runtime.bundle.layout import Site, Subspace
from segan.runtime.errors import ConfigError
from segan.runtime.latents.seeds import check_seeds

Array = NDArray[np.float32]

#: Separate streams, so that coordinates and noise do not depend on each other or on z.
_COORDS_STREAM, _NOISE_STREAM = 1, 2


def sample_z(seeds: int | Iterable[int], z_dim: int) -> Array:
    """Input latents, N(0, I), from the same stream as in StyleGAN2-ADA's generate.py.

    Returns:
        [N, z_dim] float32.

    Raises:
        ConfigError: a seed is not an integer from 0 to 4294967295.
    """
    checked = check_seeds(seeds)
    z = np.empty((len(checked), z_dim), np.float32)
    # A state that is seeded again gives the stream of a new state. A new state would first take
    # entropy from the system, which needs most of the time.
    stream = np.random.RandomState(0)
    for row, seed in zip(z, checked, strict=True):
        stream.seed(seed)
        row[:] = stream.randn(z_dim)
    return z


def _stream(seed: int, number: int) -> np.random.RandomState:
    return np.random.RandomState(np.random.MT19937(np.random.SeedSequence((seed, number))))


def sample_coords(
    seeds: int | Iterable[int], subspaces: Sequence[Subspace], coords_dim: int
) -> Array:
    """Subspace coordinates, drawn subspace by subspace from their priors.

    Args:
        seeds: integers from 0 to 4294967295.
        subspaces: the subspace table; each row draws its own number of dims.
        coords_dim: width of the result; values beyond a subspace's dims are 0.

    Returns:
        [N, num_subspaces, coords_dim] float32.

    Raises:
        ConfigError: a seed is not an integer from 0 to 4294967295.
    """
    checked = check_seeds(seeds)
    coords = np.zeros((len(checked), len(subspaces), coords_dim), np.float32)
    for sample, seed in zip(coords, checked, strict=True):
        stream = _stream(seed, _COORDS_STREAM)
        for row, subspace in zip(sample, subspaces, strict=True):
            if subspace.prior == "uniform":
                row[: subspace.dims] = stream.uniform(-math.sqrt(3), math.sqrt(3), subspace.dims)
            elif subspace.prior == "normal":
                row[: subspace.dims] = stream.randn(subspace.dims)
    return coords


def sample_noise(seeds: int | Iterable[int], size: int) -> Array:
    """Per-pixel noise, N(0, 1), the sites of an image one after the other.

    Returns:
        [N, size] float32.

    Raises:
        ConfigError: a seed is not an integer from 0 to 4294967295.
    """
    checked = check_seeds(seeds)
    noise = np.empty((len(checked), size), np.float32)
    for row, seed in zip(noise, checked, strict=True):
        row[:] = _stream(seed, _NOISE_STREAM).randn(size)
    return noise


def _paired(a: ArrayLike, b: ArrayLike, t: ArrayLike) -> tuple[Any, Any, Any]:
    """Both ends in float64, and t with a last axis of size 1, so that it scales whole vectors."""
    start, end, at = (np.asarray(value, np.float64) for value in (a, b, t))
    if start.shape != end.shape:
        raise ConfigError(
            f"`a` has the shape {start.shape} and `b` {end.shape}",
            field="b",
            value=end.shape,
            expected="the same shape",
        )
    return start, end, at[..., None] if at.ndim else at


def lerp(a: ArrayLike, b: ArrayLike, t: ArrayLike) -> Array:
    """Linear interpolation, a at t = 0 and b at t = 1.

    Args:
        a: [..., dims].
        b: the same shape.
        t: one number, or one for each vector: [...], broadcast.

    Returns:
        [..., dims] float32, computed in float64.

    Raises:
        ConfigError: the two shapes differ.
    """
    start, end, at = _paired(a, b, t)
    return np.asarray((1 - at) * start + at * end, np.float32)


def slerp(a: ArrayLike, b: ArrayLike, t: ArrayLike) -> Array:
    """Spherical interpolation along the last axis, a at t = 0 and b at t = 1.

    sin((1-t) ω) / sin ω · a + sin(t ω) / sin ω · b, ω the angle between a and b (Shoemake 1985),
    which keeps z within the shell where N(0, I) lies. Where the formula is undefined, parallel and
    zero vectors are interpolated linearly, and opposite vectors along the half circle through the
    axis that has the smallest component of a.

    Args:
        a: [..., dims].
        b: the same shape.
        t: one number, or one for each vector: [...], broadcast.

    Returns:
        [..., dims] float32, computed in float64.

    Raises:
        ConfigError: the two shapes differ.
    """
    start, end, at = _paired(a, b, t)
    norm_start = np.linalg.norm(start, axis=-1, keepdims=True)
    norm_end = np.linalg.norm(end, axis=-1, keepdims=True)
    unit_start = start / np.where(norm_start > 0, norm_start, 1)
    unit_end = end / np.where(norm_end > 0, norm_end, 1)
    # Kahan's form of the angle: exact to rounding near 0 and near π, where arccos is not.
    apart = np.linalg.norm(unit_start - unit_end, axis=-1, keepdims=True)
    along = np.linalg.norm(unit_start + unit_end, axis=-1, keepdims=True)
    omega = 2 * np.arctan2(apart, along)
    sine = np.sin(omega)
    nonzero = (norm_start > 0) & (norm_end > 0)
    curved = nonzero & (sine > 1e-7)
    opposite = nonzero & ~curved & (apart > along) & (start.shape[-1] > 1)
    safe = np.where(curved, sine, 1)
    arc = (np.sin((1 - at) * omega) * start + np.sin(at * omega) * end) / safe
    straight = (1 - at) * start + at * end
    axis = np.zeros_like(start)
    np.put_along_axis(axis, np.abs(start).argmin(-1)[..., None], 1.0, axis=-1)
    side = axis - (axis * unit_start).sum(-1, keepdims=True) * unit_start
    length = np.linalg.norm(side, axis=-1, keepdims=True)
    side = side / np.where(length > 0, length, 1)
    norm = (1 - at) * norm_start + at * norm_end
    detour = norm * (np.cos(np.pi * at) * unit_start + np.sin(np.pi * at) * side)
    return np.asarray(np.where(curved, arc, np.where(opposite, detour, straight)), np.float32)


def psi_row(sites: Sequence[Site], psi: float, cutoff: int | str | None) -> Array:
    """Truncation strength for each site.

    Args:
        sites: the site table.
        psi: 0 (the mean image) to 1 (no truncation).
        cutoff: the last resolution (such as 16) or the last site (such as ``b16.conv0``) at which
            psi is ``psi``; after it psi is 1. None: psi is the same everywhere.

    Returns:
        [num_sites] float32.

    Raises:
        ConfigError: psi is outside 0 to 1, or no site has that resolution or name.
    """
    if isinstance(psi, bool) or not isinstance(psi, int | float | np.integer | np.floating):
        raise ConfigError(field="psi", value=psi, expected="a number from 0 to 1, such as 0.7")
    if not 0 <= psi <= 1:
        raise ConfigError(
            field="psi", value=psi, expected="0 to 1", remedy="Pass 0.7, for example."
        )
    row = np.full(len(sites), psi, np.float32)
    if cutoff is None:
        return row
    text = str(cutoff).strip()
    names = [site.name for site in sites]
    if not isinstance(cutoff, bool) and text.isdecimal():
        past = np.array([site.resolution > int(text) for site in sites])
        known = any(site.resolution == int(text) for site in sites)
    else:
        known = text in names
        past = np.arange(len(sites)) > (names.index(text) if known else 0)
    if not known:
        resolutions = ", ".join(str(value) for value in sorted({s.resolution for s in sites}))
        raise ConfigError(
            field="cutoff",
            value=cutoff,
            expected=f"a resolution ({resolutions}) or a site ({', '.join(names)})",
        )
    row[past] = 1
    return row
