"""A bounded run of the coverage-guided fuzzer over the readers of foreign files."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "fuzz" / "fuzz_import.py"

#: Seconds of fuzzing.
SECONDS = 3


@pytest.mark.slow
@pytest.mark.parametrize("target", ["files", "safetensors", "latents"])
def test_fuzzing_finds_nothing(target: str, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs torch; the bare environment has none")
    pytest.importorskip("atheris", reason="atheris, the fuzzer, is not installed (extra dev)")
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
    assert int(found[1]) > 100
    assert not list(tmp_path.glob("fuzz-*")), "no file of a finding, no folder left"
