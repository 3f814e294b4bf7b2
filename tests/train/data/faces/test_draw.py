from __future__ import annotations

import colorsys
import math

import numpy as np
import numpy.typing as npt
import pytest

from segan.runtime.errors import ConfigError
from segan.train.data.faces import draw as faces_draw
from segan.train.data.faces.attributes import FACE_ATTRIBUTES, sample_attributes
from segan.train.data.faces.canvas import Patch, ellipse, hue, ramp, rounded_box
from segan.train.data.faces.draw import draw_faces


def canvas(size: int) -> Patch:
    center = np.zeros(1, np.float32)
    image = np.zeros((3, 1, size, size), np.float32)
    return Patch(image, np.arange(1), (center, center), 1.0)


def test_coverage_adds_up_to_the_area_of_a_disc() -> None:
    patch = canvas(64)
    for radius in (0.1, 0.33, 0.7):
        alpha = patch.coverage(ellipse(patch.x, patch.y, radius, radius))
        assert alpha.sum() * patch.pixel**2 == pytest.approx(math.pi * radius**2, rel=0.01)


def test_a_thin_line_covers_its_own_area_and_no_more() -> None:
    patch = canvas(64)
    for half_width in (0.002, 0.01, 0.05):  # a pixel is 0.031 wide
        alpha = patch.stroke(np.abs(patch.y - 0.013), half_width)
        assert alpha.sum() * patch.pixel**2 == pytest.approx(2 * 2 * half_width, rel=1e-3)


def test_rounded_box_is_the_distance_to_its_outline() -> None:
    x, y = np.random.default_rng(0).uniform(-1, 1, (2, 1, 8, 8)).astype(np.float32)
    found = rounded_box(x, y, 0.5, 0.3, 0.1)
    corner = np.linspace(0, math.pi / 2, 400)
    edge = np.concatenate(
        [
            np.stack([0.4 + 0.1 * np.cos(corner), 0.2 + 0.1 * np.sin(corner)]),
            np.stack([np.linspace(0, 0.4, 400), np.full(400, 0.3)]),
            np.stack([np.full(400, 0.5), np.linspace(0, 0.2, 400)]),
        ],
        axis=1,
    )
    points = np.stack([np.abs(x), np.abs(y)]).reshape(2, -1, 1).astype(float)
    nearest = np.sqrt(((points - edge[:, None]) ** 2).sum(0)).min(1)
    np.testing.assert_allclose(np.abs(found).ravel(), nearest, atol=2e-3)


def test_hue_is_hsv() -> None:
    values = np.linspace(0, 1, 13)
    expected = np.array([colorsys.hsv_to_rgb(value, 0.4, 0.9) for value in values]).T
    np.testing.assert_allclose(hue(values, 0.4, 0.9), expected, atol=1e-6)


def test_ramp_meets_its_stops() -> None:
    found = ramp(("000000", "FF8000", "FFFFFF"), np.array([0, 0.25, 0.5, 1.0]))
    expected = np.array([[0, 0, 0], [127.5, 64, 0], [255, 128, 0], [255, 255, 255]]).T / 255
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_face_does_not_depend_on_its_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    attributes = sample_attributes(2, 0, 40)
    whole = draw_faces(attributes, 64)
    assert whole.shape == (40, 64, 64, 3)
    assert whole.dtype == np.uint8
    for index in (0, 17, 39):
        alone = draw_faces({name: column[index] for name, column in attributes.items()}, 64)
        np.testing.assert_array_equal(alone[0], whole[index])
    monkeypatch.setattr(faces_draw, "_CHUNK_PIXELS", 3 * 64**2)
    np.testing.assert_array_equal(draw_faces(attributes, 64), whole)


@pytest.mark.parametrize("resolution", [8, 16, 32])
def test_small_images_are_the_average_of_larger_ones(resolution: int) -> None:
    attributes = sample_attributes(0, 0, 8)
    factor = 64 // resolution
    large = draw_faces(attributes, 64).astype(float)
    mean = large.reshape(8, resolution, factor, resolution, factor, 3).mean((2, 4))
    assert np.abs(draw_faces(attributes, resolution) - mean).max() <= 1


def test_a_face_looks_the_same_at_every_resolution() -> None:
    attributes = sample_attributes(0, 0, 6)
    small = draw_faces(attributes, 64).astype(float)
    large = draw_faces(attributes, 512).astype(float)
    difference = np.abs(large.reshape(6, 64, 8, 64, 8, 3).mean((2, 4)) - small)
    assert difference.mean() < 1.5  # of 255
    assert np.quantile(difference, 0.999) < 50  # corners, where coverage is approximate


def test_shifting_the_head_by_whole_pixels_shifts_its_pixels() -> None:
    images = draw_faces({"head_x": [0.0, 4 / 32], "head_y": [0.0, 2 / 32]}, 64)
    face = images[0, 22:42, 20:44].astype(int)
    moved = images[1, 24:44, 24:48].astype(int)
    assert np.abs(face - moved).max() <= 1


def test_without_tilt_and_swept_hair_a_face_is_nearly_symmetric() -> None:
    image = draw_faces({"background_hue": 0.6}, 128)[0].astype(float)
    assert np.abs(image - image[:, ::-1]).mean() < 4


#: Where an attribute may change pixels, for a face in the middle: x0, x1, y0, y1 on the canvas.
REGIONS = {
    "eye_color": (-0.45, 0.45, -0.20, 0.22),
    "eye_size": (-0.50, 0.50, -0.25, 0.25),
    "eye_distance": (-0.55, 0.55, -0.40, 0.26),
    "brow_angle": (-0.45, 0.45, -0.42, -0.04),
    "smile": (-0.25, 0.25, 0.15, 0.50),
    "mouth_opening": (-0.25, 0.25, 0.15, 0.55),
    "blush": (-0.55, 0.55, 0.03, 0.38),
    "glasses": (-0.60, 0.60, -0.25, 0.25),
    "shirt_hue": (-1.0, 1.0, 0.45, 1.0),
    "hair_length": (-0.95, 0.95, -0.40, 1.0),
    "fringe": (-0.80, 0.80, -0.80, 0.30),
}


def extremes(name: str) -> tuple[float, float]:
    attribute = next(attribute for attribute in FACE_ATTRIBUTES if attribute.name == name)
    if attribute.kind == "categorical":
        return 0, 1
    if name.endswith("hue"):
        return 0.1, 0.6
    return attribute.low, attribute.high


def change(name: str, resolution: int) -> npt.NDArray[np.int64]:
    """[R, R] how far a pixel moves between the attribute's extremes."""
    images = draw_faces({name: list(extremes(name))}, resolution).astype(np.int64)
    result: npt.NDArray[np.int64] = np.abs(images[1] - images[0]).max(axis=2)
    return result


@pytest.mark.parametrize("name", REGIONS)
def test_an_attribute_changes_its_region_alone(name: str) -> None:
    moved = change(name, 64)
    x0, x1, y0, y1 = (round((edge + 1) * 32) for edge in REGIONS[name])
    inside = moved[y0:y1, x0:x1].copy()
    moved[y0:y1, x0:x1] = 0
    assert moved.max() == 0
    assert inside.max() > 40


def test_the_background_leaves_the_face_alone() -> None:
    moved = change("background_hue", 64)
    assert moved[24:40, 22:42].max() == 0
    assert moved[:4].min() > 20


@pytest.mark.parametrize("name", [attribute.name for attribute in FACE_ATTRIBUTES])
def test_every_attribute_is_visible(name: str) -> None:
    assert (change(name, 64) > 24).sum() >= 12
    assert (change(name, 32) > 16).sum() >= 4


@pytest.mark.parametrize("resolution", [0, 4, 48, 2048])
def test_the_resolution_is_checked(resolution: int) -> None:
    with pytest.raises(ConfigError) as caught:
        draw_faces({}, resolution)
    assert (caught.value.field, caught.value.value) == ("resolution", resolution)
