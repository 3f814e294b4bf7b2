from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from segan.runtime.errors import ConfigError
from segan.runtime.pictures.encode import ImageEncoding, encode_image, to_pil

if TYPE_CHECKING:
    from tests.conftest import RaisesError


def _image(channels: int, height: int = 5, width: int = 7) -> NDArray[np.uint8]:
    return np.random.RandomState(channels).randint(0, 256, (height, width, channels), np.uint8)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("level", [0, 1, 9])
def test_png_keeps_every_pixel(channels: int, level: int) -> None:
    image = _image(channels)
    data = encode_image(image, ImageEncoding(compress_level=level))
    with Image.open(io.BytesIO(data)) as found:
        assert found.format == "PNG"
        assert found.mode == {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels]
        assert np.array_equal(np.asarray(found).reshape(image.shape), image)


@pytest.mark.parametrize("channels", [3, 4])
def test_webp_of_quality_100_keeps_every_pixel(channels: int) -> None:
    image = _image(channels)
    data = encode_image(image, ImageEncoding(format="webp", quality=100))
    with Image.open(io.BytesIO(data)) as found:
        assert found.format == "WEBP"
        assert np.array_equal(np.asarray(found.convert(to_pil(image).mode)), image)


@pytest.mark.parametrize(("image_format", "channels"), [("jpeg", 1), ("jpeg", 3), ("webp", 3)])
def test_lossy_formats_stay_close_to_a_smooth_image(image_format: Any, channels: int) -> None:
    ramp = np.linspace(0, 255, 32)
    plane = (ramp[:, None] + ramp[None, :]) / 2
    image = np.repeat(plane[..., None], channels, axis=2).astype(np.uint8)
    data = encode_image(image, ImageEncoding(format=image_format, quality=95))
    with Image.open(io.BytesIO(data)) as found:
        pixels = np.asarray(found).reshape(image.shape).astype(int)
    assert np.abs(pixels - image).max() <= 8


def test_the_same_image_gives_the_same_bytes() -> None:
    for image_format in ("png", "webp", "jpeg"):
        encoding = ImageEncoding(format=image_format)
        assert encode_image(_image(3), encoding) == encode_image(_image(3), encoding)


@pytest.mark.parametrize("channels", [2, 4])
def test_jpeg_refuses_transparency(channels: int, raises_error: RaisesError) -> None:
    with raises_error(ConfigError, field="format", value="jpeg"):
        encode_image(_image(channels), ImageEncoding(format="jpeg"))


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("format", "bmp", "one of png, webp, jpeg"),
        ("quality", 0, "1 to 100"),
        ("quality", 101, "1 to 100"),
        ("compress_level", 10, "0 to 9"),
    ],
)
def test_settings_out_of_range_are_refused(
    field: str, value: Any, expected: str, raises_error: RaisesError
) -> None:
    with raises_error(ConfigError, field=field, value=value, expected=expected):
        ImageEncoding(**{field: value})


def test_arrays_that_are_no_image_are_refused(raises_error: RaisesError) -> None:
    with raises_error(ConfigError, field="image", value="float32 [4, 4, 3]"):
        to_pil(np.zeros((4, 4, 3), np.float32))
    with raises_error(ConfigError, field="channels", value=5, expected="1 to 4"):
        encode_image(np.zeros((4, 4, 5), np.uint8), ImageEncoding())


# The encoder of compress_level 1.


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (7, 1), (64, 48)])
def test_the_own_encoder_is_read_by_others(channels: int, height: int, width: int) -> None:
    image = _image(channels, height, width)
    data = encode_image(image, ImageEncoding())
    with Image.open(io.BytesIO(data)) as found:
        found.verify()  # checksums and order of the chunks
    with Image.open(io.BytesIO(data)) as found:
        assert found.mode == {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels]
        assert np.array_equal(np.asarray(found).reshape(image.shape), image)


def test_strides_do_not_change_the_bytes() -> None:
    image = _image(3, 16, 16)
    turned = image[::-1, ::2]
    assert encode_image(turned, ImageEncoding()) == encode_image(turned.copy(), ImageEncoding())


def test_other_levels_are_smaller() -> None:
    # Smooth in both directions, as the images of a generator are.
    ramp = np.sin(np.linspace(0, 9, 128))
    plane = 127.5 + 60 * (ramp[:, None] + ramp[None, :]) + _image(1, 128, 128)[..., 0] / 64
    image = np.repeat(plane[..., None], 3, axis=2).astype(np.uint8)
    sizes = [len(encode_image(image, ImageEncoding(compress_level=n))) for n in (0, 1, 9)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[1] < 0.7 * sizes[0]


def test_an_image_without_pixels_is_refused(raises_error: RaisesError) -> None:
    for image_format in ("png", "webp"):
        with raises_error(ConfigError, field="image", value="uint8 [0, 4, 3]"):
            encode_image(np.zeros((0, 4, 3), np.uint8), ImageEncoding(format=image_format))


def test_the_encoder_is_named_with_its_version() -> None:
    import zlib

    assert zlib.ZLIB_RUNTIME_VERSION in ImageEncoding().encoder
    assert ImageEncoding(compress_level=6).encoder.startswith("Pillow ")
    assert ImageEncoding(format="webp").encoder.startswith("Pillow ")
