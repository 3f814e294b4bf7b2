"""The exported modules against the generator's own forward pass, in float64."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import torch
from torch import nn

from segan.export.graphs.lowering import LOWERINGS
from segan.export.graphs.stylegan2.graphs import MappingGraph, OffsetsGraph, SynthesisGraph
from segan.train.networks.stylegan2.generator import Generator
from segan.train.networks.stylegan2.subspace import EigenOffset, EigenShift, FeatureBasis

Make = Callable[..., Generator]

SUBSPACES = [
    {"mode": mode, "kind": kind, "placement": placement}
    for mode, kind, placement in itertools.product(
        range(4), ["eigen", "diagonal"], ["first", "all"]
    )
    if (mode, kind) != (0, "diagonal")
]


def inputs(generator: Generator, n: int = 3) -> dict[str, Any]:
    """Random inputs of the generator, with different psi for every image and site."""
    random = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=random, dtype=torch.float64)

    network = generator.network
    classes = [number % max(1, network.c_dim) for number in range(n)]
    return {
        "z": draw(n, network.z_dim),
        "c": torch.eye(network.c_dim, dtype=torch.float64)[classes] if network.c_dim else None,
        "coords": draw(n, *generator.coords_shape) if generator.table else None,
        "psi": torch.rand(n, len(network.sites), generator=random, dtype=torch.float64),
        "noise": draw(n, generator.synthesis.num_noise),
    }


def run_graphs(generator: Generator, given: dict[str, Any], form: str) -> torch.Tensor:
    lowering: Any = {site.name: form for site in generator.network.sites if site.kind == "up"}
    w = generator.broadcast(MappingGraph(generator)(given["z"], given["c"]))
    found = OffsetsGraph(generator)(w, given["psi"], given["coords"])
    ws, shifts = found if isinstance(found, tuple) else (found, None)
    image = SynthesisGraph(generator, lowering)(ws, shifts, given["noise"])
    assert isinstance(image, torch.Tensor)
    return image


def check(generator: Generator, form: str) -> None:
    generator = generator.double()
    given = inputs(generator)
    expected = generator(**given)
    found = run_graphs(generator, given, form)
    assert found.shape == expected.shape
    assert (found - expected).abs().max().item() <= 1e-10
    # The coordinates and the noise change the image, so the comparison covers them.
    for name in ("coords", "noise"):
        if given[name] is not None:
            moved = generator(**given | {name: given[name] + 0.1})
            assert (moved - expected).abs().max().item() > 1e-3


@pytest.mark.parametrize("form", LOWERINGS)
@pytest.mark.parametrize("architecture", ["skip", "residual", "original"])
@pytest.mark.parametrize("subspace", SUBSPACES, ids=lambda s: "-".join(map(str, s.values())))
def test_every_kind(
    make_generator: Make, subspace: dict[str, Any], architecture: str, form: str
) -> None:
    check(make_generator(architecture=architecture, resolution=16, **subspace), form)


@pytest.mark.parametrize("img_channels", [1, 2, 4])
@pytest.mark.parametrize("c_dim", [0, 1, 3])
def test_channels_and_classes(make_generator: Make, img_channels: int, c_dim: int) -> None:
    check(make_generator(img_channels=img_channels, c_dim=c_dim), "subpixel")


def test_channels_that_change(make_generator: Make) -> None:
    for architecture in ("skip", "residual"):
        generator = make_generator(
            architecture=architecture, resolution=32, channel_base=64, channel_max=8
        )
        assert generator.network.channels(32) == 2
        check(generator, "folded")


def test_one_noise_for_the_batch_and_none(make_generator: Make) -> None:
    generator = make_generator().double()
    for noise in (generator.synthesis.noise_const().double(), None):
        given = inputs(generator) | {"noise": noise}
        difference = run_graphs(generator, given, "transposed") - generator(**given)
        assert difference.abs().max().item() <= 1e-10


@pytest.mark.parametrize("mode", [1, 2])
def test_columns_past_a_subspace_are_ignored(make_generator: Make, mode: int) -> None:
    generator = make_generator(mode=mode, dims=4)
    entry, network = generator.table[1], generator.network
    generator.table = (
        generator.table[0],
        msgspec.structs.replace(entry, dims=2),
        *generator.table[2:],
    )
    if mode == 2:
        generator.subspaces[1] = EigenOffset(network.w_dim, 2, 3.0)
    else:
        generator.subspaces[1] = EigenShift(2, 3.0)
        site = network.sites[entry.site]
        basis: nn.Module = FeatureBasis(network.channels(site.resolution), site.resolution, 2)
        generator.synthesis.bases[site.name.replace(".", "_")] = basis
    generator = generator.double()
    given = inputs(generator)
    expected = generator(**given)
    given["coords"][:, 1, 2:] = 1e6
    difference = run_graphs(generator, given, "transposed") - expected
    assert difference.abs().max().item() <= 1e-10
