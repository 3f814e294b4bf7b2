"""Starting and resuming a run from Python."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

import segan.train
from segan.runtime.errors import CheckpointError, ConfigError, DataError
from segan.train.loop.plan import resume_run, start_run
from segan.train.runs.checkpoint import list_checkpoints
from segan.train.runs.data import Drawing
from segan.train.runs.tensors import read_tensors

if TYPE_CHECKING:
    from tests.conftest import RaisesError

SMALL = {
    "batch_size": 4,
    "total_kimg": 0.016,
    "snapshot_kimg": 0.008,
    "metric_images": 0,
    "compute.precision": "fp32",
}


def test_a_run_is_started_resumed_and_loaded(tmp_path: Path) -> None:
    drawn: list[Any] = []
    drawing = Drawing(lambda faces, size: drawn.append((faces, size)), drawn.append)
    with start_run(
        faces=16, resolution=8, settings=SMALL, runs=tmp_path, device="cpu", drawing=drawing
    ) as trainer:
        assert sum(step.images for step in trainer.steps()) == 16
    assert drawn == [(16, 8), 16]
    run = trainer.run_folder
    assert run == tmp_path / "00000-faces-mode2-tiny"
    whole = read_tensors(list_checkpoints(run)[-1] / "training.safetensors")

    first = list_checkpoints(run)[0]
    with resume_run(first, faces=16, device="cpu") as trainer:
        assert trainer.checkpoint == first
        assert [path.name for path in trainer.aside] == ["nimg00000016"]
        list(trainer.steps())
    again = read_tensors(list_checkpoints(run)[-1] / "training.safetensors")
    assert [name for name in whole if not torch.equal(whole[name], again[name])] == []

    generator, config, meta = segan.train.load_generator(run)
    assert meta.cur_nimg == 16
    assert generator(torch.zeros(2, config.network.z_dim)).shape == (2, 3, 8, 8)


def test_a_run_is_locked_while_it_is_open(tmp_path: Path) -> None:
    with (
        start_run(faces=16, resolution=8, settings=SMALL, runs=tmp_path, device="cpu") as trainer,
        pytest.raises(ConfigError, match="another process is training in"),
        resume_run(trainer.run_folder, device="cpu"),
    ):
        pass


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"preset": "tyni"}, "preset"),
        ({"device": "gpu"}, "device"),
        ({"faces": 0}, "faces"),
        ({"resolution": 48}, "resolution"),
        ({"data": "x.zip", "resolution": 8}, "resolution"),
        ({"data": "x.zip", "faces": 8}, "faces"),
        ({"data_cache": "disk"}, "data_cache"),
        ({"settings": {"subspace.mode": 7}}, "subspace.mode"),
        ({"faces": 4, "settings": {"batch_size": 8}}, "batch_size"),
        ({"settings": {"compute.micro_batch": 2}}, "compute.micro_batch"),
    ],
)
def test_an_argument_out_of_its_range_is_named_and_makes_no_folder(
    arguments: dict[str, Any], field: str, tmp_path: Path, raises_error: RaisesError
) -> None:
    with raises_error(ConfigError, field=field), start_run(runs=tmp_path / "runs", **arguments):
        pass
    assert not (tmp_path / "runs").exists()


def test_data_and_checkpoints_that_are_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"), start_run(tmp_path / "no.zip"):
        pass
    with (
        pytest.raises(CheckpointError, match="does not exist"),
        start_run(initial_checkpoint=tmp_path / "absent", faces=16, resolution=8),
    ):
        pass
    with pytest.raises(CheckpointError, match="does not exist"), resume_run(tmp_path / "absent"):
        pass


def test_other_faces_than_the_runs_own_are_refused(
    tmp_path: Path, raises_error: RaisesError
) -> None:
    with start_run(faces=16, resolution=8, settings=SMALL, runs=tmp_path, device="cpu") as trainer:
        pass
    run = trainer.run_folder
    assert json.loads((run / "data.json").read_text())["faces"]["faces"] == 16
    with raises_error(ConfigError, field="faces", value=8), resume_run(run, faces=8):
        pass
