from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from segan.runtime.bundle.layout import (
    Architecture,
    Slider,
    build_sites,
    check_resolution,
    noise_sizes,
)
from segan.runtime.errors import ConfigError

if TYPE_CHECKING:
    from tests.conftest import RaisesError


def test_sites_of_the_smallest_resolution() -> None:
    sites = build_sites(8)
    assert [site.name for site in sites] == [
        "b4.conv1",
        "b4.to_rgb",
        "b8.conv0",
        "b8.conv1",
        "b8.to_rgb",
    ]
    assert [site.kind for site in sites] == ["conv", "rgb", "up", "conv", "rgb"]
    assert [site.layer for site in sites] == [0, 0, 1, 1, 1]
    assert [site.resolution for site in sites] == [4, 4, 8, 8, 8]


@pytest.mark.parametrize("resolution", [8, 16, 32, 64, 128, 256, 512, 1024])
def test_number_of_skip_sites(resolution: int) -> None:
    # 2 + 3 (log2 R - 2), 14 at 64².
    assert len(build_sites(resolution)) == 2 + 3 * (round(math.log2(resolution)) - 2)


@pytest.mark.parametrize("architecture", ["residual", "original"])
def test_other_architectures_have_one_to_rgb_at_the_end(architecture: Architecture) -> None:
    sites = build_sites(32, architecture)
    assert [site.name for site in sites if site.kind == "rgb"] == ["b32.to_rgb"]
    assert sites[-1].name == "b32.to_rgb"
    assert len(sites) == 1 + 2 * 3 + 1


@pytest.mark.parametrize("resolution", [0, 4, 12, 65, 2048, -64])
def test_a_resolution_that_cannot_be(resolution: int, raises_error: RaisesError) -> None:
    with raises_error(ConfigError, field="resolution", value=resolution):
        check_resolution(resolution)


def test_noise_sizes_are_pixels_of_convolutions() -> None:
    assert noise_sizes(build_sites(16)) == (16, 0, 64, 64, 0, 256, 256, 0)


def test_sliders_are_written_and_read() -> None:
    assert str(Slider(3, 1, 12)) == "L3N1D12"
    assert Slider.parse(" l3n1d12 ") == Slider(3, 1, 12)


@pytest.mark.parametrize("text", ["", "L3D5", "3,0,5", "L-1N0D0", "L3N0D5x", "L٣N0D5 D"])
def test_a_slider_that_is_not_understood(text: str, raises_error: RaisesError) -> None:
    with raises_error(ConfigError, field="slider", value=text):
        Slider.parse(text)
