from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from segan.runtime.errors import CheckpointError, OutputError
from segan.train.checkpoint import (
    describe,
    find_run,
    list_checkpoints,
    load_generator,
    read_meta,
    remove_leftovers,
    resolve_checkpoint,
    save_checkpoint,
)
from segan.train.config import TrainConfig
from segan.train.state_tensors import load_training_tensors, training_tensors
from segan.train.step import TrainingState

CPU = torch.device("cpu")
Config = Callable[..., TrainConfig]


def save(run: Path, config: TrainConfig, cur_nimg: int = 40, keep: int = 0) -> Path:
    state = TrainingState(config, CPU)
    return save_checkpoint(
        run,
        state.ema.state_dict(),
        training_tensors(state),
        keep=keep,
        name="squares",
        cur_nimg=cur_nimg,
        step=10,
        class_names=(),
        data_fingerprint="0" * 64,
        config=config,
        versions={"segan": "0"},
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
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
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
        with pytest.raises(CheckpointError, match=r"is empty|altered or cut short"):
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
    with pytest.raises(CheckpointError, match="cut short or not JSON"):
        read_meta(checkpoint)
    path.write_text(whole.replace("segan.checkpoint/1", "segan.checkpoint/9"))
    with pytest.raises(CheckpointError, match=r"segan.checkpoint/9.*reads 'segan.checkpoint/1'"):
        read_meta(checkpoint)
    path.write_text(whole.replace('"resolution": 8', '"resolution": 9'))
    with pytest.raises(CheckpointError, match="resolution is 9; expected a power of two"):
        read_meta(checkpoint)
    path.write_text("[]")
    with pytest.raises(CheckpointError, match="format is None"):
        read_meta(checkpoint)


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
    with pytest.raises(OutputError, match="a file stands where a folder is expected"):
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


def test_what_a_kill_left_half_written_is_removed(tmp_path: Path, small_config: Config) -> None:
    run = tmp_path / "run"
    whole = save(run, small_config())
    torn = run / "checkpoints" / ".nimg00000080.123.tmp"
    torn.mkdir()
    (torn / "generator.safetensors").write_bytes(b"torn")
    remove_leftovers(run)
    assert list((run / "checkpoints").iterdir()) == [whole]
