from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from segan.runtime.errors import ConfigError, OutputError
from segan.runtime.pictures.sheets import (
    MAX_SIDE,
    MIN_CELL,
    enlarge,
    grid,
    labelled_sheet,
    value_label,
    write_sheet,
)

if TYPE_CHECKING:
    from tests.conftest import RaisesError


def _flat(colours: list[tuple[int, ...]], side: int) -> NDArray[np.uint8]:
    """One image of a single colour for each entry: uint8 [N, side, side, C]."""
    return np.broadcast_to(
        np.asarray(colours, np.uint8)[:, None, None, :], (len(colours), side, side, len(colours[0]))
    ).copy()


COLOURS: list[tuple[int, ...]] = [
    (200, 0, 0),
    (0, 180, 0),
    (0, 0, 160),
    (140, 140, 0),
    (0, 120, 120),
]


def test_grid_places_images_row_by_row() -> None:
    sheet = np.asarray(grid(_flat(COLOURS, 8), cols=3, scale=2))
    gap, side = 4, 16
    assert sheet.shape == (2 * (side + gap) + gap, 3 * (side + gap) + gap, 3)
    for i, colour in enumerate(COLOURS):
        row, col = divmod(i, 3)
        top, left = gap + row * (side + gap), gap + col * (side + gap)
        assert (sheet[top : top + side, left : left + side] == colour).all()
    # The place after the last image, and the gaps, are paper.
    assert (sheet[gap + side + gap :, gap + 2 * (side + gap) :] == 255).all()
    assert (sheet[:gap] == 255).all()


@pytest.mark.parametrize(
    ("side", "expected"), [(16, 96), (32, 96), (64, 128), (96, 96), (256, 256)]
)
def test_small_images_are_enlarged_by_a_whole_factor(side: int, expected: int) -> None:
    assert grid(_flat(COLOURS[:1], side)).size == (expected + 8, expected + 8)
    assert expected >= MIN_CELL


def test_a_grid_is_about_square() -> None:
    assert grid(_flat(COLOURS[:1] * 64, 96)).size == (8 * 100 + 4, 8 * 100 + 4)
    assert grid(_flat(COLOURS[:1] * 3, 96)).size == (2 * 100 + 4, 2 * 100 + 4)


def test_a_sheet_that_would_be_huge_gets_smaller_images() -> None:
    sheet = grid(_flat(COLOURS[:1], 1024).repeat(20, axis=0), cols=20)
    assert max(sheet.size) <= MAX_SIDE + 100
    assert sheet.width > MAX_SIDE * 0.9


def test_transparency_is_shown_on_white() -> None:
    images = _flat([(10, 20, 30, 0), (10, 20, 30, 255), (10, 20, 30, 128)], 8)
    sheet = np.asarray(grid(images, cols=3, scale=1))
    assert (sheet[4:12, 4:12] == 255).all()
    assert (sheet[4:12, 16:24] == (10, 20, 30)).all()
    blended = 255 + (np.array([10, 20, 30]) - 255) * 128 / 255
    assert np.abs(sheet[8, 32] - blended).max() <= 1
    grey = np.asarray(grid(_flat([(50, 255)], 8), scale=1))
    assert (grey[4:12, 4:12] == 50).all()


def test_labelled_sheet_places_rows_and_columns() -> None:
    images = _flat(COLOURS[:4] + COLOURS[:2], 32).reshape(2, 3, 32, 32, 3)
    sheet = np.asarray(
        labelled_sheet(
            images, rows=["seed 0", "seed 1"], cols=["-1.00", "0", "+1.00"], title="L3N0D5"
        )
    )
    # Find the cells by colour: the order of first appearance is the order of the images.
    places = {}
    for i, colour in enumerate(COLOURS[:4]):
        ys, xs = np.nonzero((sheet == colour).all(axis=2))
        places[i] = (int(ys.min()), int(xs.min()))
        if i >= 2:  # The first two colours appear twice.
            assert (int(ys.max()) - ys.min() + 1, int(xs.max()) - xs.min() + 1) == (96, 96)
    assert places[0][0] == places[1][0] == places[2][0] < places[3][0]
    assert places[0][1] == places[3][1] < places[1][1] < places[2][1]
    # Title, labels of columns and of rows leave ink above and before the images.
    top, left = places[0]
    assert (sheet[:top] < 128).any()
    assert (sheet[top:, :left] < 128).any()


def _ink(part: NDArray[np.uint8]) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of what is darker than the paper."""
    ys, xs = np.nonzero((part < 200).any(axis=2))
    return float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1)


@pytest.mark.parametrize("side", [96, 160])
def test_labels_are_centred_on_their_columns_and_rows(side: int) -> None:
    images = _flat([(201, 202, 203)] * 6, side).reshape(2, 3, side, side, 3)
    # The same at the left as at the right, so that ink and text have one middle.
    labels = ["HH", "0", "HHH"]
    sheet = np.asarray(labelled_sheet(images, rows=["HH", "H"], cols=labels))
    ys, xs = np.nonzero((sheet == (201, 202, 203)).all(axis=2))
    top, left = int(ys.min()), int(xs.min())
    pitch = side + 4
    for col in range(3):
        start = left + col * pitch
        # The gap beside a column belongs to it, so that a label that moved out is seen.
        begin, _, end, low = _ink(sheet[:top, start - 4 : start + side + 4])
        assert (begin + end) / 2 - 4 == pytest.approx(side / 2, abs=1.5)
        assert 0 < top - low < side / 4  # above the column, and not on it
        assert 0 <= begin - 4 < end - 4 <= side
    for row in range(2):
        start = top + row * pitch
        _, first, end, last = _ink(sheet[start : start + side, :left])
        assert (first + last) / 2 == pytest.approx(side / 2, abs=1.5)
        assert left - end == pytest.approx(10, abs=2)  # all end beside the images
    assert (sheet[:top, :left] >= 200).all()


def test_a_label_does_not_reach_the_next_column() -> None:
    images = _flat([(201, 202, 203)] * 2, 96).reshape(1, 2, 96, 96, 3)
    long = labelled_sheet(images, rows=[""], cols=["H" * 40, ""])
    sheet = np.asarray(long)
    ys, xs = np.nonzero((sheet == (201, 202, 203)).all(axis=2))
    begin, _, end, _ = _ink(sheet[: int(ys.min())])
    left = int(xs.min())
    assert left <= begin < end <= left + 96
    assert end - begin > 96 * 0.7  # cut no further than it has to be


def test_labels_must_fit(raises_error: RaisesError) -> None:
    images = np.zeros((2, 3, 8, 8, 3), np.uint8)
    with raises_error(ConfigError, field="rows", problem="1 row labels"):
        labelled_sheet(images, rows=["a"], cols=["a", "b", "c"])
    with raises_error(ConfigError, field="images", value=(0, 3, 8, 8, 3)):
        labelled_sheet(images[:0], rows=[], cols=["a", "b", "c"])


@pytest.mark.parametrize(("field", "value"), [("cols", 0), ("scale", 0), ("scale", -1)])
def test_grid_refuses(field: str, value: int, raises_error: RaisesError) -> None:
    with raises_error(ConfigError, field=field, value=value, expected="1 or more"):
        grid(_flat(COLOURS, 8), **{field: value})
    with raises_error(ConfigError, field="images", value=(0, 8, 8, 3)):
        grid(np.zeros((0, 8, 8, 3), np.uint8))


def test_enlarging_keeps_the_mean() -> None:
    image = np.random.RandomState(0).randint(64, 192, (16, 16, 3), np.uint8)
    large = enlarge(Image.fromarray(image), 4)
    assert large.size == (64, 64)
    assert np.asarray(large).mean() == pytest.approx(image.mean(), abs=1.5)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (-0.001, "0"), (1.7320508, "+1.73"), (-0.5, "-0.50"), (2, "+2.00")],
)
def test_value_labels(value: float, text: str) -> None:
    assert value_label(value) == text


@pytest.mark.parametrize(
    ("name", "kind"), [("a.png", "PNG"), ("a.JPG", "JPEG"), ("b/c.webp", "WEBP")]
)
def test_sheets_are_written_by_their_ending(tmp_path: Path, name: str, kind: str) -> None:
    write_sheet(tmp_path / name, grid(_flat(COLOURS, 8)))
    with Image.open(tmp_path / name) as found:
        assert found.format == kind


def test_sheets_that_cannot_be_written(tmp_path: Path, raises_error: RaisesError) -> None:
    sheet = grid(_flat(COLOURS, 8))
    with raises_error(ConfigError, value=tmp_path / "a.bmp", expected=".png, .jpg, .jpeg, .webp"):
        write_sheet(tmp_path / "a.bmp", sheet)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="there is a file where a folder is expected"):
        write_sheet(tmp_path / "file" / "a.png", sheet)
