"""Figures of a generator for alarms: importance, effects of coordinates, shares of variance."""

from __future__ import annotations

from typing import NamedTuple, cast

import torch

from segan.train.networks.stylegan2.generator import Generator
from segan.train.networks.stylegan2.subspace import StyleSubspace


class Shares(NamedTuple):
    """Shares of the images' variance: total-effect indices of coords and of z.

    Their sum is 1 or more, since interactions count in both (Saltelli et al. 2010, total-order
    sensitivity index).
    """

    coords: float
    z: float


def mean_importance(generator: Generator) -> list[float]:
    """Return the mean |L| of each subspace, in table order."""
    return [
        float(cast(StyleSubspace, module).importance.detach().abs().mean())
        for module in generator.subspaces
    ]


@torch.no_grad()
def coordinate_effects(
    generator: Generator, random: torch.Generator, n: int = 16
) -> torch.Tensor | None:
    """Return the effect of each coordinate: [num_subspaces, K], or None in mode 0.

    An effect is the root mean square, over n images and all pixels, of the change when the
    coordinate goes from -1 to 1 while z and the other coordinates do not change.
    """
    rows, dims = generator.coords_shape
    if rows == 0:
        return None
    z, labels = _draw(generator, n, random)
    base = generator.sample_coords(n, random)
    if base is None:
        base = z.new_zeros(n, rows, dims)
    effects = torch.zeros(rows, dims)
    for row, entry in enumerate(generator.table):
        for dim in range(entry.dims):
            ends = []
            for value in (-1.0, 1.0):
                coords = base.clone()
                coords[:, row, dim] = value
                ends.append(generator(z, labels, coords))
            effects[row, dim] = (ends[1] - ends[0]).square().mean().sqrt().cpu()
    return effects


@torch.no_grad()
def variance_shares(generator: Generator, random: torch.Generator, n: int = 8) -> Shares | None:
    """Return shares of variance on an n × n grid of z and coords; None without drawn coords."""
    coords = generator.sample_coords(n, random)
    if coords is None:
        return None
    z, labels = _draw(generator, n, random)
    # Labels vary with z, since neither is a coordinate.
    label_rows = None if labels is None else labels.repeat_interleave(n, 0)
    images = generator(z.repeat_interleave(n, 0), label_rows, coords.repeat(n, 1, 1))
    return shares_of_grid(images.unflatten(0, (n, n)))


def shares_of_grid(images: torch.Tensor) -> Shares:
    """Return total-effect indices of images [n_z, n_coords, …] on a full grid."""
    n_z, n_coords = images.shape[:2]
    flat = images.reshape(n_z, n_coords, -1).double()
    within_z = flat.var(dim=1, correction=0).mean()  # coords vary, z fixed
    within_coords = flat.var(dim=0, correction=0).mean()
    total = flat.flatten(0, 1).var(dim=0, correction=0).mean().clamp_min(1e-12)
    return Shares(float(within_z / total), float(within_coords / total))


def _draw(
    generator: Generator, n: int, random: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor | None]:
    device, network = generator.w_avg.device, generator.network
    z = torch.randn(n, network.z_dim, generator=random, device=device)
    if not network.c_dim:
        return z, None
    classes = torch.randint(network.c_dim, (n,), generator=random, device=device)
    return z, torch.nn.functional.one_hot(classes, network.c_dim).float()
