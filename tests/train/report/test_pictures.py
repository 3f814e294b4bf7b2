from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segan.runtime.errors import DataError
from segan.runtime.pictures.sheets import grid
from segan.train.report.pictures import MAX_SIDE, PictureFolder, common_progress, spread
from segan.train.report.run_record import Sheet, read_run


def test_a_picture_is_copied_byte_by_byte(tmp_path: Path) -> None:
    source = tmp_path / "a.png"
    Image.new("RGB", (30, 20)).save(source)
    picture = PictureFolder(tmp_path / "out").add(source, "b")
    assert picture == ("images/b.png", 30, 20)
    assert (tmp_path / "out" / "images" / "b.png").read_bytes() == source.read_bytes()


@pytest.mark.parametrize("side", [16, 128])
def test_rows_of_a_sheet_are_cut_between_images(tmp_path: Path, side: int) -> None:
    images = np.zeros((64, side, side, 3), np.uint8)
    images[:8] = 10  # the first row, then the second
    images[8:16] = 200
    source = tmp_path / "a.png"
    grid(images, 8).save(source)
    picture = PictureFolder(tmp_path).add(source, "b", rows=1)
    pixels = np.asarray(Image.open(tmp_path / picture.source))
    assert pixels.shape[:2] == (picture.height, picture.width)
    assert set(np.unique(pixels)) == {10, 255}  # the first row and the paper, nothing below
    whole = np.asarray(Image.open(source))
    assert picture.width == whole.shape[1]
    assert (pixels == whole[: picture.height]).all()


def test_other_pictures_are_not_cut(tmp_path: Path) -> None:
    source = tmp_path / "a.png"
    Image.new("RGB", (333, 200)).save(source)
    assert PictureFolder(tmp_path).add(source, "b", rows=1)[1:] == (333, 200)


def test_a_very_large_picture_is_made_smaller(tmp_path: Path) -> None:
    source = tmp_path / "a.png"
    Image.new("RGB", (2 * MAX_SIDE, MAX_SIDE)).save(source)
    assert PictureFolder(tmp_path).add(source, "b")[1:] == (MAX_SIDE, MAX_SIDE // 2)


@pytest.mark.parametrize("data", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n" + bytes(40)])
def test_a_broken_picture_is_named(tmp_path: Path, data: bytes) -> None:
    source = tmp_path / "a.png"
    source.write_bytes(data)
    with pytest.raises(DataError) as caught:
        PictureFolder(tmp_path).add(source, "b")
    assert (caught.value.field, caught.value.value) == ("path", source)


def test_moments_are_spread_from_first_to_last() -> None:
    sheets = [Sheet(float(i), Path()) for i in range(11)]
    assert [sheet.kimg for sheet in spread(sheets, 3)] == [0, 5, 10]
    assert [sheet.kimg for sheet in spread(sheets, 1)] == [10]
    assert spread(sheets, 50) == sheets
    assert spread([], 3) == []


def test_runs_are_compared_where_all_have_sheets(make_run: Callable[..., Path]) -> None:
    first = read_run(make_run("00000-a", kimg=(0.5, 1.0, 1.5), swd=(1, 1, 1)))
    second = read_run(make_run("00001-b", kimg=(0.5, 1.5, 2.0), swd=(1, 1, 1)))
    assert common_progress([first, second], 9) == [0.0, 0.5, 1.5]
    assert common_progress([first, second], 2) == [0.0, 1.5]
