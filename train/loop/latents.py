"""Latents of a batch of fakes: drawing, sharing of coordinates, and style mixing."""

from __future__ import annotations

from typing import NamedTuple

import torch

from segan.train.networks.stylegan2.generator import Generator
from segan.train.runs.config import TrainConfig


class Latents(NamedTuple):
    """The latents of N fakes."""

    z: torch.Tensor  # [N, z_dim]
    z_other: torch.Tensor  # [N, z_dim], for style mixing
    crossover: torch.Tensor  # [N], first site that follows z_other
    coords: torch.Tensor | None  # [N, num_subspaces, K]
    noise: torch.Tensor | None  # [N, num_noise]
    labels: torch.Tensor | None  # [N, c_dim]

    def take(self, index: torch.Tensor) -> Latents:
        """Return the latents of some of the N images."""
        parts = [None if part is None else part[index] for part in self]
        return Latents(*parts)  # type: ignore[arg-type]  # the first three never are None


def draw_latents(
    generator: Generator,
    config: TrainConfig,
    n: int,
    labels: torch.Tensor | None,
    random: torch.Generator,
) -> Latents:
    """Draw the latents of n fakes.

    Args:
        generator: G.
        config: of the run: style mixing and noise.
        n: number of fakes.
        labels: one-hot [n or more, c_dim], of which the first n are taken; None without classes.
        random: the stream, on the generator's device.
    """
    network, device = config.network, generator.w_avg.device

    def normal(width: int) -> torch.Tensor:
        return torch.randn(n, width, generator=random, device=device)

    num_sites = len(network.sites)
    crossover = torch.randint(1, num_sites, (n,), generator=random, device=device)
    mixed = torch.rand(n, generator=random, device=device) < config.style_mixing
    return Latents(
        z=normal(network.z_dim),
        z_other=normal(network.z_dim),
        crossover=torch.where(mixed, crossover, num_sites),
        coords=generator.sample_coords(n, random),
        noise=normal(generator.synthesis.num_noise) if config.noise else None,
        labels=None if labels is None else labels[:n],
    )


def share_coords(
    coords: torch.Tensor, group: int, probability: float, random: torch.Generator
) -> torch.Tensor:
    """Give all images of some groups the coordinates of the group's first image.

    Args:
        coords: [N, num_subspaces, K], drawn for each image.
        group: group size of the minibatch standard deviation (``MinibatchStd``): sample i of N
            belongs to group i mod (N / group); all are one group when it does not divide N.
        probability: of each group to share, 0 to 1.
        random: the stream, on the device of coords.

    Returns:
        [N, num_subspaces, K]; the distribution of each single image is unchanged.
    """
    n = len(coords)
    if n % group:
        group = n
    shared = torch.rand(n // group, generator=random, device=coords.device) < probability
    groups = coords.unflatten(0, (group, -1))
    return torch.where(shared[:, None, None], groups[:1], groups).flatten(0, 1)


def mix_styles(generator: Generator, latents: Latents) -> tuple[torch.Tensor, torch.Tensor]:
    """Return w [N, w_dim] of z, and the sites' w [N, num_sites, w_dim] after style mixing.

    Source: Karras et al. 2019, Section 3.1.
    """
    w = generator.mapping(latents.z, latents.labels)
    other = generator.mapping(latents.z_other, latents.labels)
    site = torch.arange(len(generator.network.sites), device=w.device)
    follows_other = (site >= latents.crossover[:, None])[:, :, None]  # [N, num_sites, 1]
    return w, torch.where(follows_other, other[:, None], w[:, None])
