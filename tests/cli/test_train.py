"""``segan train`` as a user runs it: in a process of its own, stopped, killed and resumed."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training needs torch; the bare environment has none")

import torch

from segan.cli.main import run
from segan.runtime.lock import locked
from segan.train.checkpoint import list_checkpoints, read_meta
from segan.train.config import encode_config
from segan.train.faces_dataset import render_faces
from segan.train.presets import preset
from segan.train.tensors import read_tensors

#: A run of 60 steps at 8², with a checkpoint every 10.
ARGS = [
    *("train", "--faces", "64", "--resolution", "8", "--batch-size", "4"),
    *("--kimg", "0.24", "--snapshot-kimg", "0.04", "--seed", "3"),
]


def command(*args: str | Path) -> list[str]:
    return [sys.executable, "-m", "segan.cli.main", *map(str, args)]


def segan(*args: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command(*args), cwd=cwd, env=env, capture_output=True, text=True)


def start(*args: str | Path, cwd: Path) -> subprocess.Popen[str]:
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command(*args), cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def only_run(folder: Path) -> Path:
    (run,) = (folder / "runs").iterdir()
    return run


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    result = segan(*ARGS, cwd=folder)
    assert result.returncode == 0, result.stderr
    return folder


def assert_same_weights(one: Path, two: Path) -> None:
    for name in ("generator.safetensors", "training.safetensors"):
        a, b = (read_tensors(list_checkpoints(only_run(f))[-1] / name) for f in (one, two))
        assert [key for key in a if not torch.equal(a[key], b[key])] == []


def test_a_run_says_what_it_does_and_what_comes_next(tmp_path: Path) -> None:
    args = "train --faces 32 --resolution 8 --batch-size 4 --kimg 0.008 --mode 3 --json"
    result = segan(*args.split(), cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "faces: 32 images of 8²; mode 3 (eigen), preset tiny, 0.008 kimg" in result.stderr
    folder = only_run(tmp_path)
    assert folder.name == "00000-faces-mode3-tiny"
    assert f"Next: segan export {Path('runs') / folder.name}" in result.stderr
    ticks = [json.loads(line) for line in result.stdout.splitlines()]
    assert ticks[-1]["nimg"] == 8


@pytest.mark.slow
def test_killed_at_random_moments_and_resumed_it_ends_with_the_same_bits(
    whole: Path, tmp_path: Path
) -> None:
    moments = random.Random()
    kills = 0
    process = start(*ARGS, cwd=tmp_path)
    for _ in range(4):
        while process.poll() is None and not list(tmp_path.glob("runs/*")):
            time.sleep(0.02)
        time.sleep(moments.uniform(0.0, 2.5))
        if process.poll() is None:
            process.kill()
            kills += 1
        process.communicate()
        if (only_run(tmp_path) / "config.json").is_file():
            process = start("train", "--resume", only_run(tmp_path), cwd=tmp_path)
        else:  # killed before the run's folder was whole: the user starts again
            shutil.rmtree(only_run(tmp_path))
            process = start(*ARGS, cwd=tmp_path)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert kills > 0
    assert read_meta(list_checkpoints(only_run(tmp_path))[-1]).cur_nimg == 240
    assert_same_weights(whole, tmp_path)


@pytest.mark.slow
def test_ctrl_c_saves_and_says_how_to_go_on(whole: Path, tmp_path: Path) -> None:
    process = start(*ARGS, cwd=tmp_path)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "runs").glob("*/log.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    folder = only_run(tmp_path)
    if process.returncode == 0:
        pytest.fail("the run ended before it could be interrupted; make it longer")
    assert process.returncode == 130
    assert "everything is saved" in errors
    assert f"Go on: segan train --resume {Path('runs') / folder.name}" in errors
    result = segan("train", "--resume", folder, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert_same_weights(whole, tmp_path)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("train --mode 4", "4 is not in the range 0<=x<=3"),
        ("train --preset huge", "'huge' is not one of 'tiny', 'paper', 'auto'"),
        ("train --kimg -1", "total_kimg is -1.0; expected more than 0"),
        ("train --kimg nan", "total_kimg is nan; expected more than 0"),
        ("train --kimg 0.0001", "total_kimg is 0.0001; expected at least one batch, 0.008"),
        ("train --batch-size 0", "batch_size is 0; expected 1 or more"),
        ("train --dims 65", "dims is 65; expected at most w_dim, 64"),
        ("train --resolution 48", "resolution is 48; expected a power of two from 8 to 1024"),
        ("train --faces 0", "count is 0; expected 1 to"),
        ("train --faces 4", "batch_size is 8, but faces has 4 images"),
        ("train --device gpu", "--device is 'gpu'; expected auto, cpu, cuda or cuda:N"),
        ("train --data x.zip --resolution 64", "--resolution is for the built-in faces"),
        ("train --faces 32 --cond", "the built-in faces have no labels"),
        ("train --data x.zip --faces 32", "--faces is how many built-in faces to draw"),
    ],
)
def test_wrong_use(
    args: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(args.split()) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--mode 1", "--mode is 1, but run was started with 2"),
        ("--subspace diagonal", "--subspace is diagonal, but run was started with eigen"),
        ("--batch-size 4", "--batch-size is 4, but run was started with 8"),
        ("--cond", "--cond is True, but run was started with False"),
        ("--faces 33", "--faces is 33, but run was started with 32"),
    ],
)
def test_a_resumed_run_ignores_no_option(
    option: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run").mkdir()
    Path("run/config.json").write_bytes(encode_config(preset("tiny", resolution=8)))
    Path("run/data.json").write_text('{"faces": {"faces": 32, "resolution": 8}}')
    assert run(f"train --resume run {option}".split()) == 2
    assert message in capsys.readouterr().err
    # What says the same as the run is allowed; here it is the images that are missing.
    Path("run/data.json").write_text('{"path": "absent.zip"}')
    assert run(["train", "--resume", "run", "--mode", "2", "--batch-size", "8"]) == 1
    assert "absent.zip" in capsys.readouterr().err


def test_a_run_is_trained_by_one_process_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run").mkdir()
    Path("run/config.json").write_bytes(encode_config(preset("tiny", resolution=8)))
    Path("run/data.json").write_text('{"faces": {"faces": 32, "resolution": 8}}')
    with locked(Path("run")):
        assert run(["train", "--resume", "run"]) == 2
    assert "another process is training in run right now" in capsys.readouterr().err
    assert not Path("run/log.jsonl").exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("train --data absent.zip", "absent.zip"),
        ("train --resume absent", "absent does not exist"),
        ("train --resume .", "holds no checkpoint"),
        ("train --data unlabelled.zip --cond", "unlabelled has no labels"),
        (
            "train --faces 16 --resolution 8 --runs file",
            "cannot write file: a file stands where a folder is expected",
        ),
    ],
)
def test_failures(
    args: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_faces(tmp_path / "unlabelled.zip")
    (tmp_path / "file").write_bytes(b"a file in the way")
    assert run(args.split()) == 1
    assert message in capsys.readouterr().err


def write_faces(path: Path) -> None:
    render_faces(path, count=8, resolution=8)
