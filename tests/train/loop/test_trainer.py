from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from PIL import Image
from torch._dynamo.exc import TorchDynamoException

from segan.runtime.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    DeviceError,
    OutputError,
    TrainingError,
)
from segan.runtime.files.atomic import sha256_file
from segan.train.data.dataset import ImageDataset, build_dataset
from segan.train.loop.guard import device_error
from segan.train.loop.resume import resume_point
from segan.train.loop.step import TrainingState
from segan.train.loop.streams import DataOrder
from segan.train.loop.trainer import Trainer
from segan.train.loop.watch.score import CheckpointScore
from segan.train.loop.watch.sheets import seed_probe
from segan.train.networks.config import ComputeConfig
from segan.train.runs.checkpoint import (
    best_checkpoint,
    list_checkpoints,
    load_generator,
    read_meta,
    set_newer_aside,
)
from segan.train.runs.config import AugmentConfig, TrainConfig, config_differences
from segan.train.runs.folder import (
    MAY_CHANGE,
    changed_settings,
    new_run_folder,
    read_config,
    read_log,
    write_config,
)
from tests.train.whole_runs import CPU, assert_same_weights, go_on, train

Config = Callable[..., TrainConfig]


def test_a_run_writes_everything_that_is_promised(
    tmp_path: Path, small_config: Config, small_data: ImageDataset
) -> None:
    run = train(tmp_path, small_config(), small_data, pictures=True)
    assert run.name == "00000-squares-mode2-paper"
    assert read_config(run) == small_config()
    assert [path.name for path in list_checkpoints(run)] == ["nimg00000040", "nimg00000080"]
    log = read_log(run)
    assert [entry["nimg"] for entry in log] == [20, 40, 60, 80]
    last = log[-1]
    assert {"loss/generator", "loss/discriminator", "loss/information", "kimg_per_s"} <= set(last)
    assert len(last["importance"]) == 2
    assert last["coords"] == 6
    assert 0 <= last["share_z"] <= 2
    for name in ("kimg000000.0.png", "kimg000000.1-sliders.png"):
        with Image.open(run / "samples" / name) as sheet:
            assert min(sheet.size) > 100
    assert (run / "curves.png").is_file()


def test_tensorboard_files_are_written(
    tmp_path: Path, small_config: Config, small_data: ImageDataset
) -> None:
    config = small_config(total_kimg=0.008, kimg_per_tick=0.004)
    run = new_run_folder(tmp_path, config, "squares")
    for _ in Trainer(run, config, small_data, device=CPU, pictures=False).steps():
        pass
    assert list((run / "tensorboard").glob("events.*"))


@pytest.mark.parametrize(
    "changes",
    [
        {"mirror": True},
        # Stopped between two adjustments of p, with a sum that is not zero.
        {
            "augment": AugmentConfig(mode="ada", probability=0.3, target=-0.9, speed_kimg=0.1),
            "c_dim": 2,
        },
        {"compute": ComputeConfig(precision="bf16")},
        {"compute": ComputeConfig(precision="fp16"), "conv_clamp": 256.0},
        {"compute": ComputeConfig(micro_batch=4), "batch_size": 8, "total_kimg": 0.12},
        {"mode": 1, "kind": "diagonal"},
    ],
    ids=["mirror", "ada, labels", "bf16", "fp16", "micro-batches", "feature maps"],
)
def test_resuming_continues_exactly(
    changes: dict[str, Any], tmp_path: Path, small_config: Config, small_data: ImageDataset
) -> None:
    clamp = changes.pop("conv_clamp", None)
    config = small_config(metric_images=0, **changes)
    if clamp is not None:
        network = msgspec.structs.replace(config.network, conv_clamp=clamp)
        config = msgspec.structs.replace(config, network=network)
    whole = train(tmp_path / "a", config, small_data)
    stopped = train(tmp_path / "b", config, small_data, stop_after=7)
    assert read_meta(list_checkpoints(stopped)[-1]).cur_nimg == 7 * config.batch_size
    go_on(stopped, small_data)
    assert_same_weights(whole, stopped)


def test_the_tick_that_a_stop_cuts_short_is_logged(
    tmp_path: Path, small_config: Config, small_data: ImageDataset
) -> None:
    run = train(tmp_path, small_config(), small_data, stop_after=7, pictures=True)
    *_, whole, short = read_log(run)
    assert [whole["nimg"], short["nimg"]] == [20, 28]
    assert short["coords"] == 6  # with the alarms, so that a page about the run can show them
    assert short["loss/generator"] != whole["loss/generator"]
    assert (run / "curves.png").is_file()
    # What was logged at a tick's end already is not logged twice.
    run = train(tmp_path, small_config(), small_data, stop_after=10)
    assert [entry["nimg"] for entry in read_log(run)] == [20, 40]


def test_resuming_from_an_older_checkpoint_rewrites_the_log(
    tmp_path: Path, small_config: Config, small_data: ImageDataset
) -> None:
    run = train(tmp_path / "a", small_config(), small_data)
    twin = train(tmp_path / "b", small_config(), small_data)
    go_on(run, small_data, list_checkpoints(run)[0])
    assert_same_weights(run, twin)
    assert [entry["nimg"] for entry in read_log(run)] == [20, 40, 60, 80]


def test_going_on_from_an_older_checkpoint_sets_the_newer_ones_aside(
    tmp_path: Path, small_config: Config, small_data: ImageDataset
) -> None:
    config = small_config(metric_images=0, keep_checkpoints=1)
    run = train(tmp_path, msgspec.structs.replace(config, keep_checkpoints=0), small_data)
    older, newer = list_checkpoints(run)
    kept = sha256_file(newer / "generator.safetensors")
    trainer = Trainer(
        run, config, small_data, device=CPU, checkpoint=older, tensorboard=False, pictures=False
    )
    aside = run / "checkpoints" / "set-aside" / newer.name
    assert trainer.aside == [aside]
    for number, _ in enumerate(trainer.steps(), 1):
        if number == 2:
            trainer.request_stop()
    # What was saved is the run's newest, and only what is older than it was removed.
    assert [path.name for path in list_checkpoints(run)] == ["nimg00000048"]
    assert [entry["nimg"] for entry in read_log(run)][-1] == 48
    assert sha256_file(aside / "generator.safetensors") == kept
    with pytest.raises(CheckpointError, match="not inside a run's folder"):
        resume_point(aside)
    # The same again finds the place taken.
    shutil.copytree(aside, newer)
    assert [path.name for path in set_newer_aside(run, 48)] == [f"{newer.name}-1"]
    assert set_newer_aside(run, 48) == []


def test_a_run_whose_checkpoints_are_gone_does_not_begin_again(
    tmp_path: Path, small_config: Config, small_data: ImageDataset
) -> None:
    run = train(tmp_path, small_config(metric_images=0), small_data)
    log = (run / "log.jsonl").read_bytes()
    folder = run / "checkpoints"
    for checkpoint in list_checkpoints(run):
        (checkpoint / "checkpoint.json").unlink()
    with pytest.raises(CheckpointError, match=r"holds nimg00000040, .* no complete checkpoint"):
        resume_point(run)
    shutil.rmtree(folder)
    with pytest.raises(CheckpointError, match=r"its log reaches kimg 0.08 and it saves every 0.04"):
        resume_point(run)
    # A kill while the first checkpoint is written leaves the line of its tick.
    (run / "log.jsonl").write_bytes(b"".join(log.splitlines(keepends=True)[:2]))
    assert [entry["nimg"] for entry in read_log(run)] == [20, 40]
    assert resume_point(run).checkpoint is None
    (run / "log.jsonl").write_bytes(log)
    folder.write_text("")
    with pytest.raises(CheckpointError, match="checkpoints is not a folder"):
        resume_point(run)
    assert (run / "log.jsonl").read_bytes() == log


def test_what_a_resumed_run_may_change_outlives_a_kill(
    tmp_path: Path, small_config: Config, small_data: ImageDataset
) -> None:
    """It is the run's own from then on; a kill before the next checkpoint loses nothing."""
    run = train(tmp_path, small_config(metric_images=0), small_data)
    compute = ComputeConfig(micro_batch=4)
    changed = small_config(metric_images=0, total_kimg=0.2, keep_checkpoints=7, compute=compute)
    write_config(run, changed)
    assert resume_point(run).config == changed
    own = read_meta(list_checkpoints(run)[-1]).config
    assert changed_settings(own, changed) == {}
    assert len(config_differences(own, changed)) == len(MAY_CHANGE)


def test_a_picture_that_cannot_be_drawn_does_not_cost_the_checkpoint(
    tmp_path: Path, small_config: Config, small_data: ImageDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OutputError("cannot write samples: the disk is full.")

    config = small_config(metric_images=0)
    run = new_run_folder(tmp_path, config, "squares")
    trainer = Trainer(run, config, small_data, device=CPU, tensorboard=False)
    steps = trainer.steps()
    next(steps)
    monkeypatch.setattr("segan.train.loop.watch.reports.write_sample_sheet", full)
    with pytest.raises(OutputError, match=r"full\. The last good checkpoint is .*nimg00000040;"):
        list(steps)
    assert [path.name for path in list_checkpoints(run)] == ["nimg00000040"]


def test_a_file_in_the_place_of_the_checkpoints_is_seen_at_once(
    tmp_path: Path, small_config: Config, small_data: ImageDataset
) -> None:
    run = new_run_folder(tmp_path, small_config(), "squares")
    (run / "checkpoints").write_text("")
    with pytest.raises(OutputError, match="checkpoints"):
        Trainer(run, small_config(), small_data, device=CPU, tensorboard=False)


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't\nmore"),
            "a step of 4 images at once needs more memory than there is: .* can't. Free memory, "
            "or train a smaller network. The last good checkpoint is .*nimg00000040; "
            "continue from it",
        ),
        (torch.OutOfMemoryError("CUDA out of memory. Tried"), "CUDA out of memory. Tried"),
        (MemoryError(), "than there is: MemoryError"),
    ],
)
def test_out_of_memory_says_what_to_do(
    raised: Exception,
    said: str,
    tmp_path: Path,
    small_config: Config,
    small_data: ImageDataset,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = small_config(metric_images=0)
    run = new_run_folder(tmp_path, config, "squares")
    trainer = Trainer(run, config, small_data, device=CPU, tensorboard=False, pictures=False)
    steps = trainer.steps()
    while not list_checkpoints(run):
        next(steps)

    def refuse(*_: object) -> None:
        raise raised

    monkeypatch.setattr(trainer.state, "train_step", refuse)
    with pytest.raises(DeviceError, match=f"(?s){said}") as told:
        list(steps)
    assert "learning_rate" not in told.value.remedy


def test_errors_of_a_step_that_are_none_of_these_are_left_as_they_are(
    small_config: Config,
) -> None:
    compiled = small_config(compute=ComputeConfig(compile=True))
    broken = TorchDynamoException("CXX not found")
    assert device_error(RuntimeError("shapes differ"), compiled, 4) is None
    assert device_error(broken, small_config(), 4) is None
    error = device_error(broken, compiled, 4)
    assert error is not None
    assert error.field == "compute.compile"
    assert "could not build the networks: CXX not found" in error.problem
    error = device_error(MemoryError(), compiled, 16)
    assert error is not None
    assert error.field == "compute.micro_batch"
    assert error.remedy == "Pass `compute.micro_batch 8`."


def test_a_run_killed_before_its_first_checkpoint_starts_again(
    tmp_path: Path, small_config: Config, small_data: ImageDataset
) -> None:
    whole = train(tmp_path / "a", small_config(), small_data)
    run = new_run_folder(tmp_path / "b", small_config(), "squares")
    half = run / "checkpoints" / ".nimg00000040.123.tmp"  # what a kill in mid-write leaves
    half.mkdir(parents=True)
    (half / "generator.safetensors").write_bytes(b"torn")
    go_on(run, small_data)
    assert_same_weights(whole, run)


def test_learning_shows(tmp_path: Path, small_config: Config) -> None:
    """On images of one colour the generator's mean comes near it."""
    images = np.full((16, 3, 8, 8), 30, np.uint8)
    images[:, 1] = 220
    config = small_config(
        total_kimg=1.2,
        kimg_per_tick=1.2,
        snapshot_kimg=1.2,
        batch_size=8,
        ema_kimg=0.05,
        learning_rate=0.01,
        r1_gamma=0.1,
    )
    run = train(tmp_path, config, build_dataset("green", images))
    shown = seed_probe(load_generator(list_checkpoints(run)[-1]).generator, range(8)).images()
    mean = shown.reshape(-1, 3).mean(0)
    assert mean[1] > 160
    assert mean[0] < 95
    assert mean[2] < 95


def test_only_the_newest_checkpoints_stay(
    tmp_path: Path, small_config: Config, small_data: ImageDataset
) -> None:
    config = small_config(snapshot_kimg=0.02, keep_checkpoints=2, metric_images=0)
    run = train(tmp_path, config, small_data)
    assert [path.name for path in list_checkpoints(run)] == ["nimg00000060", "nimg00000080"]


def test_conditional_run(tmp_path: Path, small_config: Config, small_data: ImageDataset) -> None:
    run = train(tmp_path, small_config(c_dim=2, total_kimg=0.02), small_data)
    assert read_meta(list_checkpoints(run)[-1]).class_names == ("even", "odd")


def test_data_of_another_shape(
    tmp_path: Path, small_config: Config, small_data: ImageDataset
) -> None:
    larger = build_dataset("large", np.zeros((8, 3, 16, 16), np.uint8))
    with pytest.raises(DataError, match=r"large has images of 16².*8².*segan data convert"):
        Trainer(tmp_path, small_config(), larger, device=CPU)
    grey = build_dataset("grey", np.zeros((8, 1, 8, 8), np.uint8))
    with pytest.raises(DataError, match="1 channels; expected 3"):
        Trainer(tmp_path, small_config(), grey, device=CPU)
    few = build_dataset("few", np.zeros((3, 3, 8, 8), np.uint8))
    with pytest.raises(ConfigError, match="batch_size is 4, but few contains only 3 images"):
        Trainer(tmp_path, small_config(), few, device=CPU)
    bare = build_dataset("bare", small_data.images)
    with pytest.raises(DataError, match="no labels"):
        Trainer(tmp_path, small_config(c_dim=2), bare, device=CPU)
    with pytest.raises(DataError, match="2 classes; expected 3"):
        Trainer(tmp_path, small_config(c_dim=3), small_data, device=CPU)


def test_resuming_on_other_data_or_settings(
    tmp_path: Path, small_config: Config, small_data: ImageDataset
) -> None:
    run = train(tmp_path, small_config(), small_data)
    checkpoint = list_checkpoints(run)[-1]
    other = build_dataset("other", small_data.images[::-1].copy())
    with pytest.raises(CheckpointError, match="other data"):
        Trainer(run, small_config(), other, device=CPU, checkpoint=checkpoint)
    with pytest.raises(CheckpointError, match=r"r1_gamma: 10.0, now 3.0"):
        Trainer(run, small_config(r1_gamma=3.0), small_data, device=CPU, checkpoint=checkpoint)
    longer = small_config(total_kimg=0.1)  # the length may change
    Trainer(run, longer, small_data, device=CPU, checkpoint=checkpoint, tensorboard=False)


def test_losses_that_explode_end_the_run(
    tmp_path: Path, small_config: Config, small_data: ImageDataset
) -> None:
    config = small_config(learning_rate=1e30)
    run = new_run_folder(tmp_path, config, "squares")
    trainer = Trainer(run, config, small_data, device=CPU, tensorboard=False, pictures=False)
    with pytest.raises(
        TrainingError, match=r"(?s)at step 1 loss/.* is .*lower learning_rate.*No checkpoint was"
    ):
        for _ in trainer.steps():
            pass
    assert list_checkpoints(run) == []


def poisoned_after(trainer: Trainer, steps: int) -> None:
    """Trains; after so many steps one weight of G is NaN."""
    for number, _ in enumerate(trainer.steps(), 1):
        if number == steps:
            next(trainer.state.generator.parameters()).data.view(-1)[0] = math.nan


@pytest.mark.parametrize("steps", [11, 12])
def test_a_poisoned_weight_stops_the_run_at_the_next_step(
    tmp_path: Path, small_config: Config, small_data: ImageDataset, steps: int
) -> None:
    """Snapshots are at steps 10 and 20: the one before is kept and named."""
    config = small_config()
    run = new_run_folder(tmp_path, config, "squares")
    trainer = Trainer(run, config, small_data, device=CPU, tensorboard=False, pictures=False)
    good = run / "checkpoints" / "nimg00000040"
    with pytest.raises(
        TrainingError,
        match=rf"at step {steps + 1} loss/\S+ is nan.*good checkpoint is {good}.*--resume {run}$",
    ):
        poisoned_after(trainer, steps)
    assert list_checkpoints(run) == [good]
    load_generator(good)


@pytest.mark.parametrize("part", ["generator", "discriminator", "ema", "optimizer"])
def test_a_state_that_is_not_finite_is_never_saved(
    tmp_path: Path, small_config: Config, small_data: ImageDataset, part: str
) -> None:
    config = small_config()
    run = new_run_folder(tmp_path, config, "squares")
    trainer = Trainer(run, config, small_data, device=CPU, tensorboard=False, pictures=True)
    next(trainer.steps())
    if part == "optimizer":
        state = trainer.state.optimizer_d.state
        next(iter(state.values()))["exp_avg"].view(-1)[0] = math.inf
    else:
        next(getattr(trainer.state, part).parameters()).data.view(-1)[0] = math.nan
    shown = sorted((run / "samples").iterdir())
    with pytest.raises(TrainingError, match=rf"after step 1 {part}\S+ held NaN or infinite"):
        trainer.save()
    assert list_checkpoints(run) == []
    assert sorted((run / "samples").iterdir()) == shown


def test_every_checkpoint_is_scored_and_the_best_stays(
    tmp_path: Path,
    small_config: Config,
    small_data: ImageDataset,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scores = iter([0.5, 0.2, 0.9, 0.3])
    monkeypatch.setattr(CheckpointScore, "measure", lambda *_: next(scores))
    config = small_config(snapshot_kimg=0.02, keep_checkpoints=1)
    run = train(tmp_path, config, small_data)
    kept = list_checkpoints(run)
    assert [path.name for path in kept] == ["nimg00000040", "nimg00000080"]
    assert [read_meta(path).scores for path in kept] == [{"swd": 0.2}, {"swd": 0.3}]
    assert best_checkpoint(run) == kept[0]
    log = read_log(run)
    assert [entry["swd"] for entry in log] == [0.5, 0.2, 0.9, 0.3]
    assert all({"seconds/swd", "seconds/data", "seconds/step"} <= set(entry) for entry in log)


def test_scores_depend_on_the_weights_alone_and_leave_training_alone(
    tmp_path: Path, small_config: Config, small_data: ImageDataset
) -> None:
    measured = train(tmp_path / "a", small_config(), small_data)
    bare = train(tmp_path / "b", small_config(metric_images=0), small_data)
    assert_same_weights(measured, bare)
    assert "swd" not in read_log(bare)[-1]
    assert read_meta(list_checkpoints(bare)[-1]).scores == {}
    last = list_checkpoints(measured)[-1]
    score = CheckpointScore(small_config(), small_data, CPU)
    again = score.measure(load_generator(last).generator)
    assert read_meta(last).scores["swd"] == again == read_log(measured)[-1]["swd"]


@pytest.mark.parametrize("changes", [{"mirror": True}, {"c_dim": 2}, {"mode": 0, "noise": False}])
def test_scores_of_all_kinds_of_runs(
    small_config: Config, small_data: ImageDataset, changes: dict[str, Any]
) -> None:
    config = small_config(metric_images=32, **changes)
    score = CheckpointScore(config, small_data, CPU)
    generator = TrainingState(config, CPU).ema
    assert math.isfinite(score.measure(generator))
    assert score.measure(generator) == score.measure(generator)


def test_the_phases_that_a_step_reports_are_logged_by_the_tick(
    tmp_path: Path, small_config: Config, small_data: ImageDataset
) -> None:
    config = small_config(total_kimg=0.04, metric_images=0)
    run = new_run_folder(tmp_path, config, "squares")
    trainer = Trainer(run, config, small_data, device=CPU, tensorboard=False, pictures=False)
    for _ in trainer.steps():
        pass
    for entry in read_log(run):
        phases = {name for name in entry if name.startswith("seconds/")}
        assert phases >= {f"seconds/{name}" for name in ("data", "discriminator", "generator")}
        spent = entry["seconds/discriminator"] + entry["seconds/generator"]
        assert 0 < spent <= entry["seconds/step"]
    for entry in read_log(run):
        assert entry["seconds/data"] + entry["seconds/step"] <= entry["seconds/tick"]


@pytest.mark.parametrize("micro_batch", [0, 4])
def test_a_step_takes_the_images_in_the_order_of_the_run(
    micro_batch: int,
    tmp_path: Path,
    small_config: Config,
    small_data: ImageDataset,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same numbers as from indexing the set by the run's order, epoch after epoch.

    Micro-batches take theirs so that the groups of the minibatch deviation stay together.
    """
    compute = ComputeConfig(micro_batch=micro_batch)
    config = small_config(batch_size=8, compute=compute, metric_images=0)
    trainer = Trainer(tmp_path, config, small_data, device=CPU, tensorboard=False, pictures=False)
    seen = []
    original = trainer.state.train_step

    def spy(real: torch.Tensor, *rest: Any) -> dict[str, torch.Tensor]:
        seen.append(real.clone())
        return original(real, *rest)

    monkeypatch.setattr(trainer.state, "train_step", spy)
    for _ in trainer.steps():
        pass
    order = DataOrder(len(small_data), config.seed).indices(0, 80).reshape(10, 8)
    share = [0, 1, 2, 3, 4, 5, 6, 7] if micro_batch == 0 else [0, 2, 4, 6, 1, 3, 5, 7]
    expected = torch.from_numpy(small_data.images[order[:, share].ravel()]).float() / 127.5 - 1
    assert torch.equal(torch.cat(seen), expected)


def test_a_memory_map_trains_to_the_same_bits(
    tmp_path: Path, small_config: Config, small_data: ImageDataset
) -> None:
    np.save(tmp_path / "images.npy", small_data.images)
    images = np.load(tmp_path / "images.npy", mmap_mode="r", allow_pickle=False)
    mapped = build_dataset("squares", images, small_data.labels, small_data.class_names)
    config = small_config(mirror=True, c_dim=2, total_kimg=0.04)
    assert_same_weights(
        train(tmp_path / "a", config, small_data), train(tmp_path / "b", config, mapped)
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mode": 3}, "subspace.mode: 2, now 3"),
        ({"kind": "diagonal"}, "subspace.kind: eigen, now diagonal"),
        ({"architecture": "residual"}, "network.architecture: skip, now residual"),
    ],
)
def test_a_checkpoint_of_another_network_under_the_runs_own_name(
    changes: dict[str, Any],
    said: str,
    tmp_path: Path,
    small_config: Config,
    small_data: ImageDataset,
) -> None:
    """Also when its record says otherwise, the tensors do not fit."""
    architecture = changes.pop("architecture", "skip")
    short = {"metric_images": 0, "total_kimg": 0.004}
    config = small_config(**short, **changes)
    network = msgspec.structs.replace(config.network, architecture=architecture)
    config = msgspec.structs.replace(config, network=network)
    run = train(tmp_path / "a", small_config(**short), small_data)
    other = train(tmp_path / "b", config, small_data)
    shutil.rmtree(other / "checkpoints")
    shutil.copytree(run / "checkpoints", other / "checkpoints")
    with pytest.raises(CheckpointError, match=re.escape(f"different settings ({said}")):
        resume_point(other)
    record = list_checkpoints(other)[-1] / "checkpoint.json"
    content = json.loads(record.read_text())
    content["config"] = json.loads((other / "config.json").read_text())
    record.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=r"belongs to another network \(mode, kind"):
        go_on(other, small_data)


def test_resuming_from_what_does_not_belong_to_the_run(
    tmp_path: Path, small_config: Config, small_data: ImageDataset
) -> None:
    run = train(tmp_path / "a", small_config(metric_images=0), small_data)
    other = train(tmp_path / "b", small_config(mode=3, metric_images=0), small_data)
    checkpoint = list_checkpoints(run)[-1]
    shutil.rmtree(other / "checkpoints")
    shutil.copytree(run / "checkpoints", other / "checkpoints")
    with pytest.raises(CheckpointError, match=r"different settings \(subspace.mode: 2, now 3\)"):
        resume_point(other)
    alone = shutil.copytree(checkpoint, tmp_path / "alone")
    with pytest.raises(CheckpointError, match="alone is not inside a run's folder"):
        resume_point(alone)
    assert resume_point(checkpoint) == (run, checkpoint, read_config(run))
    assert resume_point(checkpoint / "checkpoint.json").run == run


def test_a_damaged_configuration_is_named(
    tmp_path: Path, small_config: Config, small_data: ImageDataset
) -> None:
    """Also where a checkpoint is there to continue with."""
    run = train(tmp_path / "a", small_config(metric_images=0, total_kimg=0.004), small_data)
    begun = new_run_folder(tmp_path, small_config(), "begun")
    for folder in (run, begun):
        config = folder / "config.json"
        whole = config.read_bytes()
        for damaged, why in ((whole[:100], "truncated"), (b"", "truncated"), (b"[]", "object")):
            config.write_bytes(damaged)
            with pytest.raises(CheckpointError, match=f"{re.escape(str(config))}: .*{why}.* Resto"):
                resume_point(folder)
        config.unlink()
        config.mkdir()
        with pytest.raises(CheckpointError, match=f"{re.escape(str(config))} cannot be read: "):
            resume_point(folder)
        config.rmdir()
        with pytest.raises(CheckpointError, match=r"config.json is missing"):
            read_config(folder)


@pytest.mark.parametrize("damaged", ['{"nimg": 8, "ki', "[" * 100_000, '{"nimg": ' + "9" * 5000])
def test_log_drops_what_a_crash_cut_short(damaged: str, tmp_path: Path) -> None:
    whole = json.dumps({"nimg": 4, "kimg": 0.004})
    (tmp_path / "log.jsonl").write_text(whole + "\n" + damaged)
    assert read_log(tmp_path) == [{"nimg": 4, "kimg": 0.004}]


def test_runs_are_numbered(tmp_path: Path, small_config: Config) -> None:
    names = [new_run_folder(tmp_path, small_config(), "a/b c").name for _ in range(2)]
    assert names == ["00000-a_b_c-mode2-paper", "00001-a_b_c-mode2-paper"]
    diagonal = new_run_folder(tmp_path, small_config(kind="diagonal", mode=1), "x")
    assert diagonal.name == "00002-x-mode1-diagonal-paper"
