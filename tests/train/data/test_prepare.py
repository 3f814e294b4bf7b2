from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import PIL.Image
import pytest

from segan.runtime.errors import DataError
from segan.runtime.pictures.decode import quiet_decoding
from segan.train.data.prepare import prepare_image
from tests.runtime.pictures.hostile_pictures import rgb_profile

if TYPE_CHECKING:
    from tests.conftest import RaisesError

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def encode(image: PIL.Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def plain(color: Any, mode: str = "RGB", size: tuple[int, int] = (16, 16)) -> PIL.Image.Image:
    return PIL.Image.new(mode, size, color)


def prepare(data: bytes | PIL.Image.Image, **options: Any) -> npt.NDArray[np.int64]:
    """The prepared 8 × 8 image (or as options say) as whole numbers."""
    data = data if isinstance(data, bytes) else encode(data)
    with quiet_decoding():
        image = prepare_image(data, "x.png", **{"resolution": 8, **options})
    return np.asarray(image).astype(int)


def test_the_largest_centred_square_is_taken() -> None:
    image = plain(WHITE, size=(40, 16))
    image.paste(RED, (12, 0, 28, 16))
    assert (prepare(image) == RED).all()
    assert (prepare(image.transpose(PIL.Image.Transpose.ROTATE_90)) == RED).all()


def test_fit_pads_with_the_background() -> None:
    found = prepare(plain(RED, size=(32, 16)), crop="fit", background=BLUE, resolution=16)
    assert np.abs(found[[0, 1, -2, -1]] - BLUE).max() <= 8  # the filter rings a little
    assert np.abs(found[6:10] - RED).max() <= 8
    transparent = prepare(plain(RED, size=(32, 16)), crop="fit", channels=4)
    assert transparent[0, 0, 3] == 0
    assert transparent[4, 4].tolist() == [255, 0, 0, 255]


def test_without_crop_a_picture_must_be_square(raises_error: RaisesError) -> None:
    with raises_error(DataError, problem="is 32 x 16", expected="a square", remedy="`crop center`"):
        prepare(plain(RED, size=(32, 16)), crop="none")


def test_reduction_averages_over_all_pixels() -> None:
    checks = (np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8)
    found = prepare(PIL.Image.fromarray(checks))
    assert np.abs(found - 127.5).max() <= 1


def test_reduction_follows_a_slope() -> None:
    row = np.linspace(20, 230, 128)
    slope = PIL.Image.fromarray(np.tile(row.round().astype(np.uint8), (128, 1)))
    found = prepare(slope, channels=1)[4]
    expected = row.reshape(8, 16).mean(1)  # float64 block means
    np.testing.assert_allclose(found[1:-1], expected[1:-1], atol=1)


def test_a_picture_of_the_right_size_is_left_as_it_is() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    np.testing.assert_array_equal(prepare(PIL.Image.fromarray(pixels)), pixels)


@pytest.mark.parametrize("size", [64, 8])
def test_colours_hidden_by_transparency_leave_no_fringe(size: int) -> None:
    image = plain((*GREEN, 0), "RGBA", (size, size))
    image.paste((*RED, 255), (0, 0, size // 2 - 1, size))
    flat = prepare(image)
    assert (flat[..., 0] >= 254).all()  # red over white
    np.testing.assert_array_equal(flat[..., 1], flat[..., 2])
    kept = prepare(image, channels=4)
    assert (kept[kept[..., 3] > 8][:, 1] < 16).all()


def test_half_transparent_pixels_are_laid_over_the_background() -> None:
    image = plain((200, 100, 0, 64), "RGBA")
    alpha = 64 / 255
    expected = [
        alpha * a + (1 - alpha) * b for a, b in zip((200, 100, 0), (0, 50, 255), strict=True)
    ]
    np.testing.assert_allclose(prepare(image, background=(0, 50, 255))[4, 4], expected, atol=1)
    grey = prepare(plain((100, 64), "LA"), channels=1)
    np.testing.assert_allclose(grey, alpha * 100 + (1 - alpha) * 255, atol=1)
    coloured = prepare(plain((100, 0), "LA"), background=BLUE)
    assert (coloured == BLUE).all()


def test_a_palette_with_transparency() -> None:
    image = PIL.Image.new("P", (16, 16), 0)
    image.putpalette([*GREEN, *RED])
    image.paste(1, (0, 0, 8, 16))
    found = prepare(encode(image, transparency=0))
    assert found[4, 0].tolist() == list(RED)
    assert found[4, 7].tolist() == list(WHITE)
    assert prepare(encode(image))[4, 7].tolist() == list(GREEN)


def test_a_transparent_colour_of_an_rgb_picture() -> None:
    assert (prepare(encode(plain(GREEN), transparency=GREEN)) == WHITE).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled(kind: str) -> None:
    values = np.array([0, 1, 200, 257, 4000, 32768, 65000, 65535], np.uint16)
    image = PIL.Image.fromarray(np.tile(values, (8, 1)))
    expected = np.floor(values.astype(np.float64) / 257 + 0.5)
    np.testing.assert_array_equal(prepare(encode(image, kind), channels=1)[3], expected)


def test_a_transparent_value_of_a_sixteen_bit_picture() -> None:
    image = PIL.Image.fromarray(np.full((8, 8), 1000, np.uint16))
    assert (prepare(encode(image, transparency=1000), channels=1) == 255).all()


@pytest.mark.parametrize(
    ("image", "kind", "expected"),
    [
        (plain((0, 255, 255, 0), "CMYK"), "TIFF", RED),
        (plain((0, 255, 255, 0), "CMYK"), "JPEG", RED),
        (plain(1, "1"), "PNG", WHITE),
        (plain(90, "L"), "PNG", (90, 90, 90)),
        (plain((76, 85, 255), "YCbCr"), "TIFF", RED),
    ],
)
def test_other_colour_models(
    image: PIL.Image.Image, kind: str, expected: tuple[int, int, int]
) -> None:
    found = prepare(encode(image, kind))
    assert np.abs(found - expected).max() <= 3


@pytest.mark.parametrize(
    ("orientation", "corner"),
    # Where the picture's first pixel shall appear (row, column), from the EXIF standard.
    [
        (1, (0, 0)),
        (2, (0, -1)),
        (3, (-1, -1)),
        (4, (-1, 0)),
        (5, (0, 0)),
        (6, (0, -1)),
        (8, (-1, 0)),
    ],
)
def test_exif_turns_a_picture_upright(orientation: int, corner: tuple[int, int]) -> None:
    image = plain(WHITE, size=(8, 8))
    image.putpixel((0, 0), RED)
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    assert prepare(encode(image, exif=exif))[corner].tolist() == list(RED)


def test_broken_exif_is_ignored() -> None:
    data = encode(plain(RED), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
    assert np.abs(prepare(data) - RED).max() <= 3


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_the_first_frame_of_an_animation_is_taken(kind: str) -> None:
    frames = [plain(RED), plain(BLUE), plain(GREEN)]
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:], duration=50)
    assert np.abs(prepare(data) - RED).max() <= 3


def test_a_strip_is_padded_in_little_memory() -> None:
    strip = plain(RED, size=(30_000, 4))
    found = prepare(strip, crop="fit", background=BLUE)
    np.testing.assert_array_equal(found[0, 0], BLUE)
    assert prepare(strip).shape == (8, 8, 3)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "WEBP", "AVIF"])
def test_a_colour_profile_counts_in_every_format(form: str) -> None:
    # Adobe RGB (1998), 4.3: its primaries at D50, and gamma 2 + 51/256.
    matrix = [[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]]
    profile = rgb_profile(np.array(matrix), 563 / 256)
    image = plain((200, 80, 60), size=(40, 24))
    data = encode(image, form, icc_profile=profile, quality=100)
    # The value of another implementation, rounded.
    assert np.abs(prepare(data) - (230, 79, 56)).max() <= (1 if form in ("PNG", "TIFF") else 4)
    grey = prepare(data, channels=1)
    np.testing.assert_allclose(grey, 0.299 * 230 + 0.587 * 79 + 0.114 * 56, atol=4)
