"""Tiny detectors, data and generators for the metrics."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from segan.train.data.dataset import ImageDataset, build_dataset
from segan.train.measure.models.model import MeasuredModel
from segan.train.measure.models.torch_graphs import generator_model
from segan.train.measure.quality.context import MetricContext
from segan.train.measure.quality.detectors import DetectorSet
from segan.train.networks.config import Mode, NetworkConfig, SubspaceConfig, SubspaceKind
from segan.train.networks.stylegan2.generator import Generator


class TinyDetector(torch.nn.Module):
    """Takes what NVIDIA's two files take: linear features of the pixels, 4 classes, and LPIPS."""

    def __init__(self, inputs: int, features: int) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(0)
        drawn = torch.randn(inputs, features, generator=random) / inputs
        self.matrix = torch.nn.Parameter(drawn, requires_grad=False)

    def forward(
        self,
        x: torch.Tensor,
        return_features: bool = False,
        no_output_bias: bool = False,
        resize_images: bool = True,
        return_lpips: bool = False,
    ) -> torch.Tensor:
        pixels = x.float().flatten(1)
        if return_lpips:
            assert not resize_images
            return pixels @ self.matrix[: pixels.shape[1]]
        found = pixels @ self.matrix
        if return_features:
            return found
        assert no_output_bias
        return torch.softmax(found[:, :4], 1)


@pytest.fixture
def detector_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes a TorchScript detector for images of a resolution."""

    def write(name: str = "tiny.pt", resolution: int = 8, features: int = 6) -> Path:
        path = tmp_path / name
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the end of TorchScript
            torch.jit.script(TinyDetector(3 * resolution**2, features)).save(str(path))
        return path

    return write


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("SEGAN_CACHE", str(folder))
    return folder


def make_generator(
    seed: int = 0, mode: Mode = 2, kind: SubspaceKind = "eigen", **settings: int
) -> Generator:
    """8 × 8 RGB."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        shape = {"resolution": 8, "z_dim": 6, "w_dim": 8, "channel_max": 4, "mapping_layers": 2}
        network = NetworkConfig(**{**shape, **settings})  # type: ignore[arg-type]
        generator = Generator(network, SubspaceConfig(mode=mode, kind=kind, dims=3))
        with torch.no_grad():
            for value in generator.parameters():
                value.add_(torch.randn_like(value) * 0.2)
            generator.w_avg.normal_()
    return generator.eval().requires_grad_(False)


@pytest.fixture
def build_generator() -> Callable[..., Generator]:
    """See ``make_generator``."""
    return make_generator


@pytest.fixture
def generator() -> Generator:
    """8 × 8 RGB, mode 2, unconditional."""
    return make_generator()


@pytest.fixture
def conditional() -> Generator:
    """The same with 3 classes."""
    return make_generator(c_dim=3)


@pytest.fixture
def real_data() -> ImageDataset:
    """200 random images, 8 × 8 RGB, without labels."""
    images = np.random.RandomState(5).randint(0, 256, (200, 3, 8, 8)).astype(np.uint8)
    return build_dataset("noise", images)


@pytest.fixture
def make_context() -> Callable[..., MetricContext]:
    """Builds a context on the CPU."""

    def build(
        model: MeasuredModel | Generator,
        data: ImageDataset | None = None,
        given: dict[str, Path] | None = None,
        **settings: object,
    ) -> MetricContext:
        if isinstance(model, Generator):
            model = generator_model(model)
        detectors = DetectorSet(
            torch.device("cpu"),
            model.resolution,
            given,  # type: ignore[arg-type]
        )
        return MetricContext(model, detectors, data, **settings)  # type: ignore[arg-type]

    return build
