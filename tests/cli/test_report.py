from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

Segan = Callable[..., subprocess.CompletedProcess[str]]
MakeRun = Callable[..., Path]


def test_it_writes_a_page_without_torch(segan: Segan, make_run: MakeRun, tmp_path: Path) -> None:
    done = segan("report", make_run())
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{Path('report') / 'index.html'}: open it in a browser.\n"
    assert "00000-faces-mode2-tiny" in (tmp_path / "report" / "index.html").read_text("utf-8")


def test_it_compares_runs_and_prints_json(segan_here: Segan, make_run: MakeRun) -> None:
    first, second = make_run("00000-a"), make_run("00001-b", seed=1)
    done = segan_here("report", first, second, "-o", "both", "--title", "Two", "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["title"] == "Two"
    assert [run["name"] for run in record["runs"]] == ["seed 0", "seed 1"]
    assert Path(record["page"]).is_file()


def test_without_a_run_it_takes_the_newest(segan_here: Segan, make_run: MakeRun) -> None:
    done = segan_here("report")
    assert done.returncode == 1
    assert "no training run under" in done.stderr
    make_run("00000-a")
    done = segan_here("report")
    assert done.returncode == 0, done.stderr
    assert "00000-a" in done.stderr


def test_errors_are_reported(segan_here: Segan, make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    done = segan_here("report", tmp_path / "none")
    assert (done.returncode, done.stdout) == (1, "")
    assert "none does not exist; expected the folder of a run" in done.stderr
    done = segan_here("report", tmp_path)
    assert "is not a training run (config.json is missing)" in done.stderr
    done = segan_here("report", run, run)
    assert done.returncode == 2
    assert "is given twice; expected each run once." in done.stderr
    done = segan_here("report", run, "-o", run)
    assert "exists and is not a report, so it is not replaced" in done.stderr
    assert (run / "config.json").is_file()
    done = segan_here("report", run, "--benchmark", run / "config.json")
    assert done.returncode == 1
    assert "config.json: Object missing required field 'rows'" in done.stderr
    done = segan_here("report", run, "--atlas", run)
    assert "is not an atlas (atlas.json is missing)" in done.stderr
    (run / "control.json").write_text('{"sliders": [{"slider": 3}]}')
    done = segan_here("report", run)
    assert "control.json: Expected 'str', got 'int' - at '$.sliders[0].slider'" in done.stderr
    assert not (tmp_path / "report").exists()
