from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from segan.train.report.run_record import read_run
from segan.train.report.settings import deviations, run_names

MakeRun = Callable[..., Path]


def test_deviations_from_the_preset_are_found(make_run: MakeRun) -> None:
    run = read_run(make_run(seed=3, subspace__dims=4, mirror=True))
    found = {own.field: (own.preset, own.value) for own in deviations(run.config) or ()}
    assert found == {
        "seed": (0, 3),
        "subspace.dims": (6, 4),
        "mirror": (False, True),
        "total_kimg": (50.0, 1.0),
        "batch_size": (8, 4),
    }
    assert deviations(read_run(make_run("00001-a", preset="of-old")).config) is None


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        (({}, {"subspace__mode": 0}), ["mode 2 eigen", "mode 0"]),
        (({}, {"subspace__mode": 3, "seed": 1}), ["mode 2 eigen, seed 0", "mode 3 eigen, seed 1"]),
        (({}, {"subspace__kind": "diagonal"}), ["mode 2 eigen", "mode 2 diagonal"]),
        (({}, {"subspace__dims": 4}), ["dims 6", "dims 4"]),
        (({"mirror": True}, {}), ["mirror", "no mirror"]),
        (({}, {"learning_rate": 0.001}), ["learning rate 0.004", "learning rate 0.001"]),
        (({}, {"resolution": 32}), ["16²", "32²"]),
        (({}, {}), ["run 00000", "run 00001"]),
        (({}, {"total_kimg": 9.0}), ["run 00000", "run 00001"]),
        (({}, {"seed": 1}, {"seed": 1}), ["seed 0", "seed 1, run 00001", "seed 1, run 00002"]),
    ],
)
def test_runs_are_named_by_what_distinguishes_them(
    make_run: MakeRun, settings: tuple[dict[str, Any], ...], names: list[str]
) -> None:
    paths = [make_run(f"{i:05d}-faces", **own) for i, own in enumerate(settings)]
    assert run_names([read_run(path) for path in paths]) == names


def test_runs_of_the_same_number_are_named_by_their_folders(
    make_run: MakeRun, tmp_path: Path
) -> None:
    first, second = make_run("00000-a"), make_run("00000-b")
    assert run_names([read_run(first), read_run(second)]) == ["00000-a", "00000-b"]
    moved = tmp_path / "00000-a"
    first.rename(moved)
    (tmp_path / "runs" / "00000-b").rename(tmp_path / "runs" / "00000-a")
    names = run_names([read_run(moved), read_run(tmp_path / "runs" / "00000-a")])
    assert names == ["00000-a", "00000-a (2)"]
