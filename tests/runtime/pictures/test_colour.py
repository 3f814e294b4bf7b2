"""Colours against the profiles' own matrices and curves, computed in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image
import PIL.ImageCms
import pytest

from segan.runtime.pictures.colour import ProfileError, srgb_conversion
from tests.runtime.pictures.hostile_pictures import cmyk_profile, grey_profile, rgb_profile

Array = npt.NDArray[np.float64]

#: Primaries and white as x, y of CIE 1931, and the curve's exponent.
SPACES: dict[str, tuple[list[tuple[float, float]], tuple[float, float], float]] = {
    "p3": ([(0.680, 0.320), (0.265, 0.690), (0.150, 0.060)], (0.3127, 0.3290), 2.2),
    "adobe": ([(0.64, 0.33), (0.21, 0.71), (0.15, 0.06)], (0.3127, 0.3290), 563 / 256),
    "prophoto": ([(0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001)], (0.3457, 0.3585), 1.8),
}
SRGB = ([(0.64, 0.33), (0.30, 0.60), (0.15, 0.06)], (0.3127, 0.3290))
D50 = np.array([0.9642, 1.0, 0.8249])
BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)


def to_xyz(point: tuple[float, float]) -> Array:
    x, y = point
    return np.array([x / y, 1.0, (1 - x - y) / y])


def matrix_d50(primaries: list[tuple[float, float]], white: tuple[float, float]) -> Array:
    """RGB to XYZ at D50, by the Bradford transform (ICC.1:2001-04, E)."""
    columns = np.stack([to_xyz(point) for point in primaries], 1)
    columns = columns * np.linalg.solve(columns, to_xyz(white))
    scale = (BRADFORD @ D50) / (BRADFORD @ to_xyz(white))
    adapt: Array = np.linalg.inv(BRADFORD) @ np.diag(scale) @ BRADFORD @ columns
    return adapt


def encode_srgb(linear: Array) -> Array:
    """IEC 61966-2-1, in 0 to 255."""
    linear = linear.clip(0, 1)
    low = linear <= 0.0031308
    return np.asarray(255 * np.where(low, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055))


def converted(image: PIL.Image.Image, profile: bytes) -> npt.NDArray[np.int64]:
    image.info["icc_profile"] = profile
    convert = srgb_conversion(image)
    assert convert is not None
    return np.asarray(convert(image)).astype(int)


@pytest.mark.parametrize("name", SPACES)
def test_colours_become_srgb(name: str) -> None:
    primaries, white, gamma = SPACES[name]
    matrix = matrix_d50(primaries, white)
    colors = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)
    colors[0, 0] = (200, 80, 60)
    found = converted(PIL.Image.fromarray(colors), rgb_profile(matrix, gamma))
    linear = (colors / 255.0) ** (round(gamma * 256) / 256)
    wanted = encode_srgb(linear @ matrix.T @ np.linalg.inv(matrix_d50(*SRGB)).T)
    # Where a colour lies outside of sRGB, littleCMS and the cut to 0 … 1 agree.
    assert np.abs(found - wanted).max() <= 2


@pytest.mark.parametrize("mode", ["RGBA", "LA", "L"])
def test_opacity_and_grey_stay(mode: str) -> None:
    primaries, white, _ = SPACES["p3"]
    profile = rgb_profile(matrix_d50(primaries, white), 1.8)
    image = PIL.Image.new("RGBA", (4, 4), (100, 100, 100, 7)).convert(mode)
    found = converted(image, profile)
    wanted = encode_srgb(np.array((100 / 255) ** (461 / 256)))
    np.testing.assert_allclose(found[..., :-1] if mode != "L" else found, wanted, atol=1)
    if mode != "L":
        assert (found[..., -1] == 7).all()


def test_grey_by_its_own_profile() -> None:
    ramp = PIL.Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    found = converted(ramp, grey_profile(1.0))
    wanted = encode_srgb(np.arange(256)[None] / 255.0)
    assert np.abs(found - wanted).max() <= 2


def lab_to_srgb(lab: Array) -> Array:
    """CIE 1976, from D50."""
    fy = (lab[..., 0] + 16) / 116
    f = np.stack([fy + lab[..., 1] / 500, fy, fy - lab[..., 2] / 200], -1)
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * D50
    return encode_srgb(xyz @ np.linalg.inv(matrix_d50(*SRGB)).T)


def test_cmyk_by_its_profile() -> None:
    # No ink is white, as profiles count from the paper; the fourth ink is black.
    ink = np.indices((2, 2, 2, 2)).transpose(1, 2, 3, 4, 0).astype(float)
    lab = np.stack(
        [
            100 - ink @ [30, 40, 10, 0],
            ink @ [-15.0, 25.0, 0.0, 0.0],
            ink @ [-15.0, -5.0, 30.0, 0.0],
        ],
        -1,
    ) * (1 - ink[..., 3:])
    inks = [(0, 0, 0, 0), (255, 0, 0, 0), (0, 255, 0, 0), (0, 0, 255, 0), (255, 255, 255, 255)]
    image = PIL.Image.new("CMYK", (len(inks), 1))
    for at, values in enumerate(inks):
        image.putpixel((at, 0), values)
    found = converted(image, cmyk_profile(lab))
    wanted = lab_to_srgb(np.array([lab[tuple(value // 255 for value in ink)] for ink in inks]))
    assert np.abs(found[0] - wanted).max() <= 3


def test_srgb_changes_nothing() -> None:
    srgb = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()
    for mode in ("RGB", "RGBA", "L", "P"):
        image = PIL.Image.new(mode, (4, 4))
        assert srgb_conversion(image) is None
        image.info["icc_profile"] = srgb
        assert srgb_conversion(image) is None


@pytest.mark.parametrize(
    ("mode", "profile"),
    [
        ("RGB", b"not a profile"),
        ("RGB", bytes(200)),
        ("RGB", grey_profile(2.2)),
        ("CMYK", grey_profile(2.2)),
        ("RGB", rgb_profile(np.eye(3), 2.2)[:200]),
        ("L", cmyk_profile(np.zeros((2, 2, 2, 2, 3)))),
        ("RGB", bytes(9 << 20)),
    ],
)
def test_a_profile_that_cannot_be_used(mode: str, profile: Any) -> None:
    image = PIL.Image.new(mode, (4, 4))
    image.info["icc_profile"] = profile
    with pytest.raises(ProfileError):
        srgb_conversion(image)
