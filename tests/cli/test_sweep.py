from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from segan.runtime.generate.generator import load
from segan.runtime.pictures.encode import to_pil
from segan.runtime.pictures.sheets import enlarge

Segan = Callable[..., subprocess.CompletedProcess[str]]


def test_a_sheet_with_a_row_for_each_seed(segan: Segan, toy_bundle: Path, tmp_path: Path) -> None:
    done = segan("sweep", "--layer", 1, "--dim", 2, "--seeds", "0-2", "--steps", 5, "--json")
    assert done.returncode == 0, done.stderr
    assert "bundle: toy.segan" in done.stderr
    (result,) = json.loads(done.stdout)
    assert result["path"] == "sweep-L1N0D2.png"
    assert result["sliders"] == ["L1N0D2"]
    assert result["seeds"] == [0, 1, 2]
    root = 3**0.5
    assert result["values"] == pytest.approx([-root, -root / 2, 0, root / 2, root], abs=1e-6)
    with Image.open(tmp_path / "sweep-L1N0D2.png") as found:
        sheet = np.asarray(found)
    # Cells of 96 pixels, 4 apart, end 16 before the right and lower edge.
    with load(toy_bundle) as generator:
        for row, seed in enumerate([0, 1, 2]):
            images = generator.sweep(seed, 1, 2, steps=5)
            for col, image in enumerate(images):
                top, left = sheet.shape[0] - 16 - (3 - row) * 100 + 4, 0
                left = sheet.shape[1] - 16 - (5 - col) * 100 + 4
                cell = sheet[top : top + 96, left : left + 96].astype(int)
                assert np.abs(cell - np.asarray(enlarge(to_pil(image)))).max() <= 2


def test_seeds_that_are_not_given(segan_here: Segan, toy_bundle: Path) -> None:
    for ways in (("--at", "L2N0D1"), ("--layer", 2, "--dim", 1)):
        done = segan_here("sweep", toy_bundle, *ways, "--steps", 2, "--json")
        assert [result["seeds"] for result in json.loads(done.stdout)] == [[0, 1, 2, 3]]


def test_all_dims_of_a_layer(segan_here: Segan, toy_bundle: Path, tmp_path: Path) -> None:
    done = segan_here("sweep", "--layer", 2, "--steps", 3, "--json")
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)
    assert result["path"] == "sweep-L2N0.png"
    assert result["sliders"] == [f"L2N0D{dim}" for dim in range(4)]
    assert result["seeds"] == [0]
    done = segan_here("sweep", "--layer", 2, "--steps", 3, "--seeds", "4,5", "-o", "two.jpg")
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "sweep-L2N0.png") as one, Image.open(tmp_path / "two.jpg") as two:
        assert two.height - one.height == 4 * 100


def test_every_subspace(segan_here: Segan, toy_bundle_zip: Path, tmp_path: Path) -> None:
    done = segan_here("sweep", "--all", "--steps", 2, "--class", "square", "-o", "sheets")
    assert done.returncode == 0, done.stderr
    with load(toy_bundle_zip) as generator:
        places = [(s.layer, s.index) for s in generator.manifest.subspaces]
    assert sorted(path.name for path in (tmp_path / "sheets").iterdir()) == sorted(
        f"sweep-L{layer}N{index}.png" for layer, index in places
    )


def test_at_and_range(segan_here: Segan, toy_bundle_zip: Path) -> None:
    done = segan_here(
        *("sweep", toy_bundle_zip, "--at", "L1N1D0", "--range", "-3,2", "--steps", 6, "--class", 0),
        *("--seeds", 7, "-o", "deep/er/s.png", "--json"),
    )
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)
    assert result["values"] == [-3, -2, -1, 0, 1, 2]
    assert result["sliders"] == ["L1N1D0"]


def test_animation_goes_there_and_back(segan_here: Segan, toy_bundle: Path, tmp_path: Path) -> None:
    arguments = ("sweep", "--at", "L0N0D1", "--seeds", "0-1", "--steps", 4, "--fps", 10)
    done = segan_here(*arguments, "-o", "s.gif", "--scale", 2)
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "s.gif") as found:
        # Two seeds side by side, 16 pixels each, twice as large.
        assert found.size == (64, 32)
        # 1 2 3 4 3 2
        assert found.n_frames == 6  # type: ignore[attr-defined]


def test_right_after_installation(segan: Segan, tmp_path: Path) -> None:
    done = segan("sweep", "--layer", 3, "--dim", 5, "--seeds", "0-1", "--steps", 3)
    assert done.returncode == 0, done.stderr
    assert "which ships with segan (train and export your own to replace it)" in done.stderr
    with Image.open(tmp_path / "sweep-L3N0D5.png") as sheet:
        assert sheet.width > 3 * 96


def sheet_of(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as found:
        return np.asarray(found)


@pytest.fixture
def named_bundle(toy_bundle: Path, replace_file: Callable[[Path, str, bytes], None]) -> Path:
    """toy.segan with L1N0D2 called smile, whose coordinate falls as the smile grows."""
    entry = {"name": "smile", "layer": 1, "dim": 2, "range": [-1, 2], "sign": -1}
    replace_file(toy_bundle, "attributes.json", json.dumps({"attributes": [entry]}).encode())
    return toy_bundle


def test_a_name_sweeps_over_its_own_range_and_in_its_own_direction(
    segan_here: Segan, named_bundle: Path, tmp_path: Path
) -> None:
    done = segan_here("sweep", "--attr", "Smile", "--steps", 4, "--json", "-o", "name.png")
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)
    assert result["values"] == [-1, 0, 1, 2]
    assert (result["sliders"], result["attribute"]) == (["L1N0D2"], "smile")
    # The cells are those of the coordinates 1, 0, -1, -2, from left to right.
    place = ("sweep", "--layer", 1, "--dim", 2, "--range", "-2,1", "--steps", 4, "-o", "place.png")
    assert segan_here(*place).returncode == 0
    by_name, by_place = (sheet_of(tmp_path / f"{name}.png") for name in ("name", "place"))
    assert by_name.shape == by_place.shape  # Both titles have the name.

    def cell(sheet: NDArray[np.uint8], col: int) -> NDArray[np.uint8]:
        left = sheet.shape[1] - 16 - (4 - col) * 100 + 4
        return sheet[-112:-16, left : left + 96]

    for col in range(4):
        assert np.array_equal(cell(by_name, col), cell(by_place, 3 - col))
    assert not np.array_equal(cell(by_name, 0), cell(by_name, 3))


def test_one_name_is_swept_beside_another_that_is_set(
    segan_here: Segan, named_bundle: Path, tmp_path: Path
) -> None:
    done = segan_here("name", named_bundle, "L0N0D0", "pose")
    assert done.returncode == 0, done.stderr
    base = ("sweep", "--seeds", 0, "--steps", 3)
    assert segan_here(*base, "--attr", "smile", "--attr", "pose=1", "-o", "a.png").returncode == 0
    done = segan_here(*base, "--attr", "smile", "--set", "L0N0D0=1", "-o", "b.png")
    assert done.returncode == 0, done.stderr
    assert segan_here(*base, "--attr", "smile", "-o", "c.png").returncode == 0
    a, b, c = (sheet_of(tmp_path / f"{name}.png") for name in "abc")
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--attr", "smile", "--layer", 1), "--attr NAME exclude each other"),
        (("--attr", "smile", "--at", "L0N0D0"), "--attr NAME exclude each other"),
        (("--attr", "smile", "--all"), "--attr NAME exclude each other"),
        (("--attr", "smile", "--dim", 1), "exclude each other"),
        (("--attr", "a", "--attr", "b", "--attr", "c"), "exclude each other"),
        (("--attr", "smile", "--set", "L1N0D2=1"), "L1N0D2 is swept"),
        (("--attr", "smile", "--attr", "smile=1"), "L1N0D2 is swept"),
        (("--attr", "simle"), "Did you mean smile?"),
        (("--attr", ""), "--attr is empty"),
    ],
)
def test_wrong_use_of_names(
    segan_here: Segan, named_bundle: Path, arguments: tuple[object, ...], message: str
) -> None:
    done = segan_here("sweep", *arguments)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no slider is given"),
        (("--layer", 9, "--dim", 0), "layer is 9; expected 0 to 2"),
        (("--layer", -1, "--dim", 0), "layer is -1; expected 0 to 2"),
        (("--layer", 1, "--dim", 6), "dim is 6; expected 0 to 5"),
        (("--layer", 2, "--dim", 4), "dim is 4; expected 0 to 3"),
        (("--layer", 1, "--dim", 0, "--index", 1), "index is 1"),
        (("--layer", 1, "--index", 4), "index is 4"),
        (("--dim", 1), "exclude each other; expected one"),
        (("--layer", 1, "--at", "L0N0D0"), "exclude each other"),
        (("--at", "L0N0D0", "--index", 1), "exclude each other"),
        (("--all", "--index", 1), "exclude each other"),
        (("--all", "--at", "L0N0D0"), "exclude each other"),
        (("--at", "L0D0"), "as in L3N0D5"),
        (("--at", "L0N0D0", "--range", "2"), "expected LOW,HIGH"),
        (("--at", "L0N0D0", "--range", "2,-2"), "expected LOW below HIGH"),
        (("--at", "L0N0D0", "--range", "a,b"), "'a' is not a number"),
        (("--at", "L0N0D0", "--range", "-inf,2"), "'-inf' is not a number"),
        (("--at", "L0N0D0", "--steps", 1), "--steps is 1; expected 2 or more"),
        (("--at", "L0N0D0", "--seeds", "1-0"), "--seeds is '1-0'"),
        (("--at", "L0N0D0", "--psi", "-0.1"), "psi is -0.1; expected 0 to 1"),
        (("--at", "L0N0D0", "--scale", 0), "scale is 0"),
        (("--at", "L0N0D0", "-o", "s.bmp"), "ends in '.bmp'; expected .png"),
        (("--at", "L0N0D0", "-o", "s.gif", "--fps", 0), "fps is 0"),
        (("--all", "-o", "s.gif"), "expected a folder"),
        (("--at", "L0N0D0", "--set", "L0N0D0=1"), "L0N0D0 is swept"),
    ],
)
def test_wrong_use_names_the_range(
    segan_here: Segan, toy_bundle: Path, tmp_path: Path, arguments: tuple[object, ...], message: str
) -> None:
    before = sorted(path.name for path in tmp_path.iterdir())
    done = segan_here("sweep", *arguments)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_bundle_without_subspaces(segan_here: Segan, toy_bundle_plain: Path) -> None:
    for arguments in (("--all",), ("--layer", 0), ("--at", "L0N0D0")):
        done = segan_here("sweep", toy_bundle_plain, *arguments)
        assert done.returncode == 2
        assert "no subspaces" in done.stderr
