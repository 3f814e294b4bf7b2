"""Tables of sweeps: their images, labels and animations."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from segan.runtime.bundle.attributes_editing import name_slider, write_attributes
from segan.runtime.bundle.layout import Slider
from segan.runtime.bundle.reader import open_bundle
from segan.runtime.generate.generator import Generator, load
from segan.runtime.generate.sweep import SweptSlider, swept_slider
from segan.runtime.latents.files import Latents
from segan.runtime.pictures import sweeps
from segan.runtime.pictures.sweeps import (
    SweepTable,
    sweep_by,
    sweep_rows,
    write_sweep_animation,
    write_sweep_sheet,
)

VALUES = [-1.0, 0.0, 2.0]


@pytest.fixture
def toy(toy_bundle: Path) -> Iterator[Generator]:
    named = name_slider(open_bundle(toy_bundle), Slider(1, 0, 2), "smile", limits=(-1, 2), sign=-1)
    write_attributes(open_bundle(toy_bundle), named)
    with load(toy_bundle, "cpu", threads=1) as generator:
        yield generator


def placed(toy: Generator, dim: int) -> SweptSlider:
    return swept_slider(toy.bundle, 1, dim)


def test_one_slider_has_a_row_for_each_seed(toy: Generator) -> None:
    counted: list[int] = []
    smile = swept_slider(toy.bundle, None, None, attr="smile")
    table = sweep_rows(toy, toy.settings(psi=0.7), [smile], [3, 5], VALUES, counted.append)
    assert table.images.shape == (2, 3, 16, 16, 3)
    assert table.rows == ["seed 3", "seed 5"]
    assert table.values == VALUES
    assert table.title == "L1N0D2 smile: layer 1 (b8.conv0, 8 x 8), dim 2"
    assert table.subtitle == toy.manifest.name
    assert counted == [3, 3]
    expected = toy.sweep(5, 1, 2, values=[1, 0, -2], psi=0.7)  # the name runs backwards
    np.testing.assert_array_equal(table.images[1], expected)


def test_sliders_have_rows_of_their_own(toy: Generator) -> None:
    sliders, settings = [placed(toy, 1), placed(toy, 2)], toy.settings()
    one_seed = sweep_rows(toy, settings, sliders, [3], VALUES)
    assert one_seed.rows == ["D1", "D2 smile"]
    assert one_seed.title == "L1N0: layer 1 (b8.conv0, 8 x 8), all dims, seed 3"
    np.testing.assert_array_equal(one_seed.images[1], toy.sweep(3, 1, 2, values=VALUES))
    two_seeds = sweep_rows(toy, settings, sliders, [3, 5], VALUES)
    assert two_seeds.rows == ["D1  seed 3", "D1  seed 5", "D2 smile  seed 3", "D2 smile  seed 5"]
    assert two_seeds.title == "L1N0: layer 1 (b8.conv0, 8 x 8), all dims"


def test_a_grid_of_two_sliders(toy: Generator) -> None:
    latents = Latents(np.random.RandomState(0).randn(2, 8, 8).astype(np.float32))
    counted: list[int] = []
    cols, rows = placed(toy, 2)._replace(name="smile"), placed(toy, 0)
    settings = toy.settings(latents=latents)
    table = sweep_by(toy, settings, 1, cols, rows, VALUES, [0.0, 1.5], counted.append)
    assert table.images.shape == (2, 3, 16, 16, 3)
    assert (table.rows, table.values) == (["L1N0D0  0", "L1N0D0  +1.50"], VALUES)
    assert table.title == "smile across, L1N0D0 down"
    assert table.subtitle == f"{toy.manifest.name}, latent 1"
    assert counted == [6]


def flat(shades: list[list[int]]) -> SweepTable:
    """A table whose images are of one shade each."""
    images = np.array(shades, np.uint8)[:, :, None, None, None] * np.ones((2, 2, 3), np.uint8)
    return SweepTable(images, ["" for _ in shades], [0.0] * len(shades[0]), "title", "")


def test_an_animation_runs_there_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[NDArray[np.uint8]] = []
    monkeypatch.setattr(sweeps, "write_animation", lambda _, frames, **how: written.extend(frames))
    write_sweep_animation(
        tmp_path / "a.gif", [flat([[1, 2, 3], [4, 5, 6]]), flat([[7, 8, 9]] * 2)], fps=5
    )
    assert [int(frame[0, 0, 0]) for frame in written] == [1, 2, 3, 2]
    # The rows of a table stand side by side, the second table below the first.
    assert written[1].shape == (4, 4, 3)
    assert [[int(v) for v in row] for row in written[1][::2, ::2, 0]] == [[2, 5], [8, 8]]


def test_a_sheet_is_written(tmp_path: Path) -> None:
    write_sweep_sheet(tmp_path / "a.png", flat([[1, 2, 3], [4, 5, 6]]))
    with Image.open(tmp_path / "a.png") as sheet:
        assert sheet.width > 3 * 96
        assert sheet.height > 2 * 96
