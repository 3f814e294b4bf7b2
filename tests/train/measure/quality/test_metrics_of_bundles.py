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
from segan.train.measure.models.model import ImageMaker, MakerSettings
from segan.train.measure.models.open import EngineImages
from segan.train.measure.models.torch_graphs import GeneratorImages
from segan.train.measure.quality.context import MetricContext
from segan.train.measure.quality.detectors import DetectorSet
from segan.train.measure.quality.evaluate import compare
from segan.train.measure.quality.registry import parse_metric

Make = Callable[..., Any]


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
    make_generator: Make, tmp_path: Path, settings: dict[str, Any]
) -> None:
    generator = make_generator(**settings)
    export_bundle(generator, tmp_path / "g.segan", ExportConfig(batch_sizes=(1,)))
    for asked in (
        MakerSettings(batch_size=5),
        MakerSettings(psi=0.6, noise="const"),
        MakerSettings(psi=0.0, noise="none"),
    ):
        bundle = EngineImages(tmp_path / "g.segan", asked, backend="cpu")
        plain = GeneratorImages(generator, asked)
        assert bundle.noise == plain.noise
        assert bundle.facts == plain.facts
        seeds = range(7, 20)
        one = np.concatenate(list(bundle.images(seeds))).astype(int)
        two = np.concatenate(list(plain.images(seeds))).astype(int)
        assert np.abs(one - two).max() <= 1
        assert (one != two).mean() < 0.01
        w = bundle.map(np.ones((2, 6), np.float32), bundle.labels_of([1, 2]))
        np.testing.assert_allclose(
            w, plain.map(np.ones((2, 6), np.float32), plain.labels_of([1, 2])), atol=1e-5
        )
        coords, noise = bundle.coords_of([1, 2]), bundle.noise_of([1, 2])
        np.testing.assert_allclose(
            bundle.render(w, coords, noise), plain.render(w, coords, noise), atol=1e-4
        )
        if asked.psi == 0 and not settings.get("c_dim"):
            assert (one == one[:1]).all()  # the mean image


@pytest.mark.slow
def test_engine_against_checkpoint(
    make_generator: Make, tmp_path: Path, detectors: DetectorSet
) -> None:
    pytest.importorskip("openvino", reason="needs openvino; the bare environment has none")
    generator = make_generator(mode=2)
    export_bundle(generator, tmp_path / "g.segan", ExportConfig(batch_sizes=(1,)))
    images = np.random.RandomState(0).randint(0, 256, (150, 3, 8, 8)).astype(np.uint8)
    data = build_dataset("noise", images)

    def context(maker: ImageMaker) -> MetricContext:
        return MetricContext(maker, detectors, data)

    metrics = [parse_metric(name) for name in ("fid100_full", "kid100_full", "pr1k3_full")]
    plain = context(GeneratorImages(generator, MakerSettings()))
    for backend in ("cpu", "openvino"):
        bundle = EngineImages(
            tmp_path / "g.segan", MakerSettings(), backend=backend, precision="fp32"
        )
        for entry in compare(metrics, context(bundle), plain, resamples=20):
            assert entry.model.protocol.backend == backend
            assert entry.against.protocol.backend == "torch"
            # The stated tolerance: 0.1 % of the score, where some pixels differ by one step.
            assert entry.difference.value == pytest.approx(0, abs=1e-3 * abs(entry.model.value))
            assert entry.difference.interval is not None
            assert entry.model.model.kind == "bundle"
            assert len(entry.model.model.sha256) == 64


def test_a_generator_without_noise(toy_bundle_plain: Path, toy_bundle_zip: Path) -> None:
    maker = EngineImages(toy_bundle_plain, MakerSettings(), backend="cpu")
    assert maker.noise == "none"
    assert maker.model.kimg is None
    with pytest.raises(ConfigError, match="this generator has none"):
        EngineImages(toy_bundle_plain, MakerSettings(noise="random"), backend="cpu")
    with pytest.raises(ConfigError, match="psi is 2"):
        EngineImages(toy_bundle_plain, MakerSettings(psi=2), backend="cpu")
    with pytest.raises(ConfigError, match="batch_size is 0"):
        EngineImages(toy_bundle_plain, MakerSettings(batch_size=0), backend="cpu")
    grey = EngineImages(toy_bundle_zip, MakerSettings(), backend="cpu")
    assert grey.facts.img_channels == 1
    assert grey.classes_of([0, 1, 2]) is not None


def test_alpha_is_refused(make_generator: Make) -> None:
    with pytest.raises(ConfigError, match="without alpha"):
        GeneratorImages(make_generator(img_channels=4), MakerSettings())
