"""``segan train`` as a user runs it: in a process of its own, stopped, killed and resumed."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

pytest.importorskip("torch", reason="training needs torch; the bare environment has none")

import torch

from segan.cli.main import run
from segan.cli.train import command as command_of_train
from segan.cli.train_settings import SETTINGS
from segan.runtime.files.lock import locked
from segan.train.data.faces.render import render_faces
from segan.train.loop.trainer import Progress, Trainer
from segan.train.runs.checkpoint import list_checkpoints
from segan.train.runs.config import TrainConfig, encode_config
from segan.train.runs.folder import MAY_CHANGE
from segan.train.runs.presets import preset
from segan.train.runs.tensors import read_tensors

#: A run of 60 steps at 8², with a checkpoint every 10.
ARGS = [
    *("train", "--faces", "64", "--resolution", "8", "--batch-size", "4"),
    *("--kimg", "0.24", "--snapshot-kimg", "0.04", "--seed", "3", "--metric-images", "32"),
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


Refused = Callable[[str, str], None]


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Refused:
    """refused(args, why): segan train says why it is wrong use, and makes no run."""

    def check(args: str, why: str) -> None:
        assert run(["train", *args.split(), "--runs", str(tmp_path / "runs")]) == 2
        assert why in capsys.readouterr().err
        assert not (tmp_path / "runs").exists()

    return check


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
@pytest.mark.parametrize(
    ("kills", "options"),
    [
        (3, ["--", "--kimg", "0.1"]),
        (1, ["--ranks", "2", "--victim", "one", "--", "--kimg", "0.04", "--augment", "ada"]),
    ],
    ids=["alone", "one of two"],
)
def test_killed_at_random_moments_and_resumed_it_ends_with_the_same_bits(
    kills: int, options: list[str], tmp_path: Path
) -> None:
    """The script is there for larger numbers of kills."""
    script = Path(__file__).parents[2] / "benchmarks" / "kill_and_resume.py"
    words = [sys.executable, str(script), "--kills", str(kills), "--json", *options]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["kills"] == kills
    assert found["differences"] == []


def test_a_run_of_other_processes_goes_on_and_says_so(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(shutil.copytree(whole, tmp_path / "home"))
    record = list_checkpoints(only_run(Path()))[-1] / "checkpoint.json"
    content = json.loads(record.read_text())
    assert content["ranks"] == 1
    record.write_text(json.dumps(content | {"ranks": 2}))
    assert run(["train", "--resume", str(only_run(Path())), "--kimg", "0.244"]) == 0
    said = capsys.readouterr().err
    assert "it was trained by 2 and continues with 1 processes: the same gradients" in said


@pytest.mark.parametrize(("kimg", "past"), [("0.02", True), ("0.239", False), ("0.24", False)])
def test_a_run_that_is_past_its_new_length_says_so(
    kimg: str,
    past: bool,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(shutil.copytree(whole, tmp_path / "home"))
    path = only_run(Path())
    assert run(["train", "--resume", str(path), "--kimg", kimg]) == 0
    said = capsys.readouterr().err
    assert (f"{path} is at 0.24 kimg, past the {kimg} of --kimg: nothing is left" in said) == past
    assert "training: 0/0 kimg, " in said
    assert f"To train longer: segan train --resume {path} --kimg 0.48\n" in said


@pytest.mark.slow
def test_ctrl_c_saves_and_says_how_to_go_on(whole: Path, tmp_path: Path) -> None:
    process = start(*ARGS, cwd=tmp_path)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "runs").glob("*/checkpoints/nimg*")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    folder = only_run(tmp_path)
    if process.returncode == 0:
        pytest.fail("the run ended before it could be interrupted; make it longer")
    assert process.returncode == 130
    assert "everything is saved" in errors
    assert f"Continue: segan train --resume {Path('runs') / folder.name}" in errors
    result = segan("train", "--resume", folder, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert_same_weights(whole, tmp_path)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("train --mode 4", "4 is not in the range 0<=x<=3"),
        ("train --preset huge", "'huge' is not one of 'tiny', 'paper', 'auto'"),
        ("train --kimg -1", "--kimg is -1.0; expected more than 0"),
        ("train --kimg nan", "--kimg is nan; expected more than 0"),
        ("train --kimg 0.0001", "--kimg is 0.0001; expected at least one batch, 0.008"),
        ("train --batch-size 0", "--batch-size is 0; expected 1 or more"),
        ("train --dims 65", "--dims is 65; expected at most w_dim, 64"),
        ("train --resolution 48", "--resolution is 48; expected a power of two from 8 to 1024"),
        ("train --resolution 0", "--resolution is 0; expected a power of two from 8 to 1024"),
        ("train --faces 0", "--faces is 0; expected 1 to"),
        ("train --faces 4", "--batch-size is 8, but faces contains only 4 images"),
        ("train --device gpu", "--device is 'gpu'; expected auto, cpu, cuda or cuda:N"),
        ("train --data x.zip --resolution 64", "--resolution is for the built-in faces"),
        ("train --keep-checkpoints -1", "--keep-checkpoints is -1; expected 0 or more"),
        ("train --metric-images -1", "--metric-images is -1; expected 0 or more"),
        ("train --data-cache disk", "--data-cache is for --data"),
        ("train --data-cache ram", "'ram' is not one of 'auto', 'memory', 'disk'"),
        (
            "train --resume r --initial-checkpoint i",
            "--initial-checkpoint is the checkpoint that a new run takes",
        ),
        ("train --batch-gpu -1", "segan: --batch-gpu is -1; expected 0 or more.\n"),
        (
            "train --faces 8 --resolution 8 --batch-gpu 2",
            "--batch-gpu is 2, but a batch of 8 is divi",
        ),
        ("train --learning-rate 0", "segan: --learning-rate is 0.0; expected more than 0.\n"),
        ("train --dims 0", "segan: --dims is 0; expected 1 or more.\n"),
        ("train --seed -1", "segan: --seed is -1; expected 0 to 4294967295.\n"),
        ("train --augment ada --augment-kimg 0", "segan: --augment-kimg is 0.0; expected more"),
        ("train --augment ada --augment-target 1", "segan: --augment-target is 1.0; expected betw"),
        ("train --augment ada --augment-p 2", "segan: --augment-p is 2.0; expected 0 to 1.\n"),
        ("train --augment fixed", "segan: --augment-p is 0.0; expected more than 0 with fixed"),
        ("train --jacobian-weight -1", "segan: --jacobian-weight is -1.0; expected 0 or more.\n"),
        ("train --data x.zip --faces 32", "--faces is the number of built-in faces to draw"),
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


#: Options of ``segan train`` that are no settings of the run.
NO_SETTINGS = {
    "data",
    "resume",
    "initial_checkpoint",
    "faces",
    "data_cache",
    "runs",
    "device",
    "as_json",
}
#: For each setting a value that no run of the preset tiny has.
OTHER_VALUES = {
    "mode": "1",
    "kind": "diagonal",
    "dims": "5",
    "preset": "paper",
    "resolution": "16",
    "cond": None,
    "architecture": "residual",
    "mirror": None,
    "batch_size": "4",
    "learning_rate": "0.1",
    "r1_gamma": "7.0",
    "seed": "9",
    "snapshot_kimg": "3.0",
    "metric_images": "5",
    "jacobian_weight": "1.0",
    "shared_coords": "0.125",
    "augment": "ada",
    "augment_p": "0.5",
    "augment_target": "0.5",
    "augment_kimg": "100.0",
    "precision": "fp16",
    "reduced_from": "16",
    "tf32": None,
    "compile": None,
}


def write_run(folder: Path, config: TrainConfig | None = None) -> Path:
    """A run that was killed before its first checkpoint."""
    folder.mkdir()
    config = config or preset("tiny", resolution=8)
    (folder / "config.json").write_bytes(encode_config(config))
    (folder / "data.json").write_text('{"faces": {"faces": 32, "resolution": 8}}')
    return folder


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (["--mode", "0"], "with no subspaces training draws no two coordinates"),
        (["--subspace", "diagonal"], "with the diagonal kind training draws no two coordinates"),
    ],
)
def test_a_jacobian_weight_without_coordinates_is_refused(
    args: list[str], why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = ["--runs", str(tmp_path / "runs")]
    assert run(["train", *args, "--jacobian-weight", "2", *runs]) == 2
    assert why in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("args", "why"),
    [
        ("--mode 0 --shared-coords 0.5", "with no subspaces training draws no coordinates"),
        ("--subspace diagonal --shared-coords 1", "the diagonal kind training draws no coordi"),
        ("--batch-size 1 --shared-coords 1", "the discriminator compares groups of one image"),
        ("--shared-coords 1.5", "--shared-coords is 1.5; expected 0 to 1"),
        ("--shared-coords -0.1", "--shared-coords is -0.1; expected 0 to 1"),
        ("--shared-coords nan", "--shared-coords is nan; expected 0 to 1"),
    ],
)
def test_coordinates_that_cannot_be_shared(args: str, why: str, refused: Refused) -> None:
    refused(args, why)


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (
            "--mode 0 --dims 4",
            "--dims is 4, but mode 0 has no subspaces. Leave it out, or use mode",
        ),
        ("--mode 3 --dims 4", "--dims is 4, but mode 3 (eigen) has one coordinate per dimension"),
        ("--subspace diagonal --dims 9", "--dims is 9, but mode 2 (diagonal) has one coordinate"),
        ("--augment-p 0", "--augment-p is 0, but augmentation off does not use it. Leave it"),
        ("--augment-p 0.2", "not use it. Leave it out, or give --augment fixed or --augment ada."),
        ("--augment-target 0.5", "--augment-target is 0.5, but augmentation off does"),
        ("--augment-kimg 100", "use it. Leave it out, or give --augment ada."),
        ("--augment fixed --augment-p 0.2 --augment-target 0.5", "but augmentation fixed does"),
        ("--preset auto --augment off --augment-kimg 9", "--augment-kimg is 9, but augment"),
        ("--precision fp32 --reduced-from 8", "--reduced-from is 8, but --precision fp32 reduces"),
        (
            "--reduced-from 12",
            "--reduced-from is 12; expected the resolution of a layer, 8, 16, 32",
        ),
        ("--precision bf16 --reduced-from 64", "--reduced-from is 64; expected the resolution of"),
        ("--resolution 8 --reduced-from 16", "--reduced-from is 16; expected the resolution of a"),
        ("--reduced-from 4", "--reduced-from is 4; expected the resolution of a layer, 8, 16, 32"),
    ],
)
def test_an_option_that_does_nothing_is_refused(args: str, why: str, refused: Refused) -> None:
    refused(args, why)


def test_every_option_is_a_setting_or_known_to_be_none() -> None:
    """A new option that shapes the run has to enter the table, or resuming would ignore it."""
    options = {param.name for param in command_of_train.params}
    assert options == SETTINGS.keys() | NO_SETTINGS
    assert not SETTINGS.keys() & NO_SETTINGS
    may_change = {name for name, field in SETTINGS.items() if field in MAY_CHANGE}
    assert may_change == {"kimg", "keep_checkpoints", "batch_gpu"}
    assert SETTINGS.keys() - may_change == OTHER_VALUES.keys()


@pytest.mark.parametrize("name", OTHER_VALUES)
def test_a_resumed_run_ignores_no_option(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(Path("run"))
    option = "--subspace" if name == "kind" else f"--{name.replace('_', '-')}"
    value = OTHER_VALUES[name]
    args = [option] if value is None else [option, value]
    assert run(["train", "--resume", "run", *args]) == 2
    found = capsys.readouterr().err
    given = repr(value) if value and not value[0].isdigit() else value or True
    assert f"{option} is {given}; expected " in found
    assert "the value that run was started with. Only --kimg, --keep-checkpoints" in found


def test_what_says_the_same_as_the_run_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(Path("run"))
    assert run(["train", "--resume", "run", "--faces", "33"]) == 2
    assert (
        "--faces is 33; expected 32, the value that run was started with" in capsys.readouterr().err
    )
    assert run(["train", "--resume", "run", "--runs", "elsewhere"]) == 2
    assert (
        "--runs is the folder of a new run, and --resume continues in run"
        in capsys.readouterr().err
    )
    assert run(["train", "--resume", "run", "--kimg", "0.001"]) == 2
    assert "--kimg is 0.001; expected at least one batch" in capsys.readouterr().err
    # Here it is the images that are missing.
    Path("run/data.json").write_text('{"path": "absent.zip"}')
    assert (
        run(
            [
                "train",
                "--resume",
                "run",
                "--mode",
                "2",
                "--batch-size",
                "8",
                "--keep-checkpoints",
                "0",
            ]
        )
        == 1
    )
    assert "absent.zip" in capsys.readouterr().err


def test_a_run_goes_on_with_the_images_that_it_was_started_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also before there is a checkpoint to compare them with."""
    monkeypatch.chdir(tmp_path)
    write_faces(tmp_path / "a.zip")
    write_run(Path("run"))
    record = {"path": str(tmp_path / "a.zip"), "fingerprint": "0" * 64}
    Path("run/data.json").write_text(json.dumps(record))
    for args in ("", " --data a.zip"):
        assert run(f"train --resume run{args}".split()) == 1
        assert "a holds other images or labels than when run" in capsys.readouterr().err


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


def test_a_second_process_is_turned_away_and_the_first_goes_on(tmp_path: Path) -> None:
    process = start(*ARGS, "--kimg", "500", cwd=tmp_path)
    try:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob("runs/*/log.jsonl")) and time.monotonic() < deadline:
            time.sleep(0.02)
        second = segan("train", "--resume", only_run(tmp_path), cwd=tmp_path)
        assert second.returncode == 2
        assert "another process is training in" in second.stderr
        assert "Wait for it, or choose another folder" in second.stderr
        assert process.poll() is None
    finally:
        process.kill()
        process.communicate()


#: Runs segan with files that may not grow beyond so many bytes: a disk that fills up.
LIMITED = """
import resource, sys
from segan.cli.main import run
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
sys.exit(run(sys.argv[2:]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such limits there")
def test_files_that_cannot_grow_end_the_run_cleanly(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "home"
    shutil.copytree(whole, folder)
    path = only_run(folder)
    before = {file: file.read_bytes() for file in list_checkpoints(path)[-1].iterdir()}
    weights = list_checkpoints(path)[-1] / "training.safetensors"
    code = [sys.executable, "-c", LIMITED, str(weights.stat().st_size // 2)]
    words = ["train", "--resume", str(path.relative_to(folder)), "--kimg", "0.36"]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([*code, *words], cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "training.safetensors: the file is larger than this system allows" in done.stderr
    assert "nimg00000240; continue from it: segan train --resume runs" in done.stderr
    assert "Traceback" not in done.stderr
    assert {file: file.read_bytes() for file in list_checkpoints(path)[-1].iterdir()} == before
    assert list((path / "checkpoints").glob(".*")) == []


def without_special_rights() -> list[str]:
    """What a command begins with so that even root may only write where the modes allow it."""
    if not hasattr(os, "geteuid"):
        pytest.skip("there are no such modes there")
    if os.geteuid() != 0:
        return []
    program = shutil.which("setpriv")
    if program is None:
        pytest.skip("root may write everywhere")
    return [program, "--bounding-set=-dac_override", "--inh-caps=-dac_override"]


def test_a_folder_that_may_not_be_written_to(whole: Path, tmp_path: Path) -> None:
    prefix = without_special_rights()
    folder = tmp_path / "home"
    shutil.copytree(whole, folder)
    path = only_run(folder)
    words = command("train", "--resume", path.relative_to(folder), "--kimg", "0.36")
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    entries = [path, *path.rglob("*")]
    for entry in entries:
        entry.chmod(0o555 if entry.is_dir() else 0o444)
    try:
        done = subprocess.run(
            [*prefix, *words], cwd=folder, env=env, capture_output=True, text=True, check=False
        )
    finally:
        for entry in entries:
            entry.chmod(0o755)
    assert done.returncode == 1, done.stderr
    assert "permission was denied. Choose a folder that you may write to" in done.stderr
    assert "Traceback" not in done.stderr
    assert list_checkpoints(path)[-1].name == "nimg00000240"


def test_labels_that_are_not_used_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = "data render faces.zip --count 24 --resolution 8 --labels glasses"
    assert run(words.split()) == 0
    words = "train --data faces.zip --batch-size 4 --kimg 0.004 --metric-images 0"
    assert run(words.split()) == 0
    said = "24 images of 8²; its labels (none, round, square) are not used, --cond trains on them"
    assert said in capsys.readouterr().err


def test_a_run_that_is_stopped_before_its_first_step(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has a checkpoint, or none, and says which; also when it was resumed."""
    monkeypatch.chdir(tmp_path)
    steps = Trainer.steps

    def stopped(trainer: Trainer) -> Iterator[Progress]:
        trainer.request_stop()
        yield from steps(trainer)

    monkeypatch.setattr(Trainer, "steps", stopped)
    base = ["train", "--faces", "16", "--resolution", "8", "--runs"]
    assert run([*base, "drawn"]) == 130
    assert "there is no checkpoint. Start again: " in capsys.readouterr().err
    assert run([*base, "taken", "--initial-checkpoint", str(only_run(whole))]) == 130
    assert "stopped at kimg 0; everything is saved" in capsys.readouterr().err
    (taken,) = Path("taken").iterdir()
    assert run(["train", "--resume", str(taken)]) == 130
    assert "stopped at kimg 0; everything is saved" in capsys.readouterr().err


def test_where_a_run_goes_on_and_what_it_sets_aside_is_said(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    started = only_run(tmp_path)
    *_, older, newest = list_checkpoints(started)
    assert run(["train", "--resume", str(older), "--kimg", "0.22"]) == 0
    said = capsys.readouterr().err
    assert "it continues from kimg 0.2\n" in said
    assert f"newer checkpoints ({newest.name}) are set aside, in " in said
    assert [path.name for path in list_checkpoints(started)][-1] == "nimg00000220"
    # The new length is the run's own, whatever happens before the next checkpoint.
    assert run(["train", "--resume", str(started), "--kimg", "0.3"]) == 0
    shutil.rmtree(list_checkpoints(started)[-1])
    capsys.readouterr()
    assert run(["train", "--resume", str(started)]) == 0
    assert list_checkpoints(started)[-1].name == "nimg00000300"
    for folder in list_checkpoints(started):
        shutil.rmtree(folder)
    assert run(["train", "--resume", str(started)]) == 1
    assert "set-aside, but no complete checkpoint. Put its checkpoints back" in (
        capsys.readouterr().err
    )


@pytest.mark.skipif(not shutil.which("nohup"), reason="this system has no nohup")
@pytest.mark.parametrize("ignored", [False, True])
def test_a_closed_terminal_saves_and_nohup_goes_on(ignored: bool, tmp_path: Path) -> None:
    words = command(*ARGS, "--kimg", "0.6" if ignored else "40")
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    words = ["nohup", *words] if ignored else words
    # A child inherits that SIGHUP is ignored, where the tests themselves run under nohup.
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    process = subprocess.Popen(words, cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True)
    signal.signal(signal.SIGHUP, before)
    with process as p:
        assert p.stderr is not None
        for line in p.stderr:
            if line.startswith("faces: "):
                break
        wait_for_log(tmp_path)
        p.send_signal(signal.SIGHUP)
        said = p.stderr.read()
    assert p.returncode == (0 if ignored else 130), said
    assert ("everything is saved" in said) is not ignored


def wait_for_log(folder: Path) -> None:
    """Waits until the run's first checkpoint is there, a minute at most."""
    for _ in range(600):
        if list_checkpoints(only_run(folder)):
            return
        time.sleep(0.1)
    raise AssertionError("no checkpoint after a minute")


@pytest.mark.skipif(os.name == "nt", reason="pipes end otherwise there")
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_training_goes_on_when_nobody_reads_its_output(stream: str, tmp_path: Path) -> None:
    words = command(*ARGS, "--json", "--kimg", "0.24")
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE} | {stream: subprocess.PIPE}
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(words, cwd=tmp_path, env=env, text=True, **pipes) as process:  # type: ignore[call-overload]
        closed = process.stdout if stream == "stdout" else process.stderr
        closed.readline()
        closed.close()
        said = process.stderr.read() if stream == "stdout" else ""
    assert process.returncode == 0, said
    assert list_checkpoints(only_run(tmp_path))[-1].name == "nimg00000240"
    assert ("standard output is closed; the work continues without it" in said) is (
        stream == "stdout"
    )


@pytest.mark.slow
def test_a_run_grows_to_a_higher_resolution(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    first = only_run(whole)
    base = ["train", "--initial-checkpoint", str(first), "--faces", "16"]
    assert run([*base, "--kimg", "0.016", "--resolution", "16", "--metric-images", "0"]) == 0
    told = capsys.readouterr().err
    assert "it starts with the weights of faces at 8², 0.24 kimg; new are subspace L2N0," in told
    found = list_checkpoints(only_run(tmp_path))
    assert [path.name for path in found] == ["nimg00000000", "nimg00000016"]
    # Resumed, it needs no other run, and is refused one.
    shutil.rmtree(found[-1])
    assert run(["train", "--resume", str(only_run(tmp_path))]) == 0
    assert "it starts with" not in capsys.readouterr().err
    assert run([*base, "--preset", "paper", "--resolution", "16"]) == 2
    refused = capsys.readouterr().err
    assert (
        "has layers of other shapes (network.mapping_layers: 4, now 8; channels at 8²: 64, now 128;"
        in refused
    )
    assert "Give the preset" in refused


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("onnx") is None, reason="export needs onnx")
def test_labels_from_the_faces_through_the_bundle_to_an_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    args = "train --faces 24 --resolution 8 --batch-size 4 --kimg 0.008 --cond --metric-images 8"
    assert run(args.split()) == 0
    assert "24 images of 8²; 3 classes (none, round, square); mode 2" in capsys.readouterr().err
    assert run(["info", str(only_run(tmp_path))]) == 0
    assert "class_names     none, round, square" in capsys.readouterr().out
    assert run(["export", "-o", "faces.segan", "--best"]) == 0
    assert run(["info", "faces.segan"]) == 0
    assert "0 to 2: none, round, square" in capsys.readouterr().out
    assert run(["generate", "faces.segan", "--seeds", "0", "-o", "out"]) == 2
    assert "this generator needs a class" in capsys.readouterr().err
    for name, text in (("named", "round"), ("numbered", "1"), ("other", "square")):
        words = ["generate", "faces.segan", "--seeds", "0-1", "-o", name, "--class", text]
        assert run(words) == 0, capsys.readouterr().err
    named, numbered, other = (
        Path(name, "seed000001.png").read_bytes() for name in ("named", "numbered", "other")
    )
    assert named == numbered != other
    capsys.readouterr()
    assert run(["generate", "faces.segan", "--seeds", "0", "-o", "out", "--class", "oval"]) == 2
    assert "class is 'oval'; expected 0 to 2 (0 none, 1 round, 2 square)" in capsys.readouterr().err
    # The run continues with the same labels, and says that it is conditional.
    path = only_run(tmp_path)
    assert json.loads((path / "data.json").read_text())["faces"]["labels"] == "glasses"
    assert run(["train", "--resume", str(path), "--cond", "--kimg", "0.012"]) == 0
    assert run(["info", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "best            nimg0000" in shown
    assert "scores          swd " in shown


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("train --data absent.zip", "absent.zip"),
        ("train --resume absent", "absent does not exist"),
        ("train --resume .", "contains no checkpoint"),
        ("train --initial-checkpoint absent", "absent does not exist"),
        ("train --initial-checkpoint .", "contains no checkpoint"),
        ("train --initial-checkpoint file", "file is a single file; expected a run folder"),
        (
            "train --resume unborn",
            "unborn has no checkpoint, and it started with the weights of another run",
        ),
        (
            "train --resume cut",
            "config.json: the training configuration cannot be read: Input data",
        ),
        ("train --data unlabelled.zip --cond", "unlabelled has no labels"),
        (
            "train --faces 16 --resolution 8 --runs file",
            "cannot write file: there is a file where a folder is expected",
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
    unborn = msgspec.structs.replace(preset("tiny", resolution=8), initial_sha256="ab" * 32)
    write_run(tmp_path / "unborn", unborn)
    config = write_run(tmp_path / "cut") / "config.json"
    config.write_bytes(config.read_bytes()[:100])
    assert run(args.split()) == 1
    assert message in capsys.readouterr().err


def write_faces(path: Path) -> None:
    render_faces(path, count=8, resolution=8)
