from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest

from segan.runtime.errors import DataError
from segan.runtime.pictures.bit_depth import scale_samples, stated_range
from segan.runtime.pictures.decode import decode_picture
from tests.runtime.pictures.hostile_pictures import tiff

if TYPE_CHECKING:
    from tests.conftest import RaisesError

VALUES = np.array([0, 1, 200, 257, 4000, 32768, 65000, 65535], np.float64)


def scaled(values: npt.NDArray[Any], **tags: Any) -> list[int]:
    image = decode_picture(tiff(values[None], **tags), "x.tif")
    stated = stated_range(image, "x.tif")
    assert stated is not None
    return [int(value) for value in np.asarray(scale_samples(image, stated))[0]]


def in_range(values: npt.NDArray[Any], low: float, high: float) -> list[int]:
    share = ((values.astype(np.float64) - low) / (high - low)).clip(0, 1)
    return [int(value) for value in np.floor(share * 255 + 0.5)]


@pytest.mark.parametrize("big_endian", [False, True])
def test_sixteen_bits(big_endian: bool) -> None:
    values = VALUES.astype(np.uint16)
    assert scaled(values, big_endian=big_endian) == in_range(values, 0, 65535)


def test_white_is_zero() -> None:
    values = VALUES.astype(np.uint16)
    wanted = [255 - value for value in in_range(values, 0, 65535)]
    assert scaled(values, photometric=0) == wanted
    assert (wanted[0], wanted[-1]) == (255, 0)
    assert scaled(values, photometric=0, low=0, high=4000)[:5] == [255, 255, 242, 239, 0]


def test_twelve_bits_are_all_of_them() -> None:
    values = np.array([0, 1000, 4095, 2048], np.uint16)
    packed = np.array([0x00, 0x03, 0xE8, 0xFF, 0xF8, 0x00], np.uint8)  # 12 bits each
    image = decode_picture(
        tiff(packed[None], bits=12).replace(b"\6\0\0\0", b"\4\0\0\0", 1), "x.tif"
    )
    stated = stated_range(image, "x.tif")
    assert stated is not None
    assert stated == (0, 4095, False)
    assert np.asarray(scale_samples(image, stated))[0].tolist() == in_range(values, 0, 4095)


@pytest.mark.parametrize(
    ("kind", "sample_format", "low", "high"),
    [
        (np.uint16, 1, 0, 4095),
        (np.int16, 2, -1000, 1000),
        (np.int32, 2, 0, 70_000),
        (np.float32, 3, 0, 1),
        (np.float32, 3, -1, 3),
    ],
)
def test_a_stated_range_counts(kind: type, sample_format: int, low: float, high: float) -> None:
    values: npt.NDArray[Any] = np.linspace(low, high, 9).astype(kind)
    assert scaled(values, sample_format=sample_format, low=low, high=high) == in_range(
        values, low, high
    )


def test_values_that_are_no_numbers_are_black() -> None:
    values = np.array([np.nan, np.inf, -np.inf, 0.5], np.float32)
    assert scaled(values, sample_format=3, low=0, high=1) == [0, 255, 0, 128]


@pytest.mark.parametrize(
    ("kind", "sample_format", "tags", "problem"),
    [
        (np.float32, 3, {}, "floating-point values"),
        (np.float32, 3, {"low": 0.0}, "floating-point values"),
        (np.float32, 3, {"low": 1.0, "high": 1.0}, "floating-point values"),
        (np.float32, 3, {"low": 0.0, "high": np.inf}, "floating-point values"),
        (np.int16, 2, {}, "signed 16-bit values"),
        (np.int32, 2, {}, "signed 32-bit values"),
        (np.uint32, 1, {}, "holds 32-bit values"),
        (np.uint8, 2, {}, "signed 8-bit values"),
    ],
)
def test_a_range_that_is_not_stated_is_refused(
    kind: type, sample_format: int, tags: dict[str, Any], problem: str, raises_error: RaisesError
) -> None:
    image = decode_picture(tiff(np.zeros((4, 4), kind), sample_format=sample_format, **tags), "x")
    with raises_error(DataError, problem=problem):
        stated_range(image, "x")


def test_eight_bits_have_no_range() -> None:
    assert stated_range(decode_picture(tiff(np.zeros((4, 4), np.uint8)), "x"), "x") is None
