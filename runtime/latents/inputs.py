"""What one batch of images is computed from."""

from __future__ import annotations

from dataclasses import dataclass

from numpy.typing import ArrayLike


@dataclass(frozen=True, kw_only=True)
class GraphInputs:
    """What one batch of images is computed from; ``z`` or ``w`` is given.

    Attributes:
        z: [N, z_dim] float32.
        labels: [N, c_dim] float32 with ``z``, for a conditional bundle.
        w: [N, w_dim] or [N, num_sites, w_dim] float32.
        psi: one number, [num_sites] or [N, num_sites].
        coords: [N, num_subspaces, coords_dim] float32; None for zeros.
        noise: [1, size] or [N, size] float32; None takes the bundle's constant noise.
    """

    z: ArrayLike | None = None
    labels: ArrayLike | None = None
    w: ArrayLike | None = None
    psi: ArrayLike = 1.0
    coords: ArrayLike | None = None
    noise: ArrayLike | None = None
