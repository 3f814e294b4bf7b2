"""Every mode and kind of subspace against DESIGN's equations, written again in numpy float64."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from segan.runtime.errors import ConfigError
from segan.train.networks.config import Mode, NetworkConfig, SubspaceConfig
from segan.train.networks.stylegan2.generator import Generator
from segan.train.networks.stylegan2.subspace import (
    FeatureBasis,
    orthonormal,
    orthonormality_penalty,
)

Array = NDArray[np.float64]
Kind = Literal["eigen", "diagonal"]

NETWORK = NetworkConfig(
    resolution=16,
    img_channels=2,
    z_dim=5,
    w_dim=7,
    mapping_layers=2,
    channel_base=64,
    channel_max=6,
)
MODES: tuple[Mode, ...] = (1, 2, 3)
KINDS: tuple[Kind, ...] = ("eigen", "diagonal")
EACH = [(mode, kind, place) for mode in MODES for kind in KINDS for place in ("first", "all")]


def build(mode: Mode, kind: Kind = "eigen", place: str = "first", dims: int = 3) -> Generator:
    """A generator in float64 of which every subspace parameter is random, none at a fixed point."""
    torch.manual_seed(0)
    placement: Literal["first", "all"] = "all" if place == "all" else "first"
    config = SubspaceConfig(mode=mode, kind=kind, dims=dims, placement=placement)
    generator = Generator(NETWORK, config).double()
    for part in (generator.subspaces, generator.synthesis.bases):
        for parameter in part.parameters():
            nn.init.normal_(parameter)
    nn.init.normal_(generator.w_avg)
    return generator.requires_grad_(False)


def subspace_parameters(generator: Generator, row: int) -> dict[str, Array]:
    site = generator.network.sites[generator.table[row].site]
    found = dict(generator.subspaces[row].named_parameters())
    if site.name.replace(".", "_") in generator.synthesis.bases:
        found |= dict(generator.synthesis.bases[site.name.replace(".", "_")].named_parameters())
    return {name: value.numpy() for name, value in found.items()}


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.RandomState(seed).randn(*shape))


@pytest.mark.parametrize(("mode", "kind", "place"), EACH)
def test_equations_on_w(mode: Mode, kind: Kind, place: str) -> None:
    """Modes 2 and 3 act on w; mode 1 leaves w alone and gives its scaled coordinates."""
    generator = build(mode, kind, place)
    n, k = 4, generator.coords_shape[1]
    w, coords = randn(n, 8, 7), randn(n, *generator.coords_shape, seed=1)
    ws, shifts = generator.offsets(w, coords)
    expected = w.numpy().copy()
    expected_shifts = np.zeros((n, len(generator.table), k))
    for row, entry in enumerate(generator.table):
        p = subspace_parameters(generator, row)
        for sample in range(n):
            style, a = w.numpy()[sample, entry.site], coords.numpy()[sample, row]
            weight = np.diag(p["importance"])
            if (mode, kind) == (2, "eigen"):
                result = style + p["basis"] @ (weight @ a) + p["mean"]
            elif (mode, kind) == (2, "diagonal"):
                result = np.diag(p["scale"]) @ weight @ ((1 + a) * style) + p["mean"]
            elif (mode, kind) == (3, "eigen"):
                result = style + weight @ a
            elif (mode, kind) == (3, "diagonal"):
                result = weight @ ((1 + a) * style)
            else:
                expected_shifts[sample, row] = weight @ (a if kind == "eigen" else (1 + a) * style)
                result = style
            expected[sample, entry.site] = result
    np.testing.assert_allclose(ws.numpy(), expected, atol=1e-12)
    assert (shifts is not None) == (mode == 1)
    if shifts is not None:
        np.testing.assert_allclose(shifts.numpy(), expected_shifts, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", ["first", "all"])
def test_mode_1_shifts_the_feature_map_after_the_site(kind: Kind, place: str) -> None:
    """x + U (L ⊙ a) + μ after each site's activation; for to_rgb on that layer's RGB image."""
    generator = build(1, kind, place)
    synthesis = generator.synthesis
    w, coords = randn(3, 8, 7), randn(3, *generator.coords_shape, seed=1)
    seen: dict[str, list[torch.Tensor]] = {}
    for block in synthesis.block_list():
        for name, module in block.site_modules():
            module.register_forward_hook(
                lambda _m, args, out, name=name: seen.__setitem__(name, [args[0], out])
            )
    ws, shifts = generator.offsets(w, coords)
    image = synthesis(ws, shifts, None)
    after: dict[str, Array] = {name: out.numpy() for name, (_, out) in seen.items()}
    for row, entry in enumerate(generator.table):
        site = generator.network.sites[entry.site]
        p = subspace_parameters(generator, row)
        a = coords.numpy()[:, row]
        t = p["importance"] * (a if kind == "eigen" else (1 + a) * w.numpy()[:, entry.site])
        shift = np.stack([p["basis"] @ t[n] for n in range(3)])
        after[site.name] = after[site.name] + shift.reshape(after[site.name].shape) + p["mean"]
    # What a site passes on is what the next one was given.
    names = [site.name for site in generator.network.sites]
    last = None
    for name in names:
        if last is not None:
            np.testing.assert_allclose(seen[name][0].numpy(), after[last], atol=1e-12)
        if not name.endswith("to_rgb"):
            last = name
    total = after["b4.to_rgb"]
    for name in ("b8.to_rgb", "b16.to_rgb"):
        padded = np.pad(total.repeat(2, -1).repeat(2, -2), ((0, 0), (0, 0), (1, 1), (1, 1)))
        # Nearest neighbours blurred by [1/4, 1/2, 1/4] are [1, 3, 3, 1] upsampling inside.
        blur = sum(
            w_a * w_b * padded[..., a : a + padded.shape[-2] - 2, b : b + padded.shape[-1] - 2]
            for a, w_a in enumerate((0.25, 0.5, 0.25))
            for b, w_b in enumerate((0.25, 0.5, 0.25))
        )
        total = blur + after[name]
    np.testing.assert_allclose(image.numpy(), total, atol=1e-10)


@pytest.mark.parametrize(("mode", "kind", "place"), EACH)
def test_no_coordinates_are_zero_coordinates(mode: Mode, kind: Kind, place: str) -> None:
    generator = build(mode, kind, place)
    z = randn(2, 5)
    zero = torch.zeros(2, *generator.coords_shape, dtype=torch.float64)
    torch.testing.assert_close(generator(z), generator(z, coords=zero), rtol=0, atol=0)
    assert not torch.allclose(generator(z), generator(z, coords=zero + 0.5))


@pytest.mark.parametrize(("mode", "kind", "place"), EACH)
def test_padding_of_the_coordinates_is_ignored(mode: Mode, kind: Kind, place: str) -> None:
    generator = build(mode, kind, place)
    z, coords = randn(2, 5), randn(2, *generator.coords_shape, seed=1)
    padded = torch.cat([coords, torch.full((2, len(generator.table), 3), 1e6)], dim=2).double()
    torch.testing.assert_close(
        generator(z, coords=coords), generator(z, coords=padded), rtol=0, atol=0
    )


@pytest.mark.parametrize("kind", KINDS)
def test_mode_0_has_no_subspaces_and_passes_w_unchanged(kind: Kind) -> None:
    generator = build(0, kind)
    w = randn(2, 8, 7)
    ws, shifts = generator.offsets(w, None)
    assert shifts is None
    assert torch.equal(ws, w)
    assert generator.coords_shape == (0, 0)
    assert generator.table == ()
    assert generator.sample_coords(3, torch.Generator()) is None
    assert not list(generator.subspaces.parameters())
    assert not list(generator.synthesis.bases.parameters())


@pytest.mark.parametrize("mode", MODES)
def test_diagonal_starts_as_stylegan2_in_modes_2_and_3(mode: Mode) -> None:
    generator = Generator(NETWORK, SubspaceConfig(mode=mode, kind="diagonal"))
    w = torch.randn(2, 8, 7)
    ws, shifts = generator.offsets(w, None)
    torch.testing.assert_close(ws, w)
    if mode == 1:
        torch.testing.assert_close(shifts, w)


@pytest.mark.parametrize("psi", [0.0, 0.4, 1.0])
def test_truncation_comes_before_the_subspace(psi: float) -> None:
    generator = build(2)
    z, coords = randn(2, 5), randn(2, *generator.coords_shape, seed=1)
    strength = np.full((2, 8), psi)
    strength[:, 5:] = 1.0  # a cutoff: the last three sites keep their own w
    w = generator.mapping(z).numpy()[:, None].repeat(8, axis=1)
    mean = generator.w_avg.numpy()
    ws = mean + strength[:, :, None] * (w - mean)
    for row, entry in enumerate(generator.table):
        p = subspace_parameters(generator, row)
        ws[:, entry.site] += (p["importance"] * coords.numpy()[:, row]) @ p["basis"].T + p["mean"]
    expected = generator.synthesis(torch.from_numpy(ws))
    actual = generator(z, coords=coords, psi=torch.from_numpy(strength))
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("mode", [0, *MODES])
@pytest.mark.parametrize("kind", KINDS)
def test_psi_0_without_coordinates_is_the_mean_image(mode: Mode, kind: Kind) -> None:
    generator = build(mode, kind)
    images = generator(randn(3, 5), psi=0.0)
    torch.testing.assert_close(images[1:], images[:1].expand(2, -1, -1, -1), rtol=0, atol=1e-12)
    ws, shifts = generator.offsets(generator.w_avg.expand(1, 8, -1), None)
    torch.testing.assert_close(images[:1], generator.synthesis(ws, shifts), rtol=0, atol=1e-12)
    assert not torch.allclose(generator(randn(3, 5))[1:], images[:1])


def test_a_number_for_psi_is_that_number_at_every_site() -> None:
    generator = build(2)
    z = randn(2, 5)
    everywhere = torch.full((2, 8), 0.7, dtype=torch.float64)
    torch.testing.assert_close(
        generator(z, psi=0.7), generator(z, psi=everywhere), rtol=0, atol=1e-12
    )
    torch.testing.assert_close(generator(z, psi=1), generator(z), rtol=0, atol=0)


@pytest.mark.parametrize("mode", [1, 2])
def test_bases_start_orthonormal(mode: Mode) -> None:
    generator = Generator(NETWORK, SubspaceConfig(mode=mode, dims=5, placement="all")).double()
    bases = generator.eigen_bases()
    assert len(bases) == 8
    for basis in bases:
        gram = basis.detach().numpy().T @ basis.detach().numpy()
        np.testing.assert_allclose(gram, np.eye(5), atol=1e-6)
    assert orthonormality_penalty(bases).item() < 1e-10


def test_a_wide_feature_basis_has_orthonormal_rows() -> None:
    """Of 16 values (grey, 4²) no 20 directions are orthogonal; such a basis is not penalised."""
    basis = FeatureBasis(1, 4, 20).basis.detach()
    torch.testing.assert_close(basis @ basis.t(), torch.eye(16), rtol=0, atol=1e-5)
    grey = NetworkConfig(resolution=8, img_channels=1, channel_base=64, channel_max=8, w_dim=20)
    config = SubspaceConfig(mode=1, placement="all", dims=20)
    assert len(Generator(grey, config).eigen_bases()) == 4  # b4.to_rgb is left out


def test_orthonormality_penalty_in_closed_form() -> None:
    bases = [orthonormal(9, 4).double(), orthonormal(20, 3).double()]
    exact = [torch.linalg.qr(basis).Q for basis in bases]
    assert orthonormality_penalty([]).item() == 0
    assert orthonormality_penalty(exact).item() == pytest.approx(0, abs=1e-25)
    # U scaled by 2: UᵀU - I = 3 I, so (4 - 1)² for each coordinate.
    assert orthonormality_penalty([2 * u for u in exact]).item() == pytest.approx(9 * (4 + 3))
    random = randn(6, 4).requires_grad_()
    penalty = orthonormality_penalty([random])
    gram = random.detach().numpy().T @ random.detach().numpy() - np.eye(4)
    assert penalty.item() == pytest.approx((gram**2).sum())
    (gradient,) = torch.autograd.grad(penalty, random)
    np.testing.assert_allclose(gradient.numpy(), 4 * random.detach().numpy() @ gram, atol=1e-10)


@pytest.mark.parametrize(("mode", "kind", "place"), EACH)
def test_gradients_reach_every_subspace_parameter(mode: Mode, kind: Kind, place: str) -> None:
    generator = build(mode, kind, place).requires_grad_()
    z, coords = randn(4, 5), randn(4, *generator.coords_shape, seed=1)
    (generator(z, coords=coords) * randn(4, 2, 16, 16, seed=2)).sum().backward()
    names = {"importance"}
    if mode == 1 or (mode, kind) == (2, "eigen"):
        names |= {"basis", "mean"}
    elif (mode, kind) == (2, "diagonal"):
        names |= {"scale", "mean"}
    found = set()
    for part in (generator.subspaces, generator.synthesis.bases):
        for name, parameter in part.named_parameters():
            found.add(name.rsplit(".", 1)[1])
            assert parameter.grad is not None, name
            assert bool((parameter.grad != 0).any()), name
    assert found == names


def test_table_of_eigen_subspaces_at_the_first_convolution_of_each_layer() -> None:
    table = SubspaceConfig().table(NetworkConfig(resolution=64))
    sites = NetworkConfig(resolution=64).sites
    assert [sites[row.site].name for row in table] == [
        "b4.conv1", "b8.conv0", "b16.conv0", "b32.conv0", "b64.conv0",
    ]  # fmt: skip
    assert [row.layer for row in table] == [0, 1, 2, 3, 4]
    assert {(row.index, row.dims, row.prior) for row in table} == {(0, 6, "uniform")}
    assert {(row.low, row.high) for row in table} == {(-math.sqrt(3), math.sqrt(3))}


@pytest.mark.parametrize(("mode", "kind", "place"), EACH)
def test_table_of_every_mode(mode: Mode, kind: Kind, place: str) -> None:
    generator = build(mode, kind, place)
    everywhere = kind == "diagonal" or place == "all"
    assert len(generator.table) == (8 if everywhere else 3)
    dims = 3 if kind == "eigen" and mode in (1, 2) else 7
    assert generator.coords_shape == (len(generator.table), dims)
    assert {row.dims for row in generator.table} == {dims}
    assert {row.prior for row in generator.table} == {"uniform" if kind == "eigen" else "zero"}
    slots = [(row.layer, row.index) for row in generator.table]
    by_hand = [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)]
    assert slots == (by_hand if everywhere else [(0, 0), (1, 0), (2, 0)])


def test_more_coordinates_than_dimensions_are_refused_where_a_basis_needs_them() -> None:
    with pytest.raises(ConfigError, match=r"dims is 8; expected at most w_dim, 7"):
        SubspaceConfig(mode=2, dims=8).table(NETWORK)
    assert len(SubspaceConfig(mode=3, dims=8).table(NETWORK)) == 3


@pytest.mark.parametrize("prior", ["uniform", "normal"])
def test_sampled_coordinates_have_variance_1(prior: Literal["uniform", "normal"]) -> None:
    generator = Generator(NETWORK, SubspaceConfig(prior=prior, dims=3))
    coords = generator.sample_coords(20000, torch.Generator().manual_seed(1))
    assert coords is not None
    assert coords.shape == (20000, 3, 3)
    flat = coords.flatten(1).double().numpy()
    np.testing.assert_allclose(flat.mean(axis=0), 0, atol=0.04)
    np.testing.assert_allclose(np.cov(flat.T), np.eye(9), atol=0.05)
    kurtosis = (flat**4).mean()
    assert kurtosis == pytest.approx(1.8 if prior == "uniform" else 3.0, rel=0.05)
    if prior == "uniform":
        assert np.abs(flat).max() <= math.sqrt(3) + 1e-6
    assert (
        Generator(NETWORK, SubspaceConfig(kind="diagonal")).sample_coords(2, torch.Generator())
        is None
    )


def test_mode_3_starts_with_the_same_total_variance_as_mode_2() -> None:
    # Σ L² over a subspace's coordinates: K·9 in mode 2, w_dim·L² in mode 3.
    totals = []
    for mode in (2, 3):
        generator = Generator(NETWORK, SubspaceConfig(mode=2 if mode == 2 else 3, dims=3))
        importance = dict(generator.subspaces[0].named_parameters())["importance"]
        totals.append(float(importance.detach().square().sum()))
    assert totals == pytest.approx([27.0, 27.0])
