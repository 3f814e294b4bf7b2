"""A bounded run of the coverage-guided fuzzer over the readers of bundles."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "fuzz" / "fuzz_bundle.py"

#: Seconds of fuzzing for each target.
SECONDS = 3


@pytest.mark.slow
@pytest.mark.parametrize("target", ["zip", "manifest", "attributes", "graph", "noise"])
def test_fuzzing_finds_nothing(tmp_path: Path, target: str) -> None:
    pytest.importorskip("atheris", reason="atheris, the fuzzer, is not installed (extra dev)")
    pytest.importorskip("onnx", reason="needs onnx; the bare environment has none")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), target, f"-max_total_time={SECONDS}"],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=SECONDS + 240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found = re.search(r"stat::number_of_executed_units: (\d+)", done.stderr)
    assert found is not None, done.stderr[-4000:]
    assert int(found[1]) > 50
    assert not list(tmp_path.glob("fuzz-*")), "no file of a finding, no folder left"
