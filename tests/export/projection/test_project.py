from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from segan.export.exporter import ExportConfig, export_bundle
from segan.export.projection.features import PixelGradients, Vgg16
from segan.export.projection.files import write_projection
from segan.export.projection.project import (
    ProjectionConfig,
    mean_squared_error,
    project_image,
    render,
)
from segan.runtime.errors import ConfigError, DataError
from segan.runtime.generate.generator import load
from segan.runtime.latents.draws import sample_z
from segan.runtime.latents.files import read_latents
from segan.train.networks.stylegan2.generator import Generator

if TYPE_CHECKING:
    from tests.conftest import RaisesError

Make = Callable[..., Any]


@pytest.fixture
def moderate(make_generator: Make) -> Callable[..., Generator]:
    """A generator whose images lie within [-1, 1], as a trained one's do."""

    def build(**settings: Any) -> Generator:
        generator: Generator = make_generator(
            **{"mode": 2, "resolution": 16, "channel_max": 8, "z_dim": 8} | settings
        )
        z = torch.from_numpy(sample_z(range(64), 8))
        images = generator(z, None, torch.zeros(64, *generator.coords_shape))
        for block in generator.synthesis.block_list():
            if block.to_rgb is not None:
                block.to_rgb.weight.mul_(0.8 / images.abs().max())
                block.to_rgb.bias.mul_(0.8 / images.abs().max())
        return generator

    return build


def own_image(
    generator: Generator, coords: NDArray[np.float32] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """An image that the generator made, and its w."""
    z = torch.from_numpy(sample_z([77], 8))
    w = generator.broadcast(generator.mapping(z)).numpy()
    return w[0], render(generator, w, coords)[0]


@pytest.mark.parametrize("space", ["w", "w+"])
def test_an_image_of_its_own_is_recovered(moderate: Make, space: Any) -> None:
    generator = moderate(mode=0)
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    w, target = own_image(generator)
    steps: list[float] = []
    found = project_image(
        generator, target, ProjectionConfig(space=space, steps=250), on_step=steps.append
    )
    assert found.start_mse > 50 * found.mse
    assert steps == list(found.distances)
    assert found.distances[-1] < found.distances[0] / 20
    np.testing.assert_array_equal(render(generator, found.w[None])[0], found.image)
    if space == "w":
        assert (found.w == found.w[:1]).all()
        assert np.abs(found.w - w).max() < 0.25
    for name, value in generator.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_a_moved_slider_is_recovered(moderate: Make) -> None:
    generator = moderate()
    coords = np.zeros((1, *generator.coords_shape), np.float32)
    coords[0, 1, 1] = 1.5
    _, target = own_image(generator, coords)
    config = ProjectionConfig(space="coords", steps=300)
    found = project_image(generator, target, config)
    assert found.start_mse > 50 * found.mse
    assert found.coords is not None
    assert found.coords[1, 1] == pytest.approx(1.5, abs=0.35)
    rest = np.abs(found.coords)
    rest[1, 1] = 0
    assert rest.max() < 0.5


def test_what_is_written_loads_again(moderate: Make, tmp_path: Path) -> None:
    generator = moderate()
    coords = np.ones((1, *generator.coords_shape), np.float32)
    _, target = own_image(generator, coords)
    config = ProjectionConfig(space="coords", steps=20)
    found = project_image(generator, target, config)
    record = write_projection(tmp_path / "out", found, config, generator, about={"photo": "a.png"})
    assert json.loads((tmp_path / "out" / "projected.json").read_text()) == record
    assert record["features"] == "multi-scale pixels and gradients"
    assert record["mse"] == pytest.approx(mean_squared_error(found.image, target))
    for name in record["files"].values():
        assert (tmp_path / "out" / name).stat().st_size > 0
    assert set(record["files"]) == {"latents", "comparison", "video", "sweep"}

    export_bundle(generator, tmp_path / "g.segan", ExportConfig(batch_sizes=(1,)))
    bundle = load(tmp_path / "g.segan")
    latents = read_latents(tmp_path / "out" / "projected.npz", bundle.manifest)
    image = bundle.generate([0], latents=latents)[0].astype(int)
    assert np.abs(image - found.image).max() <= 1
    again = write_projection(
        tmp_path / "out", found, config, generator, about={}, video=None, bundle=bundle
    )
    assert set(again["files"]) == {"latents", "comparison", "sweep"}


def test_a_given_network_is_used(moderate: Make, tmp_path: Path) -> None:
    class Detector(torch.nn.Module):
        """Takes what StyleGAN2-ADA's vgg16.pt takes."""

        def forward(
            self, x: torch.Tensor, resize_images: bool = True, return_lpips: bool = False
        ) -> torch.Tensor:
            assert return_lpips
            assert not resize_images
            return torch.nn.functional.avg_pool2d(x, 2).flatten(1) / 1000

    path = tmp_path / "vgg16.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the end of TorchScript
        torch.jit.script(Detector()).save(str(path))
    features = Vgg16(path, torch.device("cpu"))
    image = torch.rand(1, 3, 16, 16) * 2 - 1
    expected = torch.nn.functional.avg_pool2d(image * 127.5 + 127.5, 2).flatten(1) / 1000
    torch.testing.assert_close(features(image), expected)
    assert features(image[:, :1]).shape == expected.shape
    generator = moderate(mode=0)
    _, target = own_image(generator)
    found = project_image(generator, target, ProjectionConfig(steps=60), features=features)
    assert found.features == "VGG16 (vgg16.pt)"
    assert found.mse < found.start_mse / 5
    (tmp_path / "bad.pt").write_bytes(b"no network")
    for name, part in (("bad.pt", "not TorchScript"), ("none.pt", "does not exist")):
        with pytest.raises(DataError, match=part):
            Vgg16(tmp_path / name, torch.device("cpu"))


def test_pixel_gradients_are_what_they_say() -> None:
    a, b = torch.rand(2, 1, 3, 8, 8).double()
    found = (PixelGradients()(a) - PixelGradients()(b)).square().sum()
    expected = 0.0
    x = (a - b).numpy()[0]
    for scale in range(2):
        if scale:
            x = x.reshape(3, 4, 2, 4, 2).mean((2, 4))
        expected += np.square(x).mean() / 2
        expected += 4 * np.square(np.diff(x, axis=2)).mean() / 2
        expected += 4 * np.square(np.diff(x, axis=1)).mean() / 2
    assert float(found) == pytest.approx(expected, rel=1e-12)


def test_the_schedule_is_the_papers() -> None:
    config = ProjectionConfig(steps=1000)
    assert config.rate(0) == 0
    assert config.rate(25) == pytest.approx(0.5)
    assert config.rate(50) == config.rate(750) == pytest.approx(1)
    assert config.rate(875) == pytest.approx(0.5)
    assert config.rate(999) < 1e-4


def test_wrong_use(moderate: Make, raises_error: RaisesError) -> None:
    generator = moderate(mode=0)
    target = np.zeros((16, 16, 3), np.uint8)
    cases: tuple[tuple[str, Any, str], ...] = (
        ("space", "z", "one of w, w+, coords"),
        ("space", "coords", "w or w+"),
        ("steps", 0, "1 or more, such as 500"),
        ("learning_rate", 0.0, "more than 0"),
        ("class_index", 1, "none: there are no classes"),
    )
    for field, value, expected in cases:
        with raises_error(ConfigError, field=field, value=value, expected=expected):
            project_image(generator, target, ProjectionConfig(**{field: value}))
    with raises_error(DataError, field="target", value=(8, 16, 3), expected="uint8 [16, 16, 3]"):
        project_image(generator, target[:8])
