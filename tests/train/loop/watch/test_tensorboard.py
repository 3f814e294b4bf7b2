from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from segan.runtime.errors import OutputError
from segan.train.loop.watch.tensorboard import Board


def test_numbers_are_written_at_their_progress(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = Board(tmp_path, 0)
    for nimg in (20, 40):
        board.write({"nimg": nimg, "loss/r1": nimg / 100, "importance": [3.0, 2.0]})
    board.close()
    found = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(entry.step, entry.value) for entry in found.Scalars("loss/r1")] == [
        (20, pytest.approx(0.2)),
        (40, pytest.approx(0.4)),
    ]
    assert [entry.value for entry in found.Scalars("importance/subspace1")] == [2.0, 2.0]
    assert set(found.Tags()["scalars"]) == {
        "loss/r1",
        "importance/subspace0",
        "importance/subspace1",
    }


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(tmp_path, 0)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(board._writer, "flush", full)
        with pytest.raises(OutputError, match=r"cannot write .*tensorboard: the disk is full"):
            board.write({"nimg": 1, "loss/r1": 0.5})
    board.close()


def test_something_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").write_bytes(b"")
    with pytest.raises(OutputError, match="there is a file where a folder is expected"):
        Board(tmp_path, 0)
