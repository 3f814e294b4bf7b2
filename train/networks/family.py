"""Families of networks by name, and the two networks of given settings.

A new family is a folder next to ``stylegan2`` whose generator and discriminator have the methods of
these, and an entry in ``FAMILIES``.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from segan.runtime.bundle.manifest import FORMAT
from segan.train.networks.config import NetworkConfig, SubspaceConfig
from segan.train.networks.stylegan2.discriminator import Discriminator
from segan.train.networks.stylegan2.generator import Generator

__all__ = [
    "FAMILIES",
    "Discriminator",
    "Family",
    "Generator",
    "build",
    "build_generator",
    "manifest_fields",
]


class Family(NamedTuple):
    """The two networks of a family.

    Attributes:
        generator: makes G from shapes and subspaces.
        discriminator: makes D from shapes and the number of coordinates that D predicts.
    """

    generator: type[Generator]
    discriminator: type[Discriminator]


FAMILIES: Final = {"stylegan2": Family(Generator, Discriminator)}


def build_generator(network: NetworkConfig, subspace: SubspaceConfig) -> Generator:
    """G with weights from torch's global stream, on its default device."""
    return FAMILIES[network.family].generator(network, subspace)


def build(network: NetworkConfig, subspace: SubspaceConfig) -> tuple[Generator, Discriminator]:
    """G and D with weights from torch's global stream, on its default device.

    D predicts the coordinates where training draws them and has an information term.
    """
    generator = build_generator(network, subspace)
    rows, dims = generator.coords_shape
    informed = subspace.sampled and subspace.information_weight > 0
    discriminator = FAMILIES[network.family].discriminator
    return generator, discriminator(network, rows * dims if informed else 0)


def manifest_fields(generator: Generator) -> dict[str, Any]:
    """Return the fields of a bundle's manifest that follow from the generator alone."""
    network = generator.network
    return {
        "format": FORMAT,
        "resolution": network.resolution,
        "img_channels": network.img_channels,
        "z_dim": network.z_dim,
        "w_dim": network.w_dim,
        "c_dim": network.c_dim,
        "architecture": network.architecture,
        "mode": generator.subspace.mode,
        "subspace": generator.subspace.kind,
        "coords_dim": generator.coords_shape[1],
        "sites": network.sites,
        "subspaces": tuple(generator.table),
    }
