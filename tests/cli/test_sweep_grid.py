from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segan.runtime.generate.generator import load
from segan.runtime.pictures.encode import to_pil
from segan.runtime.pictures.sheets import enlarge

Segan = Callable[..., subprocess.CompletedProcess[str]]


def test_one_slider_across_another_down(
    segan_here: Segan, toy_bundle: Path, tmp_path: Path
) -> None:
    done = segan_here("name", toy_bundle, "L1N0D2", "smile", "--range", "-1,1")
    assert done.returncode == 0, done.stderr
    by = ("--by", "L2N0D1", "--by-range", "-2,0", "--by-steps", 3)
    done = segan_here("sweep", toy_bundle, "--attr", "smile", "--steps", 4, *by, "--json")
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)
    assert result["path"] == "sweep-L1N0D2-by-L2N0D1.png"
    assert result["sliders"] == ["L1N0D2", "L2N0D1"]
    assert result["attributes"] == ["smile", None]
    assert result["values"] == pytest.approx([-1, -1 / 3, 1 / 3, 1], abs=1e-6)
    assert result["by_values"] == [-2, -1, 0]
    with Image.open(tmp_path / result["path"]) as found:
        sheet = np.asarray(found).astype(int)
    with load(toy_bundle) as generator:
        across = [-1, -1 / 3, 1 / 3, 1]
        grid = generator.sweep_grid(0, "smile", "L2N0D1", col_values=across, row_values=[-2, -1, 0])
    for row in range(3):
        for col in range(4):
            top = sheet.shape[0] - 16 - (3 - row) * 100 + 4
            left = sheet.shape[1] - 16 - (4 - col) * 100 + 4
            cell = sheet[top : top + 96, left : left + 96]
            assert np.abs(cell - np.asarray(enlarge(to_pil(grid[row, col])))).max() <= 2


def test_a_sheet_for_each_seed_and_two_bare_names(
    segan_here: Segan, toy_bundle: Path, tmp_path: Path
) -> None:
    for slider, name in (("L1N0D2", "smile"), ("L2N0D1", "hair")):
        assert segan_here("name", toy_bundle, slider, name).returncode == 0
    names = ("--attr", "smile", "--attr", "hair", "--attr", "L0N0D0=1")
    words = (*names, "--seeds", "3,5", "--steps", 2, "--by-steps", 2, "-o", "deep/g.webp")
    done = segan_here("sweep", toy_bundle, *words)
    assert done.returncode == 0, done.stderr
    assert "smile by hair, 2 x 2 values." in done.stdout
    found = sorted(path.name for path in (tmp_path / "deep").iterdir())
    assert found == ["g-seed3.webp", "g-seed5.webp"]


def test_an_animation_of_the_grid(segan_here: Segan, toy_bundle: Path, tmp_path: Path) -> None:
    words = ("--at", "L1N0D2", "--by", "L2N0D1", "--seeds", "3,5", "--steps", 3, "--by-steps", 4)
    done = segan_here("sweep", toy_bundle, *words, "-o", "grid.gif", "--scale", 2)
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "grid.gif") as animation:
        assert animation.size == (4 * 32, 2 * 32)
        assert getattr(animation, "n_frames") == 4  # noqa: B009  there and back


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--layer", 1, "--by", "L2N0D1"), "--by needs one slider across"),
        (("--all", "--by", "L2N0D1"), "--by needs one slider across"),
        (("--by", "L2N0D1"), "no slider is given"),
        (("--at", "L1N0D2", "--by", "L1N0D2"), "L1N0D2 is given for the columns and the rows"),
        (("--at", "L1N0D2", "--by", "L1N0D99"), "the dim of --by is 99; expected 0 to"),
        (("--at", "L1N0D2", "--by", "smlie"), "--by is 'smlie'"),
        (("--attr", "smlie", "--attr", "hiar"), "--attr is 'smlie'"),
        (("--at", "L1N0D99"), "the dim of --at is 99"),
        (("--layer", 1, "--dim", 99), "--dim is 99"),
        (("--layer", 1, "--dim", 99, "--by", "L2N0D1"), "--dim is 99"),
        (("--at", "L1N0D2", "--by-steps", 3), "--by-range and --by-steps belong to --by"),
        (("--at", "L1N0D2", "--by", "L2N0D1", "--by-steps", 1), "--by-steps is 1"),
        (("--at", "L1N0D2", "--by", "L2N0D1", "--by-range", "2,1"), "--by-range is 2,1"),
        (("--at", "L1N0D2", "--by", "L2N0D1", "--set", "L2N0D1=1"), "also given in --set"),
    ],
)
def test_what_cannot_be(
    segan_here: Segan, toy_bundle: Path, words: tuple[object, ...], message: str
) -> None:
    done = segan_here("sweep", toy_bundle, *words)
    assert done.returncode == 2
    assert message in done.stderr
