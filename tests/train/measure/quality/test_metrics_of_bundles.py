"""A bundle's scores against its checkpoint's: the same seeds, the same images, the same numbers."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from segan.export import ExportConfig, export_bundle
from segan.runtime.errors import ConfigError
from segan.train.data.dataset import build_dataset
from segan.train.measure.models.model import ImageOptions, MeasuredModel
from segan.train.measure.models.open import Compute, open_model
from segan.train.measure.models.torch_graphs import generator_model
from segan.train.measure.quality.context import MetricContext
from segan.train.measure.quality.detectors import DetectorSet
from segan.train.measure.quality.evaluate import compare
from segan.train.measure.quality.registry import parse_metric

Make = Callable[..., Any]

CPU = Compute(backend="cpu")


class Pixels(torch.nn.Module):
    """Features are means of 2 × 2 pixels."""

    def forward(
        self,
        x: torch.Tensor,
        return_features: bool = False,
        resize_images: bool = True,
        return_lpips: bool = False,
    ) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(x.float() / 255, 2).flatten(1)


@pytest.fixture
def detectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DetectorSet:
    monkeypatch.setenv("SEGAN_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "pixels.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the end of TorchScript
        torch.jit.script(Pixels()).save(str(path))
    return DetectorSet(torch.device("cpu"), 8, {"inception": path, "vgg16": path})


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"mode": 2, "c_dim": 3}, {"mode": 1, "kind": "eigen"}])
def test_a_seed_is_the_same_image_in_both(
    build_generator: Make, tmp_path: Path, settings: dict[str, Any]
) -> None:
    generator = build_generator(**settings)
    export_bundle(generator, tmp_path / "g.segan", ExportConfig(batch_sizes=(1,)))
    for asked in (
        ImageOptions(batch_size=5),
        ImageOptions(psi=0.6, noise="const"),
        ImageOptions(psi=0.0, noise="none"),
    ):
        bundle = open_model(tmp_path / "g.segan", asked, CPU)
        plain = generator_model(generator, asked)
        assert bundle.noise == plain.noise
        for field in ("sites", "subspaces", "coords_dim", "mode", "z_dim", "w_dim", "c_dim"):
            assert getattr(bundle.manifest, field) == getattr(plain.manifest, field)
        seeds = range(7, 20)
        one = np.concatenate(list(bundle.images(seeds))).astype(int)
        two = np.concatenate(list(plain.images(seeds))).astype(int)
        assert np.abs(one - two).max() <= 1
        assert (one != two).mean() < 0.01
        codes, expected = bundle.codes([1, 2]), plain.codes([1, 2])
        np.testing.assert_allclose(codes.w, expected.w, atol=1e-5)
        assert np.array_equal(codes.coords, expected.coords)
        torch.testing.assert_close(bundle.render([1, 2]), plain.render([1, 2]), atol=1e-4, rtol=0)
        if asked.psi == 0 and not settings.get("c_dim"):
            assert (one == one[:1]).all()  # the mean image


@pytest.mark.slow
def test_engine_against_checkpoint(
    build_generator: Make, tmp_path: Path, detectors: DetectorSet
) -> None:
    pytest.importorskip("openvino", reason="needs openvino; the bare environment has none")
    generator = build_generator(mode=2)
    export_bundle(generator, tmp_path / "g.segan", ExportConfig(batch_sizes=(1,)))
    images = np.random.RandomState(0).randint(0, 256, (150, 3, 8, 8)).astype(np.uint8)
    data = build_dataset("noise", images)

    def context(model: MeasuredModel) -> MetricContext:
        return MetricContext(model, detectors, data)

    metrics = [parse_metric(name) for name in ("fid100_full", "kid100_full", "pr1k3_full")]
    plain = context(generator_model(generator))
    for backend in ("cpu", "openvino"):
        compute = Compute(backend=backend, precision="fp32")
        bundle = open_model(tmp_path / "g.segan", compute=compute)
        for entry in compare(metrics, context(bundle), plain, resamples=20):
            assert entry.model.protocol.backend == backend
            assert entry.against.protocol.backend == "torch"
            # The stated tolerance: 0.1 % of the score, where some pixels differ by one step.
            assert entry.difference.value == pytest.approx(0, abs=1e-3 * abs(entry.model.value))
            assert entry.difference.interval is not None
            assert entry.model.model.kind == "bundle"
            assert len(entry.model.model.sha256) == 64


def test_a_generator_without_noise(toy_bundle_plain: Path, toy_bundle_zip: Path) -> None:
    model = open_model(toy_bundle_plain, compute=CPU)
    assert model.noise == "none"
    assert model.record.kimg is None
    for wrong in ({"noise": "random"}, {"psi": 2}, {"batch_size": 0}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            open_model(toy_bundle_plain, ImageOptions(**wrong), CPU)
    grey = open_model(toy_bundle_zip, compute=CPU)
    assert grey.manifest.img_channels == 1
    assert grey.classes_of([0, 1, 2]) is not None


def test_alpha_is_refused(build_generator: Make) -> None:
    with pytest.raises(ConfigError) as error:
        generator_model(build_generator(img_channels=4))
    assert (error.value.field, error.value.value) == ("img_channels", 4)


def test_a_checkpoint_runs_in_pytorch_and_a_bundle_does_not(
    toy_bundle_plain: Path, make_run: Callable[..., Path]
) -> None:
    run = make_run()
    for compute, field in (
        (Compute(backend="cpu"), "backend"),
        (Compute(precision="fp16"), "precision"),
    ):
        with pytest.raises(ConfigError) as error:
            open_model(run, compute=compute)
        assert error.value.field == field
    with pytest.raises(ConfigError) as error:
        open_model(toy_bundle_plain, compute=Compute(backend="torch"))
    assert (error.value.field, error.value.value) == ("backend", "torch")
