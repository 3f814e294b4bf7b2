from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from segan.runtime.benchmark.cost import count_macs
from segan.runtime.bundle.layout import build_sites
from segan.runtime.bundle.manifest import Manifest
from segan.runtime.bundle.reader import open_bundle
from segan.runtime.graphs.wire import SIZED, VARINT, tag, varint


def field(number: int, value: int | str | bytes) -> bytes:
    """One protobuf field: an int as a varint, the rest with its length."""
    if isinstance(value, int):
        return tag(number, VARINT) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return tag(number, SIZED) + varint(len(data)) + data


def _weight(name: str, *dims: int) -> bytes:
    """TensorProto without values."""
    return b"".join(field(1, size) for size in dims) + field(2, 1) + field(8, name)


def _convolution(kind: str, weight: str, groups: int = 1) -> bytes:
    """NodeProto with the attribute group."""
    group = field(1, "group") + field(3, groups) + field(20, 2)
    return field(1, "x") + field(1, weight) + field(2, "y") + field(4, kind) + field(5, group)


def _graph(manifest: Manifest, channels: dict[int, int], form: str) -> bytes:
    """A synthesis graph's convolutions, as export writes them; nothing else of it."""
    weights, nodes = [], []
    for site in manifest.sites:
        own = channels[site.resolution]
        below = channels.get(site.resolution // 2, own)
        name = f"{site.name}.weight"
        if site.kind == "rgb":
            weights.append(_weight(name, 3, own, 1, 1))
        elif not site.name.endswith("conv0"):
            weights.append(_weight(name, own, own, 3, 3))
        else:
            name = f"{site.name}.convolution.weight"
            shape = {
                "transposed": (below, own, 3, 3),
                "subpixel": (4 * own, below, 2, 2),
                "folded": (4 * own, below, 3, 3),
            }[form]
            weights.append(_weight(name, *shape))
            fir = f"{site.name}.convolution.fir"
            weights.append(_weight(fir, own, 1, 4, 4))
            nodes.append(_convolution("Conv", fir, groups=own))
            if form == "transposed":
                nodes.append(_convolution("ConvTranspose", name))
                continue
        nodes.append(_convolution("Conv", name))
    parts = [field(1, node) for node in nodes] + [field(5, weight) for weight in weights]
    return b"".join(parts)


def _model(graph: bytes) -> bytes:
    return field(1, 8) + field(7, graph) + field(8, field(2, 18))


def _manifest(base: Manifest, resolution: int, form: str) -> Manifest:
    sites = build_sites(resolution)
    lowering = {site.name: form for site in sites if site.name.endswith("conv0")}
    return msgspec.structs.replace(base, resolution=resolution, sites=sites, lowering=lowering)


@pytest.mark.parametrize("form", ["transposed", "subpixel", "folded"])
@pytest.mark.parametrize(
    ("resolution", "channel_base", "channel_max", "gmac"),
    # The paper preset has 128 channels everywhere; the figures are those of the design.
    [(64, 1 << 20, 128, 1.0), (256, 16384, 512, 14.9), (1024, 32768, 512, 74)],
)
def test_the_cost_is_that_of_the_network_in_every_form(
    form: str, resolution: int, channel_base: int, channel_max: int, gmac: float, toy_bundle: Path
) -> None:
    manifest = _manifest(open_bundle(toy_bundle).manifest, resolution, form)
    sizes = {site.resolution for site in manifest.sites}
    channels = {size: min(channel_base // size, channel_max) for size in sizes}
    found = count_macs(_model(_graph(manifest, channels, form)), manifest)
    assert found is not None
    assert found / 1e9 == pytest.approx(gmac, rel=0.01)


def _around(manifest: Manifest, channels: dict[int, int], form: str) -> bytes:
    """The residual path of each block: 1 × 1, in the folded form grown by the filter and phases."""
    weights, nodes = [], []
    for size, own in channels.items():
        if size > 4:
            below = channels[size // 2]
            name, shape = f"b{size}.around.0.weight", (own, below, 1, 1)
            if form == "folded":
                name, shape = f"b{size}.around.weight", (4 * own, below, 3, 3)
            weights.append(_weight(name, *shape))
            nodes.append(_convolution("Conv", name))
    return b"".join([field(1, node) for node in nodes] + [field(5, weight) for weight in weights])


@pytest.mark.parametrize("form", ["transposed", "subpixel", "folded"])
def test_the_residual_path_costs_a_pointwise_convolution_before_doubling(
    form: str, toy_bundle: Path
) -> None:
    manifest = _manifest(open_bundle(toy_bundle).manifest, 16, form)
    channels = {4: 12, 8: 10, 16: 6}
    sites = count_macs(_model(_graph(manifest, channels, form)), manifest)
    assert sites is not None
    # By hand: 12 → 10 channels at 4², then 10 → 6 at 8².
    whole = _model(_graph(manifest, channels, form) + _around(manifest, channels, form))
    assert count_macs(whole, manifest) == sites + 12 * 10 * 16 + 10 * 6 * 64


def test_the_cost_of_each_form_by_hand(toy_bundle: Path) -> None:
    channels = {4: 12, 8: 10}
    at_4, doubled, at_8 = 9 * 12 * 12 * 16, 9 * 12 * 10 * 16, 9 * 10 * 10 * 64
    to_rgb = 3 * 12 * 16 + 3 * 10 * 64
    for form in ("transposed", "subpixel", "folded"):
        manifest = _manifest(open_bundle(toy_bundle).manifest, 8, form)
        found = count_macs(_model(_graph(manifest, channels, form)), manifest)
        assert found == at_4 + doubled + at_8 + to_rgb


def test_a_transposed_convolution_needs_no_statement_of_the_form(toy_bundle: Path) -> None:
    manifest = _manifest(open_bundle(toy_bundle).manifest, 16, "transposed")
    channels = {4: 12, 8: 10, 16: 6}
    graph = _graph(manifest, channels, "transposed")
    unstated = msgspec.structs.replace(manifest, lowering={})
    assert count_macs(graph, unstated) == count_macs(graph, manifest)


def test_the_graph_that_export_writes_is_understood(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="needs onnxscript; the bare environment has none")
    import torch

    from segan.export import ExportConfig, export_bundle
    from segan.export.graphs.family import graphs_of
    from segan.export.precisions.add import synthesis_onnx
    from segan.train.networks.config import NetworkConfig, SubspaceConfig
    from segan.train.networks.stylegan2.generator import Generator

    torch.manual_seed(0)
    network = NetworkConfig(
        resolution=16, z_dim=8, w_dim=8, channel_base=128, channel_max=8, architecture="residual"
    )
    generator = Generator(network, SubspaceConfig(mode=0)).eval()
    # By hand, of 8 channels everywhere: 3 × 3 at 4², then twice the half and the full resolution,
    # the 1 × 1 path around at the half, and one 1 × 1 to RGB at the end.
    c, at = 8, {size: size**2 for size in (4, 8, 16)}
    expected = 9 * c * c * at[4]
    for size in (8, 16):
        expected += 9 * c * c * (at[size // 2] + at[size]) + c * c * at[size // 2]
    expected += c * 3 * at[16]
    path = tmp_path / "g.segan"
    export_bundle(generator, path, ExportConfig(lowering="transposed", batch_sizes=(1,)))
    bundle = open_bundle(path)
    assert count_macs(bundle.read("synthesis.onnx"), bundle.manifest) == expected
    for form in ("subpixel", "folded"):
        lowering: Any = dict.fromkeys(bundle.manifest.lowering, form)
        graph = synthesis_onnx(generator, graphs_of(generator).synthesis(lowering))
        manifest = msgspec.structs.replace(bundle.manifest, lowering=lowering)
        assert count_macs(graph, manifest) == expected


def test_graphs_of_another_make_have_no_cost(toy_bundle: Path) -> None:
    bundle = open_bundle(toy_bundle)
    assert count_macs(bundle.read("synthesis.onnx"), bundle.manifest) is None
    assert count_macs(b"\xff\xff", bundle.manifest) is None
