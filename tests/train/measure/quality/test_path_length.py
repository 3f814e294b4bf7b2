"""Path lengths of a linear generator seen by a linear detector have a closed form."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from segan.runtime.latents.draws import sample_z
from segan.runtime.latents.inputs import GraphInputs
from segan.train.measure.models.model import ImageOptions, MeasuredModel, ModelRecord
from segan.train.measure.models.torch_graphs import TorchGraphs
from segan.train.measure.quality.context import MetricContext
from segan.train.measure.quality.path_length import PathLengthMetric, prepared, trimmed_mean
from segan.train.measure.quality.registry import parse_metric
from segan.train.networks.config import NetworkConfig, SubspaceConfig
from segan.train.networks.stylegan2.generator import Generator

Make = Callable[..., MetricContext]

Z_DIM = 64


class LinearGraphs(TorchGraphs):
    """w = z, and pixels are an isometry of w."""

    def __init__(self) -> None:
        network = NetworkConfig(resolution=8, z_dim=Z_DIM, w_dim=Z_DIM, channel_max=4)
        super().__init__(Generator(network, SubspaceConfig(mode=0)))
        random = np.random.RandomState(0)
        self.matrix = np.linalg.qr(random.randn(3 * 64, Z_DIM))[0].T  # [Z_DIM, 192]

    def run(self, name: str, feeds: dict[str, Any]) -> dict[str, np.ndarray]:
        if name == "mapping":
            return {"w": feeds["z"]}
        if name == "offsets":
            return {"ws": feeds["w"]}
        w = feeds["ws"][:, 0].astype(np.float64)
        return {"image": (w @ self.matrix).reshape(-1, 3, 8, 8)}

    def images(self, inputs: GraphInputs) -> np.ndarray:
        raise AssertionError("a path length renders its own latents")


def linear_model() -> MeasuredModel:
    record = ModelRecord(path="linear", kind="checkpoint", kimg=None, sha256="")
    return MeasuredModel(LinearGraphs(), record, ImageOptions(noise="none", batch_size=200))


class Identity(torch.nn.Module):
    """LPIPS features are the pixels: the squared distance is that of the pixels."""

    def forward(
        self, x: torch.Tensor, resize_images: bool = True, return_lpips: bool = False
    ) -> torch.Tensor:
        assert return_lpips
        return x.flatten(1)


@pytest.fixture
def linear(make_context: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MetricContext:
    path = tmp_path / "vgg16.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(Identity()).save(str(path))
    return make_context(linear_model(), given={"vgg16": path})


def test_w_end_is_the_jacobians_mean_square(linear: MetricContext) -> None:
    # The step is ε (w1 - w0) with w1 - w0 ~ N(0, 2 I); pixels are scaled by 127.5 and the map is
    # an isometry, so E d = 127.5² 2 Z_DIM.
    metric = parse_metric("ppl2_4k_wend")
    found = metric.compute(linear).value
    expected = 127.5**2 * 2 * Z_DIM
    assert found == pytest.approx(expected, rel=0.01)
    # And exactly what the seeds themselves give.
    z = sample_z(range(8000), Z_DIM).astype(np.float64)
    apart = np.square(z[1::2] - z[::2]).sum(1) * 127.5**2
    assert found == pytest.approx(trimmed_mean(apart), rel=2e-3)


def test_z_end_is_the_squared_angle(linear: MetricContext) -> None:
    # Along a great circle of the unit sphere the speed is the angle between the two ends.
    found = parse_metric("ppl2_1k_zend").compute(linear).value
    z = sample_z(range(2000), Z_DIM).astype(np.float64)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    angle = np.arccos((z[::2] * z[1::2]).sum(1))
    assert found == pytest.approx(trimmed_mean(angle**2 * 127.5**2), rel=2e-3)


def test_a_step_of_a_hundredth_is_a_chord(linear: MetricContext) -> None:
    # ε = 1e-2: |2 sin(ε ω / 2)|² / ε².
    metric = parse_metric("ppl_segan1k")
    assert isinstance(metric, PathLengthMetric)
    assert metric.path.epsilon == 1e-2
    found = metric.compute(linear).value
    z = sample_z(range(2000), Z_DIM).astype(np.float64)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    angle = np.arccos((z[::2] * z[1::2]).sum(1))
    chord = np.square(2 * np.sin(1e-2 * angle / 2)) / 1e-4
    assert found == pytest.approx(trimmed_mean(chord * 127.5**2), rel=2e-3)


def test_full_and_end_agree_where_the_speed_is_the_same_everywhere(linear: MetricContext) -> None:
    end = parse_metric("ppl2_1k_wend").compute(linear).value
    full = parse_metric("ppl2_1k_wfull").compute(linear).value
    assert full == pytest.approx(end, rel=2e-3)


def test_what_the_detector_sees() -> None:
    images = torch.zeros(1, 1, 512, 512)
    images[:, :, 192:448, 128:384] = 1  # the published cut of 512²: rows 3/8-7/8, columns 2/8-6/8
    seen = prepared(images, crop=True)
    assert seen.shape == (1, 3, 128, 128)
    assert bool((seen == 255).all())
    assert prepared(images, crop=False).shape == (1, 3, 256, 256)
    small = torch.full((2, 3, 16, 16), -1.0)
    assert prepared(small, crop=False).shape == (2, 3, 16, 16)
    assert bool((prepared(small, crop=True) == 0).all())


def test_resampled_path_lengths_are_of_the_drawn_pairs(linear: MetricContext) -> None:
    metric = parse_metric("ppl2_1k_wend")
    value = metric.compute(linear).value
    found = metric.resampled(linear, np.ones((1, 1000)))
    assert found is not None
    assert found[0] == pytest.approx(value)


def test_path_lengths_of_the_faces_features(
    make_context: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With the pixels as features it is the linear generator's, without the 127.5² of LPIPS's.
    context = make_context(linear_model())

    class Pixels:
        def features(self, images: torch.Tensor) -> torch.Tensor:
            return images.flatten(1)

    monkeypatch.setattr(context.detectors, "faces", Pixels)
    z = sample_z(range(2000), Z_DIM).astype(np.float64)
    apart = np.square(z[1::2] - z[::2]).sum(1)
    found = parse_metric("ppl_faces1k_wend").compute(context).value
    assert found == pytest.approx(trimmed_mean(apart), rel=2e-3)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    angle = np.arccos((z[::2] * z[1::2]).sum(1))
    chord = np.square(2 * np.sin(1e-2 * angle / 2)) / 1e-4
    metric = parse_metric("ppl_faces_segan1k")
    assert metric.detector == "faces"
    assert metric.compute(context).value == pytest.approx(trimmed_mean(chord), rel=2e-3)
