from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from segan.runtime.errors import CheckpointError
from segan.train.report.run_record import read_run

MakeRun = Callable[..., Path]


def test_a_run_is_read(make_run: MakeRun) -> None:
    run = read_run(make_run(swd=(0.2, 0.3)))
    assert (run.kimg, run.complete, run.data) == (1.0, True, "2,000 built-in faces of 16²")
    assert run.points("loss/generator") == [(0.5, 2.0), (1.0, 3.0)]
    assert run.swd() == [(0.5, 0.2), (1.0, 0.3)]
    assert run.best is not None
    assert (run.best.kimg, run.best.path.name) == (0.5, "nimg00000500")
    assert [sheet.kimg for sheet in run.samples] == [0.0, 0.5, 1.0]
    assert [sheet.kimg for sheet in run.sliders] == [0.0, 0.5, 1.0]
    assert run.coordinate_names() == ["L0N0", "L1N0", "L2N0"]


def test_seconds_add_up(make_run: MakeRun) -> None:
    seconds = read_run(make_run()).seconds_by_phase()
    # Two ticks of 10 s, and scoring beside them: nothing is counted twice or lost.
    assert sum(seconds.values()) == pytest.approx(2 * (10 + 2))
    assert seconds["other"] == pytest.approx(2 * (10 - 5 - 4 - 0.25))
    assert "tick" not in seconds
    assert "step" not in seconds


def test_a_running_training_is_read(make_run: MakeRun) -> None:
    path = make_run(total_kimg=4.0)
    with open(path / "log.jsonl", "a") as file:
        file.write('{"nimg": 1500, "kimg": 1.5, "loss/gen')  # just being written
    (path / "checkpoints" / ".nimg00001500.7.tmp").mkdir()
    (path / "checkpoints" / "nimg00000500" / "checkpoint.json").write_text("{")
    run = read_run(path)
    assert (run.kimg, run.complete, len(run.entries)) == (1.0, False, 2)
    assert [saved.kimg for saved in run.checkpoints] == [1.0]
    assert run.swd() == [(0.5, 0.3), (1.0, 0.2)]  # the log still knows the damaged one's


def test_a_run_without_anything_but_settings_is_read(make_run: MakeRun) -> None:
    path = make_run()
    for name in ("samples", "checkpoints"):
        shutil.rmtree(path / name)
    for name in ("log.jsonl", "data.json"):
        (path / name).unlink()
    run = read_run(path)
    assert (run.kimg, run.complete, run.best, run.data) == (0.0, False, None, "unknown")
    assert run.seconds_by_phase() == {}


def test_values_that_are_not_finite_numbers_are_left_out(make_run: MakeRun) -> None:
    path = make_run()
    with open(path / "log.jsonl", "a") as file:
        for value in ("NaN", "Infinity", '"x"', "null", "true"):
            file.write(f'{{"nimg": 2000, "loss/generator": {value}}}\n')
    assert read_run(path).points("loss/generator") == [(0.5, 2.0), (1.0, 3.0)]


def test_other_paths_are_refused(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    for path in (tmp_path / "none", run / "config.json", run / "checkpoints" / "nimg00001000"):
        with pytest.raises(CheckpointError) as caught:
            read_run(path)
        assert (caught.value.field, caught.value.value) == ("runs", path)
        assert caught.value.expected.startswith("the folder of a run")
    assert caught.value.remedy == f"Pass {run}."  # of what is inside the run
    with pytest.raises(CheckpointError, match=r"config\.json"):
        read_run(tmp_path / "runs")
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"batch_size": "8"}))
    with pytest.raises(CheckpointError, match=r"config\.json: .*batch_size"):
        read_run(run)
