from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from segan.export import ExportConfig, export_bundle
from segan.export.graphs.stylegan2.equalize import equalize_channels
from segan.export.graphs.stylegan2.graphs import SynthesisGraph
from segan.export.graphs.stylegan2.half import parts_of
from segan.export.precisions.add import synthesis_onnx
from segan.export.precisions.int8 import _channel_maxima, draft_int8
from segan.runtime import load
from segan.runtime.backends.choose import open_session
from segan.train.networks.config import NetworkConfig, SubspaceConfig
from segan.train.networks.stylegan2.generator import Generator

FORMS = ("transposed", "subpixel", "folded")


def _generator(mode: int = 2, architecture: str = "skip", **network: Any) -> Generator:
    torch.manual_seed(3)
    given = {"resolution": 16, "z_dim": 24, "w_dim": 24, "channel_max": 32} | network
    generator = Generator(
        NetworkConfig(architecture=architecture, **given),  # type: ignore[arg-type]
        SubspaceConfig(mode=mode),  # type: ignore[arg-type]
    )
    return generator.eval().requires_grad_(False)


def _forms(generator: Generator, form: str) -> Any:
    return {site.name: form for site in generator.network.sites if site.kind == "up"}


def _feeds(generator: Generator, count: int = 4) -> dict[str, Any]:
    random = np.random.RandomState(0)
    sites = len(generator.network.sites)
    feeds = {"ws": random.randn(count, sites, generator.network.w_dim).astype(np.float32)}
    if generator.subspace.mode == 1:
        feeds["shifts"] = random.randn(count, *generator.coords_shape).astype(np.float32)
    feeds["noise"] = generator.synthesis.noise_const().detach().numpy()
    return feeds


def _run(model: bytes, feeds: dict[str, Any]) -> Any:
    with open_session(model, "cpu", name="synthesis") as session:
        return session.run(feeds)["image"]


def _psnr(found: Any, expected: Any) -> float:
    return float(10 * np.log10(4 / np.mean(np.square(found - expected, dtype=np.float64))))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("architecture", ["skip", "residual", "original"])
def test_balancing_changes_nothing_but_rounding(architecture: str, form: str) -> None:
    generator = _generator(architecture=architecture)
    feeds = {name: torch.from_numpy(value).double() for name, value in _feeds(generator).items()}
    with torch.inference_mode():
        expected = SynthesisGraph(generator, _forms(generator, form)).double()(**feeds)
    module = SynthesisGraph(generator, _forms(generator, form), parts_of(torch.float64))
    random = np.random.RandomState(1)
    maxima = {}
    for name, site in module.named_modules():
        if not hasattr(site, "affine"):
            continue
        channels = len(site.affine.bias)
        for node in ("Conv", "ConvTranspose"):
            for where in (name, f"{name}.convolution"):
                # Very uneven, with one channel that is 0 in calibration.
                maxima[f"{where}/{node}"] = np.exp(3 * random.randn(channels)).astype(np.float32)
                maxima[f"{where}/{node}"][:1] = 0
    equalize_channels(module, maxima)
    with torch.inference_mode():
        found = module.double()(**feeds)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_channel_maxima_are_those_of_the_modules_own_inputs() -> None:
    generator = _generator()
    module = SynthesisGraph(generator, _forms(generator, "transposed"))
    feeds = _feeds(generator)
    seen: dict[str, Any] = {}

    def keep(name: str) -> Any:
        def hook(_: Any, given: Any) -> None:
            seen[name] = given[0].abs().amax((0, 2, 3)).numpy()

        return hook

    # The input of an upsampling site's first convolution is x · s. The filter's input is not the
    # input of any module, so it is not compared.
    for name, site in module.named_modules():
        if name.endswith(".convolution"):
            site.register_forward_pre_hook(keep(f"{name}/ConvTranspose"))
    with torch.inference_mode():
        module.float()(**{name: torch.from_numpy(value) for name, value in feeds.items()})
    module = SynthesisGraph(generator, _forms(generator, "transposed"))
    found = _channel_maxima(synthesis_onnx(generator, module), [feeds])
    assert set(seen) == {
        "b8.conv0.convolution/ConvTranspose",
        "b16.conv0.convolution/ConvTranspose",
    }
    for name, maxima in seen.items():
        np.testing.assert_allclose(found[name], maxima, rtol=1e-4)


@pytest.mark.parametrize("mode", [0, 1, 2, 3])
def test_images_hold(mode: int) -> None:
    generator = _generator(mode)
    feeds = _feeds(generator)
    forms = _forms(generator, "transposed")
    draft = draft_int8(generator, forms, lambda graph: synthesis_onnx(generator, graph), [feeds])
    plain = _run(synthesis_onnx(generator, SynthesisGraph(generator, forms)), feeds)
    assert draft.resolutions() == [4, 8, 16]
    signal = 10 * np.log10(4 / np.mean(np.square(plain, dtype=np.float64)))
    noise = [_psnr(_run(draft.quantize(lowest), feeds), plain) - signal for lowest in (4, 8, 16)]
    # With 8 bits and a dozen layers the noise is 25 dB below the image; fewer layers have less.
    assert min(noise) > 25
    assert noise[0] < noise[2]


def test_convolutions_hold_int8_and_the_rest_does_not() -> None:
    generator = _generator()
    forms = _forms(generator, "transposed")
    draft = draft_int8(
        generator, forms, lambda graph: synthesis_onnx(generator, graph), [_feeds(generator)]
    )
    model = onnx.load_from_string(draft.quantize(8))
    made_by = {name: node for node in model.graph.node for name in node.output}
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type not in ("Conv", "ConvTranspose"):
            continue
        sources = [made_by.get(name) for name in node.input[:2]]
        is_int8 = [
            source is not None and source.op_type == "DequantizeLinear" for source in sources
        ]
        site = node.name.split(".")
        inside = site[0] != "b4" and site[1].startswith("conv")
        assert is_int8 == [inside, inside], node.name
        if inside:
            weight = sources[1]
            assert weight is not None
            assert types[weight.input[0]] == onnx.TensorProto.INT8
    assert len(draft.quantize(4)) < 0.55 * len(draft.model)


def test_export_writes_and_verifies_it(tmp_path: Path) -> None:
    generator = _generator()
    # Images of about [-1, 1]; untrained to_rgb layers make larger ones.
    for block in generator.synthesis.block_list():
        assert block.to_rgb is not None
        block.to_rgb.weight.mul_(0.3)
    path = tmp_path / "a.segan"
    result = export_bundle(generator, path, ExportConfig(precisions=("int8",)))
    manifest = result.manifest
    assert manifest.graphs.synthesis == {
        "fp32": "synthesis.onnx",
        "int8": "synthesis.int8.onnx",
    }
    assert result.sizes["synthesis.int8.onnx"] < 0.6 * result.sizes["synthesis.onnx"]
    records = [record for record in manifest.verification if record.precision == "int8"]
    assert "cpu" in {record.backend for record in records}
    for record in records:
        assert record.psnr_db >= 35
        with load(path, record.backend, precision="int8") as int8, load(path, "cpu") as fp32:
            assert int8.precision == "int8"
            ours, plain = (g.generate(range(8)).astype(float) for g in (int8, fp32))
            # Peak to peak 255. The record also has sliders past their ends.
            assert 10 * np.log10(255**2 / np.mean((ours - plain) ** 2)) > 33
    assert result.refused is None
    lowest = manifest.provenance["int8"]["from_resolution"]
    model = onnx.load(path / "synthesis.int8.onnx")
    quantized = {
        int(node.name.partition(".")[0][1:])
        for node in model.graph.node
        if node.op_type in ("Conv", "ConvTranspose")
        and node.input[1].endswith("_DequantizeLinear_Output")
    }
    assert quantized == {r for r in (4, 8, 16) if r >= lowest}


def test_without_images_that_hold_the_bundle_is_written_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from segan.export.precisions import verify as verify_reduced

    limits = verify_reduced.Limits(psnr_db=90, image_psnr_db=90, error=0.1, shift=0.1)
    monkeypatch.setitem(verify_reduced.LIMITS, "int8", limits)
    path = tmp_path / "a.segan"
    config = ExportConfig(precisions=("int8", "fp16"))
    result = export_bundle(_generator(), path, config)
    assert result.refused is not None
    assert (result.refused.field, result.refused.expected) == ("image_psnr_db", "90 dB or more")
    assert set(result.manifest.graphs.synthesis) == {"fp32", "fp16"}
    assert "int8" not in result.manifest.provenance
    assert not (path / "synthesis.int8.onnx").exists()
    with load(path, "cpu") as generator:
        assert len(generator.generate([1])) == 1
