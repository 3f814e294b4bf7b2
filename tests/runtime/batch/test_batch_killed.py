"""Batches that end by force: SIGKILL at random moments, SIGINT, and a limit on file sizes."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")

TOY = Path(__file__).parents[2] / "data" / "toy.segan"


def _command(out: Path, files: str, count: int) -> list[str]:
    command = [
        *(sys.executable, "-m", "segan.cli.main", "generate", str(TOY)),
        *("--seeds", f"0-{count - 1}", "-o", str(out), "--format", files),
        *("--noise", "random", "--batch-size", "8", "--threads", "1"),
    ]
    return command if files == "png" else [*command, "--shard-size", "100"]


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _start(command: list[str], out: Path) -> subprocess.Popen[str]:
    """Starts a batch and returns once it writes."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (out / "generation.json").exists() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return process


@pytest.mark.slow
@pytest.mark.parametrize("files", ["png", "tar", "zip", "npz"])
def test_killed_at_random_moments_it_ends_with_the_same_bytes(tmp_path: Path, files: str) -> None:
    count = 1200
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    subprocess.run(_command(whole, files, count), check=True, capture_output=True)
    moments = random.Random(files)
    killed = 0
    for _ in range(4):
        process = _start(_command(broken, files, count), broken)
        try:
            process.wait(timeout=moments.uniform(0.05, 0.5) + (0.4 if killed else 0.0))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.communicate()
        # What has its final name is whole, at any moment.
        expected = _contents(whole)
        for name, data in _contents(broken).items():
            assert name.endswith(".tmp") or data == expected[name], name
    assert killed
    subprocess.run(_command(broken, files, count), check=True, capture_output=True)
    assert _contents(broken) == _contents(whole)


def test_ctrl_c_stops_cleanly_and_says_how_to_go_on(tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = _start(_command(out, "png", 100_000), out)
    deadline = time.monotonic() + 60
    while not any(out.rglob("*.png")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Run the same command to generate the rest." in errors
    assert "Traceback" not in errors
    names = [path.name for path in out.rglob("*") if path.is_file()]
    assert not [name for name in names if name.endswith(".tmp")]
    assert len(names) > 1


@pytest.mark.parametrize("files", ["npz", "zip", "tar"])
def test_a_limit_on_file_sizes_is_one_clear_error(tmp_path: Path, files: str) -> None:
    code = (
        "import resource, sys;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000));"
        "from segan.cli.main import run; sys.exit(run(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, *_command(tmp_path / "out", files, 300)[3:]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "the file is larger than this system allows" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["generation.json"]
