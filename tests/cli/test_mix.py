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


def test_the_sheet_crosses_rows_and_columns(segan: Segan, toy_bundle: Path, tmp_path: Path) -> None:
    done = segan("mix", "--rows", "0,1", "--cols", "10-13", "--layers", "0-1", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "path": "mix.png",
        "rows": [0, 1],
        "cols": [10, 11, 12, 13],
        "layers": "0-1",
    }
    with Image.open(tmp_path / "mix.png") as found:
        sheet = np.asarray(found)

    def cell(row: int, col: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
        top = sheet.shape[0] - 16 - (3 - row) * 100 + 4
        left = sheet.shape[1] - 16 - (5 - col) * 100 + 4
        return sheet[top : top + 96, left : left + 96].astype(np.int64)

    assert (cell(0, 0) == 255).all()
    with load(toy_bundle) as generator:
        mixed = generator.mix([0, 1], [10, 11, 12, 13], layers="0-1")
        expected = {(1, 0): generator.generate([0])[0], (0, 3): generator.generate([12])[0]}
        expected |= {(2, 2): mixed[1, 1], (1, 3): mixed[0, 2]}
    for place, image in expected.items():
        assert np.abs(cell(*place) - np.asarray(enlarge(to_pil(image)))).max() <= 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--layers", "0-9"), "layer is 3; expected 0 to 2"),
        (("--layers", "x"), "x"),
        (("--rows", "b"), "--rows is 'b'"),
        (("--cols", "5-1"), "--cols is '5-1'"),
        (("-o", "mix.tiff"), "ends in '.tiff'"),
        (("--scale", "0"), "scale is 0"),
    ],
)
def test_wrong_use(
    segan_here: Segan, toy_bundle: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = segan_here("mix", *arguments)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "mix.png").exists()
