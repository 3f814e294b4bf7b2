from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segan.runtime.errors import CheckpointError, ConfigError, DataError, TrainingError
from segan.train.checkpoint import list_checkpoints, load_generator, read_meta
from segan.train.config import TrainConfig
from segan.train.dataset import ImageDataset, build_dataset
from segan.train.loop import Trainer, resume_point
from segan.train.run_folder import new_run_folder, read_config, read_log
from segan.train.sample_sheets import seed_images
from segan.train.tensors import read_tensors

CPU = torch.device("cpu")
Config = Callable[..., TrainConfig]


def train(
    runs: Path,
    config: TrainConfig,
    data: ImageDataset,
    *,
    stop_after: int | None = None,
    pictures: bool = False,
) -> Path:
    run = new_run_folder(runs, config, data.name)
    trainer = Trainer(run, config, data, device=CPU, tensorboard=False, pictures=pictures)
    for number, _ in enumerate(trainer.steps(), 1):
        if number == stop_after:
            trainer.request_stop()
    return run


def go_on(run: Path, data: ImageDataset, checkpoint: Path | None = None) -> None:
    point = resume_point(checkpoint or run)
    trainer = Trainer(
        point.run,
        point.config,
        data,
        device=CPU,
        checkpoint=point.checkpoint,
        tensorboard=False,
        pictures=False,
    )
    for _ in trainer.steps():
        pass


def assert_same_weights(one: Path, two: Path) -> None:
    for name in ("generator.safetensors", "training.safetensors"):
        a, b = (read_tensors(list_checkpoints(run)[-1] / name) for run in (one, two))
        assert a.keys() == b.keys()
        assert [key for key in a if not torch.equal(a[key], b[key])] == []


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


def test_resuming_continues_exactly(
    tmp_path: Path, small_config: Config, small_data: ImageDataset
) -> None:
    config = small_config(mirror=True)
    whole = train(tmp_path / "a", config, small_data)
    stopped = train(tmp_path / "b", config, small_data, stop_after=7)
    assert read_meta(list_checkpoints(stopped)[-1]).cur_nimg == 28
    go_on(stopped, small_data)
    assert_same_weights(whole, stopped)


def test_resuming_from_an_older_checkpoint_rewrites_the_log(
    tmp_path: Path, small_config: Config, small_data: ImageDataset
) -> None:
    run = train(tmp_path / "a", small_config(), small_data)
    twin = train(tmp_path / "b", small_config(), small_data)
    go_on(run, small_data, list_checkpoints(run)[0])
    assert_same_weights(run, twin)
    assert [entry["nimg"] for entry in read_log(run)] == [20, 40, 60, 80]


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
    shown = seed_images(load_generator(list_checkpoints(run)[-1]).generator, range(8))
    mean = shown.reshape(-1, 3).mean(0)
    assert mean[1] > 160
    assert mean[0] < 95
    assert mean[2] < 95


def test_only_the_newest_checkpoints_stay(
    tmp_path: Path, small_config: Config, small_data: ImageDataset
) -> None:
    config = small_config(snapshot_kimg=0.02, keep_checkpoints=2)
    run = train(tmp_path, config, small_data)
    assert [path.name for path in list_checkpoints(run)] == ["nimg00000060", "nimg00000080"]


def test_conditional_run(tmp_path: Path, small_config: Config, small_data: ImageDataset) -> None:
    run = train(tmp_path, small_config(c_dim=2, total_kimg=0.02), small_data)
    assert read_meta(list_checkpoints(run)[-1]).class_names == ("even", "odd")


def test_data_of_another_shape(
    tmp_path: Path, small_config: Config, small_data: ImageDataset
) -> None:
    larger = build_dataset("large", np.zeros((8, 3, 16, 16), np.uint8))
    with pytest.raises(DataError, match=r"large is 16².*8².*segan data convert"):
        Trainer(tmp_path, small_config(), larger, device=CPU)
    grey = build_dataset("grey", np.zeros((8, 1, 8, 8), np.uint8))
    with pytest.raises(DataError, match="1 channels; this run has 3"):
        Trainer(tmp_path, small_config(), grey, device=CPU)
    few = build_dataset("few", np.zeros((3, 3, 8, 8), np.uint8))
    with pytest.raises(ConfigError, match="batch_size is 4, but few has 3 images"):
        Trainer(tmp_path, small_config(), few, device=CPU)
    bare = build_dataset("bare", small_data.images)
    with pytest.raises(DataError, match="no labels"):
        Trainer(tmp_path, small_config(c_dim=2), bare, device=CPU)
    with pytest.raises(DataError, match="2 classes; this run has 3"):
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
    trainer = Trainer(run, config, small_data, device=CPU, tensorboard=False)
    with pytest.raises(TrainingError, match="infinite or NaN"):
        for _ in trainer.steps():
            pass
    assert list_checkpoints(run) == []


def test_log_drops_what_a_crash_cut_short(tmp_path: Path) -> None:
    whole = json.dumps({"nimg": 4, "kimg": 0.004})
    (tmp_path / "log.jsonl").write_text(whole + "\n" + '{"nimg": 8, "ki')
    assert read_log(tmp_path) == [{"nimg": 4, "kimg": 0.004}]


def test_runs_are_numbered(tmp_path: Path, small_config: Config) -> None:
    names = [new_run_folder(tmp_path, small_config(), "a/b c").name for _ in range(2)]
    assert names == ["00000-a_b_c-mode2-paper", "00001-a_b_c-mode2-paper"]
    diagonal = new_run_folder(tmp_path, small_config(kind="diagonal", mode=1), "x")
    assert diagonal.name == "00002-x-mode1-diagonal-paper"
