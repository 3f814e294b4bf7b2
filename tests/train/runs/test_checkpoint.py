from __future__ import annotations

import builtins
import errno
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest
import torch
from safetensors.torch import save_file

from segan.runtime.errors import CheckpointError, OutputError
from segan.runtime.files import whole_folder
from segan.train.loop.state_tensors import load_training_tensors, training_tensors
from segan.train.loop.step import TrainingState
from segan.train.runs.checkpoint import (
    best_checkpoint,
    describe,
    find_run,
    list_checkpoints,
    load_generator,
    read_meta,
    remove_leftovers,
    resolve_checkpoint,
    save_checkpoint,
    set_newer_aside,
)
from segan.train.runs.config import TrainConfig

CPU = torch.device("cpu")
Config = Callable[..., TrainConfig]


def save(
    run: Path, config: TrainConfig, cur_nimg: int = 40, keep: int = 0, swd: float | None = None
) -> Path:
    state = TrainingState(config, CPU)
    return save_checkpoint(
        run,
        state.ema.state_dict(),
        training_tensors(state),
        keep=keep,
        name="squares",
        cur_nimg=cur_nimg,
        step=cur_nimg // config.batch_size,
        class_names=(),
        data_fingerprint="0" * 64,
        config=config,
        versions={"segan": "0"},
        scores={} if swd is None else {"swd": swd},
    )


def test_round_trip(tmp_path: Path, small_config: Config) -> None:
    config = small_config()
    checkpoint = save(tmp_path / "run", config)
    loaded = load_generator(checkpoint)
    reference = TrainingState(config, CPU).ema
    assert loaded.config == config
    for name, value in reference.state_dict().items():
        assert torch.equal(loaded.generator.state_dict()[name], value)
    assert not any(p.requires_grad for p in loaded.generator.parameters())
    assert len(loaded.meta.sha256) == 64


def test_newer_checkpoints_are_set_aside_under_names_that_are_free(
    tmp_path: Path, small_config: Config
) -> None:
    for _ in range(3):
        saved = [save(tmp_path, small_config(), cur_nimg=nimg) for nimg in (40, 80, 120)]
        moved = set_newer_aside(tmp_path, 40)
        assert list_checkpoints(tmp_path) == saved[:1]
    aside = tmp_path / "checkpoints" / "set-aside"
    assert moved == [aside / "nimg00000120-2", aside / "nimg00000080-2"]
    kept = sorted(path.name for path in aside.iterdir())
    names = ("nimg00000080", "nimg00000120")
    assert kept == [f"{name}{number}" for name in names for number in ("", "-1", "-2")]
    assert set_newer_aside(tmp_path, 40) == []


def test_optimiser_state_round_trip(small_config: Config) -> None:
    one, two = (TrainingState(small_config(), CPU) for _ in range(2))
    real = torch.randn(4, 3, 8, 8).clamp(-1, 1)
    for _ in range(2):
        one.train_step(real, None, None, one.step_random())
    load_training_tensors(two, {k: v.clone() for k, v in training_tensors(one).items()}, Path("x"))
    before, after = training_tensors(one), training_tensors(two)
    assert any(name.endswith("exp_avg_sq") for name in before)
    assert [name for name in before if not torch.equal(before[name], after[name])] == []


def test_resolving(tmp_path: Path, small_config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "runs" / "00000-squares-mode2-paper"
    first, last = save(run, small_config(), 40), save(run, small_config(), 80)
    monkeypatch.chdir(tmp_path)
    assert find_run(tmp_path) == run
    assert resolve_checkpoint(None) == last
    assert resolve_checkpoint(run) == last
    assert resolve_checkpoint(first) == first
    assert resolve_checkpoint(first / "generator.safetensors") == first
    found = describe(run)
    assert found["kimg"] == 0.08
    assert found["mode"] == 2
    assert found["checkpoints"] == 2


def test_nothing_to_resolve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="no training run under"):
        resolve_checkpoint(None)
    with pytest.raises(CheckpointError, match="does not exist"):
        resolve_checkpoint(Path("absent"))
    with pytest.raises(CheckpointError, match="contains no checkpoint"):
        resolve_checkpoint(tmp_path)


class Boom:
    """A pickle that would leave a trace if anything opened it."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.trace}",)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_pickle_is_named_and_never_opened(
    tmp_path: Path, small_config: Config, protocol: int
) -> None:
    checkpoint = save(tmp_path / "run", small_config())
    trace = tmp_path / "trace"
    data = pickle.dumps(Boom(trace), protocol)
    (checkpoint / "generator.safetensors").write_bytes(data)
    with pytest.raises(CheckpointError, match="is a pickle, which can run code"):
        load_generator(checkpoint)
    network = tmp_path / "network.pkl"
    network.write_bytes(data)
    with pytest.raises(CheckpointError, match="is a pickle"):
        resolve_checkpoint(network)
    torch.save({"a": torch.zeros(2)}, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=r"model.pt is a zip, perhaps a PyTorch pickle"):
        resolve_checkpoint(tmp_path / "model.pt")
    assert not trace.exists()


def test_cut_short_anywhere(tmp_path: Path, small_config: Config) -> None:
    checkpoint = save(tmp_path / "run", small_config())
    path = checkpoint / "generator.safetensors"
    whole = path.read_bytes()
    for share in (0.0, 0.01, 0.3, 0.99):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(CheckpointError, match=r"is empty|altered or truncated"):
            load_generator(checkpoint)
    path.unlink()
    with pytest.raises(CheckpointError, match=r"generator.safetensors is missing"):
        load_generator(checkpoint)


def test_altered(tmp_path: Path, small_config: Config) -> None:
    checkpoint = save(tmp_path / "run", small_config())
    path = checkpoint / "generator.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="altered"):
        load_generator(checkpoint)


@pytest.mark.parametrize("change", [{"mode": 1}, {"kind": "diagonal"}, {"dims": 2}])
def test_of_another_mode(tmp_path: Path, small_config: Config, change: dict[str, object]) -> None:
    checkpoint = save(tmp_path / "run", small_config())
    record = json.loads((checkpoint / "checkpoint.json").read_text())
    record["config"]["subspace"] |= change
    (checkpoint / "checkpoint.json").write_text(json.dumps(record))
    with pytest.raises(CheckpointError, match="belongs to another network"):
        load_generator(checkpoint)


def test_a_bad_record(tmp_path: Path, small_config: Config) -> None:
    checkpoint = save(tmp_path / "run", small_config())
    path = checkpoint / "checkpoint.json"
    whole = path.read_text()
    path.write_text(whole[:100])
    with pytest.raises(CheckpointError, match="truncated or not JSON"):
        read_meta(checkpoint)
    path.write_text(whole.replace("segan.checkpoint/1", "segan.checkpoint/9"))
    with pytest.raises(CheckpointError) as error:
        read_meta(checkpoint)
    assert (error.value.field, error.value.value) == ("format", "segan.checkpoint/9")
    assert error.value.expected == "'segan.checkpoint/1'"
    path.write_text(whole.replace('"resolution": 8', '"resolution": 9'))
    with pytest.raises(CheckpointError, match="resolution is 9; expected a power of two"):
        read_meta(checkpoint)
    path.write_text("[]")
    with pytest.raises(CheckpointError, match="format is None"):
        read_meta(checkpoint)


@pytest.mark.parametrize(
    ("counters", "text"),
    [
        ({"cur_nimg": -4, "step": -1}, "cur_nimg is -4 and step -1; expected -4 images after -1"),
        ({"step": 2**60}, "expected 4611686018427387904 images after 1152921504606846976 steps of"),
        ({"cur_nimg": 52}, "cur_nimg is 52 and step 10; expected 40 images after 10 steps of 4,"),
    ],
)
def test_counters_that_do_not_agree(
    counters: dict[str, int], text: str, tmp_path: Path, small_config: Config
) -> None:
    path = save(tmp_path / "run", small_config()) / "checkpoint.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | counters))
    with pytest.raises(CheckpointError, match=text):
        read_meta(path.parent)


def test_foreign_tensors(tmp_path: Path, small_config: Config) -> None:
    checkpoint = save(tmp_path / "run", small_config())
    save_file({"foo": torch.zeros(2)}, checkpoint / "generator.safetensors")
    with pytest.raises(CheckpointError, match="altered"):
        load_generator(checkpoint)


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, small_config: Config
) -> None:
    run = tmp_path / "run"
    old = save(run, small_config())
    blocked = tmp_path / "blocked"
    blocked.write_bytes(b"a file in the way")
    with pytest.raises(OutputError, match="there is a file where a folder is expected"):
        save(blocked, small_config())
    assert list_checkpoints(run) == [old]


def test_a_full_disk_is_named_and_leaves_nothing_torn(
    tmp_path: Path, small_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    old = save(run, small_config())

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="the disk is full"):
        save(run, small_config(), 80)
    assert list_checkpoints(run) == [old]
    assert [path.name for path in (run / "checkpoints").iterdir()] == [old.name]
    load_generator(old)


def test_the_same_progress_again_replaces_it(tmp_path: Path, small_config: Config) -> None:
    run = tmp_path / "run"
    assert save(run, small_config()) == save(run, small_config())
    assert len(list_checkpoints(run)) == 1


def test_a_kill_while_a_checkpoint_is_replaced_leaves_a_whole_one(
    tmp_path: Path, small_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    first, again = save(run, small_config(), 40), save(run, small_config(), 80)

    class Killed(BaseException):
        """Stands for a process that ends at once."""

    real_rename = os.rename

    def killed_after_moving_aside(source: Path, target: Path) -> None:
        real_rename(source, target)
        raise Killed

    monkeypatch.setattr(os, "rename", killed_after_moving_aside)
    with pytest.raises(Killed):
        save(run, small_config(), 80)
    monkeypatch.undo()
    for checkpoint in list_checkpoints(run):
        load_generator(checkpoint)
    assert first in list_checkpoints(run)
    assert save(run, small_config(), 80) == again


#: The process in temporary names: as it is written now, and as older versions wrote it.
PROCESSES = ("123-0123abcd", "123")


@pytest.mark.parametrize("process", PROCESSES)
def test_what_a_kill_left_half_written_is_removed(
    tmp_path: Path, small_config: Config, process: str
) -> None:
    run = tmp_path / "run"
    whole = save(run, small_config())
    torn = run / "checkpoints" / f".nimg00000080.{process}.tmp"
    torn.mkdir()
    (torn / "generator.safetensors").write_bytes(b"torn")
    remove_leftovers(run)
    assert list((run / "checkpoints").iterdir()) == [whole]


def test_the_best_stays_beside_the_newest(tmp_path: Path, small_config: Config) -> None:
    run, config = tmp_path / "run", small_config()
    for cur_nimg, swd in [(40, 0.5), (80, 0.2), (120, None), (160, 0.2), (200, 0.6)]:
        save(run, config, cur_nimg, keep=2, swd=swd)
    names = [path.name for path in list_checkpoints(run)]
    assert names == ["nimg00000080", "nimg00000160", "nimg00000200"]  # of equal ones the older
    best = run / "checkpoints" / "nimg00000080"
    assert best_checkpoint(run) == best
    assert resolve_checkpoint(run, best=True) == best
    assert resolve_checkpoint(run) == run / "checkpoints" / "nimg00000200"
    found = describe(run)
    assert (found["best"], found["scores"]) == ("nimg00000080", {"swd": 0.2})
    save(run, config, 240, keep=1, swd=0.1)  # it is dethroned
    assert [path.name for path in list_checkpoints(run)] == ["nimg00000240"]


def test_no_best(tmp_path: Path, small_config: Config) -> None:
    run = tmp_path / "run"
    checkpoint = save(run, small_config())
    assert best_checkpoint(run) is None
    assert describe(run)["best"] is None
    with pytest.raises(CheckpointError, match=r"no checkpoint of .* has a score \(swd\)"):
        resolve_checkpoint(run, best=True)
    with pytest.raises(CheckpointError, match="is one checkpoint, and best chooses"):
        resolve_checkpoint(checkpoint, best=True)
    (checkpoint / "checkpoint.json").write_text("{")  # damaged: not the best, and no obstacle
    save(run, small_config(), 80, swd=1.0)
    assert best_checkpoint(run) == run / "checkpoints" / "nimg00000080"


def test_a_checkpoint_of_before_there_were_scores(tmp_path: Path, small_config: Config) -> None:
    checkpoint = save(tmp_path / "run", small_config())
    path = checkpoint / "checkpoint.json"
    record = json.loads(path.read_text())
    del record["scores"], record["config"]["metric_images"]
    path.write_text(json.dumps(record))
    assert read_meta(checkpoint).scores == {}
    assert read_meta(checkpoint).config.metric_images == TrainConfig().metric_images


FILES = ("generator.safetensors", "training.safetensors", "checkpoint.json")


class FullDisk:
    """A file on which only the first bytes have room."""

    def __init__(self, file: IO[Any]) -> None:
        self._file = file

    def write(self, data: bytes) -> int:
        self._file.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)

    def __enter__(self) -> FullDisk:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


@pytest.mark.parametrize("name", FILES)
def test_a_disk_that_fills_up_within_a_file(
    tmp_path: Path, small_config: Config, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    run = tmp_path / "run"
    old = save(run, small_config())
    real_open = builtins.open

    def filling(path: Any, mode: str = "r", *args: Any, **rest: Any) -> Any:
        file = real_open(path, mode, *args, **rest)
        return FullDisk(file) if name in str(path) and "x" in mode else file

    monkeypatch.setattr(builtins, "open", filling)
    with pytest.raises(OutputError, match=rf"cannot write .*{name}: the disk is full"):
        save(run, small_config(), 80, keep=1)
    monkeypatch.undo()
    assert [path.name for path in (run / "checkpoints").iterdir()] == [old.name]
    load_generator(old)


@pytest.mark.parametrize("failing", [1, 2, 3, 4])
def test_a_rename_that_fails_leaves_the_old_checkpoint(
    tmp_path: Path, small_config: Config, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    """The same progress again, on a system that cannot exchange two folders in one step."""
    run = tmp_path / "run"
    old = save(run, small_config())
    real_rename, calls = os.rename, 0

    def rename(source: Path, target: Path) -> None:
        nonlocal calls
        calls += 1
        if calls == failing:
            raise OSError(errno.EROFS, "Read-only file system")
        real_rename(source, target)

    monkeypatch.setattr(os, "rename", rename)
    monkeypatch.setattr(whole_folder, "exchange", lambda *_: False)
    with pytest.raises(OutputError, match="the file system is read-only"):
        save(run, small_config())
    assert [path.name for path in (run / "checkpoints").iterdir()] == [old.name]
    load_generator(old)


@pytest.mark.parametrize("process", PROCESSES)
def test_a_kill_while_the_only_checkpoint_is_replaced_loses_nothing(
    tmp_path: Path, small_config: Config, process: str
) -> None:
    run = tmp_path / "run"
    only = save(run, small_config())
    only.rename(only.with_name(f".nimg00000040.{process}.old.tmp"))
    assert list_checkpoints(run) == []
    remove_leftovers(run)
    assert list_checkpoints(run) == [only]
    load_generator(only)
    # Killed a moment later.
    shutil.copytree(only, only.with_name(f".nimg00000040.{process}.old.tmp"))
    remove_leftovers(run)
    assert list((run / "checkpoints").iterdir()) == [only]
