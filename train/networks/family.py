"""Both networks of a configuration, as they are drawn."""

from __future__ import annotations

from segan.train.networks.stylegan2.discriminator import Discriminator
from segan.train.networks.stylegan2.generator import Generator
from segan.train.runs.config import TrainConfig


def build_networks(config: TrainConfig) -> tuple[Generator, Discriminator]:
    """G and D with weights from torch's global stream, on its default device.

    D gets a head for the coordinates where training draws them and has an information term.
    """
    generator = Generator(config.network, config.subspace)
    rows, dims = generator.coords_shape
    informed = config.subspace.sampled and config.subspace.information_weight > 0
    return generator, Discriminator(config.network, rows * dims if informed else 0)
