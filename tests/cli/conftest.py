"""Running the command line as a user does: in its own process without torch and onnx, or here."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Segan = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def segan(tmp_path: Path) -> Segan:
    """segan("generate", ..., cwd=...) runs a command in tmp_path; torch and onnx raise there."""
    traps = tmp_path / ".traps"
    traps.mkdir()
    for name in ("torch", "onnx"):
        (traps / f"{name}.py").write_text(f"raise RuntimeError('{name} was imported')\n")
    searched = os.pathsep.join(filter(None, [str(traps), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": searched, "OMP_NUM_THREADS": "1"}

    def run(*arguments: object, cwd: Path = tmp_path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "segan.cli.main", *map(str, arguments)],
            cwd=cwd,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


@pytest.fixture
def segan_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Segan:
    """The same within this process, for the many short cases; torch is not kept out."""
    from segan.cli.main import run as run_main

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        monkeypatch.chdir(tmp_path)
        words = [str(argument) for argument in arguments]
        capsys.readouterr()
        status = run_main(words)
        captured = capsys.readouterr()
        return subprocess.CompletedProcess(words, status, captured.out, captured.err)

    return run
