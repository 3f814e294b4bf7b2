"""``benchmarks/gpu.sh`` where there is no GPU, and its summary of what it found."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from segan.runtime.machine.gpus import why_no_gpu

ROOT = Path(__file__).parent.parent


@pytest.fixture
def gpu() -> ModuleType:
    """benchmarks/gpu.py as a module."""
    spec = importlib.util.spec_from_file_location("gpu", ROOT / "benchmarks" / "gpu.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _run_in(folder: Path, out: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(ROOT / "benchmarks" / "gpu.sh")],
        env={**os.environ, "OUT": out, "PYTHON": sys.executable},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "mine"
    out.mkdir()
    for name in ("notes.json", "summary.txt", "run.log"):
        (out / name).write_text("mine")
    done = _run_in(tmp_path, "mine")
    assert done.returncode == 2
    assert f"{out} holds files that are not of this benchmark" in done.stderr
    assert {path.name: path.read_text() for path in out.iterdir()} == dict.fromkeys(
        ("notes.json", "summary.txt", "run.log"), "mine"
    )


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
@pytest.mark.skipif(why_no_gpu() is None, reason="there is a GPU here")
def test_without_a_gpu_it_ends_soon_and_says_so(tmp_path: Path) -> None:
    # From the caller's folder, where a run has been before and left more than is found now.
    out = tmp_path / "with space"
    out.mkdir()
    for name in ("gpu-benchmark", "torch64.json", "mine.log"):
        (out / name).write_text("{}")
    done = _run_in(tmp_path, "with space")
    assert not (out / "torch64.json").exists()
    assert (out / "mine.log").read_text() == "{}"
    assert done.returncode == 1, done.stderr
    assert "No backend was measured on the GPU." in done.stdout
    assert "cuda: backend 'cuda' needs an NVIDIA GPU" in done.stdout
    found = json.loads((out / "summary.json").read_text())
    outcomes = {entry["section"]: entry["outcome"] for entry in found["sections"]}
    assert outcomes["doctor"] == "ok"
    assert outcomes["gpu"] == "failed"
    assert "benchmark64" not in outcomes
    assert found["doctor"]["backends"]["cpu"]["works"]
    assert (out / "summary.txt").read_text() in done.stdout


def test_the_summary_counts_what_the_gpu_computed(
    gpu: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sections.txt").write_text("doctor|ok|2|\ntorch64|failed|9|no torch | really\n")
    (tmp_path / "torch64.json").write_text(
        json.dumps(
            {"rows": [{"backend": "pytorch eager", "precision": "fp16", "batch": 1,
                       "images_per_s": 10.0}]}
        )
    )  # fmt: skip
    assert not gpu.summary(tmp_path)
    assert "no torch | really" in capsys.readouterr().out
    row = {"backend": "cuda", "precision": "fp16", "batch": 64, "images_per_s": 1234.5}
    failed = {"backend": "tensorrt", "precision": "fp16", "problem": "no engine"}
    (tmp_path / "benchmark64.json").write_text(json.dumps({"rows": [row, failed]}))
    (tmp_path / "torn.json").write_text('{"rows": [')
    assert gpu.summary(tmp_path)
    text = capsys.readouterr().out
    assert "cuda               fp16  batch 64   1234.5 images/s" in text
    assert "tensorrt fp16: no engine" in text
    assert "1 rows measured" in text


def test_loading_is_timed_and_a_backend_that_fails_is_noted(
    gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toy_bundle: Path
) -> None:
    monkeypatch.setattr(gpu, "BACKENDS", ("cpu",))
    gpu.load(toy_bundle, tmp_path / "load.json")
    half, full = json.loads((tmp_path / "load.json").read_text())["rows"]
    assert 0 < full["load_s"] < full["first_image_s"]
    assert "fp16" in half["problem"]
    monkeypatch.setattr(gpu, "PRECISIONS", ("fp16",))
    with pytest.raises(SystemExit, match=r"cpu: .*fp16"):
        gpu.load(toy_bundle, tmp_path / "load.json")
