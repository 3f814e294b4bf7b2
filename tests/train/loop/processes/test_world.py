"""Two processes over gloo against one alone; what they do is in ``rank_scenarios.py``."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from segan.runtime.errors import ConfigError, OutputError, RankError
from segan.train.loop.processes.agreement import checksum
from segan.train.loop.processes.device import find_device
from segan.train.loop.processes.launch import Place
from segan.train.loop.processes.world import ALONE, joined
from segan.train.loop.state_tensors import training_tensors
from segan.train.loop.streams import DataOrder
from segan.train.loop.trainer import Trainer
from segan.train.runs.checkpoint import list_checkpoints, read_meta
from segan.train.runs.folder import read_log
from segan.train.runs.tensors import read_tensors
from tests.train.loop.processes.rank_scenarios import (
    BATCH,
    CPU,
    SETTINGS,
    WHOLE,
    data,
    finish,
    gradients,
    train,
)

RUN = "00000-squares-mode2-paper"


class Pair(NamedTuple):
    """What two processes left."""

    folder: Path
    found: tuple[dict[str, Any], dict[str, Any]]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def start_ranks(*words: str | Path, cwd: Path) -> list[subprocess.Popen[str]]:
    """Starts a Python program once for each of two ranks, without torchrun, which takes longer."""
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": f"{free_port()}"}
    env = os.environ | shared | {"OMP_NUM_THREADS": "1"}
    return [
        subprocess.Popen(
            [sys.executable, *map(str, words)],
            cwd=cwd,
            env=env | {"RANK": f"{rank}", "LOCAL_RANK": f"{rank}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tmp_path_factory.mktemp("pair")
    script = Path(__file__).with_name("rank_scenarios.py")
    processes = start_ranks(
        "-W", "error::UserWarning", script, folder, f"{free_port()}", cwd=folder
    )
    output = [process.communicate(timeout=300) for process in processes]
    first = folder / "rank0.json"
    assert first.is_file(), output
    second = folder / "rank1.json"
    assert second.is_file(), output
    return Pair(folder, (json.loads(first.read_text()), json.loads(second.read_text())))


@pytest.mark.slow
class TestTwoProcesses:
    @pytest.mark.parametrize("name", SETTINGS)
    def test_two_of_8_give_what_one_of_16_gives(self, name: str, pair: Pair) -> None:
        """Gradients of all phases, figures, statistics and averages of four steps, in float64."""
        expected = gradients(SETTINGS[name])
        assert sum(key.startswith("phase") for key in expected) == 4 * 2 + 2 * 2
        for rank in range(2):
            found = read_tensors(pair.folder / f"rank{rank}-{name}.safetensors")
            assert found.keys() == expected.keys()
            for key, value in expected.items():
                scale = float(value.abs().max())
                message = f"{key} on rank {rank}"
                assert float((found[key] - value).abs().max()) <= 1e-9 * scale + 1e-12, message

    def test_both_hold_the_same_bits(self, pair: Pair) -> None:
        for name in SETTINGS:
            one, two = (
                read_tensors(pair.folder / f"rank{rank}-{name}.safetensors") for rank in range(2)
            )
            assert [key for key in one if not torch.equal(one[key], two[key])] == []

    def test_each_loads_its_part_of_every_batch_in_the_runs_order(self, pair: Pair) -> None:
        shares = [found["share"] for found in pair.found]
        assert sorted(shares[0] + shares[1]) == list(range(BATCH))
        images = data().images.astype(np.float64) / 127.5 - 1
        order = DataOrder(len(images), WHOLE.seed).indices(0, 8 * BATCH).reshape(8, BATCH)
        for found, share in zip(pair.found, shares, strict=True):
            expected = images[order[:, share]].mean((2, 3, 4))
            np.testing.assert_allclose(found["means"], expected, atol=1e-6)

    def test_a_run_of_two_is_a_run_of_one_and_the_first_writes_it(
        self, pair: Pair, tmp_path: Path
    ) -> None:
        assert pair.found[0]["written"] == ["nimg00000064", "nimg00000128"]
        assert pair.found[1]["written"] == []
        run = pair.folder / "whole" / RUN
        assert [path.name for path in list_checkpoints(run)] == pair.found[0]["written"]
        assert (run / "samples" / "kimg000000.1.png").is_file()
        assert read_meta(list_checkpoints(run)[-1]).ranks == 2
        alone = train(tmp_path, WHOLE, pictures=False)
        finish(alone)
        for file in ("generator.safetensors", "training.safetensors"):
            one, two = (
                read_tensors(list_checkpoints(path)[0] / file) for path in (alone.run_folder, run)
            )
            for name, value in one.items():
                if "exp_avg" not in name:  # moments of tiny gradients: compared above, in float64
                    torch.testing.assert_close(two[name], value, rtol=1e-2, atol=2e-3, msg=name)
        for ours, theirs in zip(read_log(alone.run_folder), read_log(run), strict=True):
            for name in ("loss/generator", "score/real_sign", "augment/p", "nimg"):
                assert theirs[name] == pytest.approx(ours[name], rel=1e-2), name

    def test_one_asks_to_stop_both_do_and_go_on_to_the_same_bits(self, pair: Pair) -> None:
        assert pair.found[0]["stopped"] == [["nimg00000048"], True, 48]
        assert pair.found[1]["stopped"] == [[], True, 48]
        assert pair.found[0]["going on"] == ["nimg00000064", "nimg00000128"]
        whole, resumed = (pair.folder / name / RUN for name in ("whole", "stopped"))
        for checkpoint in list_checkpoints(whole):
            for file in ("generator.safetensors", "training.safetensors"):
                one = read_tensors(checkpoint / file)
                two = read_tensors(resumed / "checkpoints" / checkpoint.name / file)
                assert [name for name in one if not torch.equal(one[name], two[name])] == []

    def test_one_process_goes_on_with_the_run_of_two(self, pair: Pair, tmp_path: Path) -> None:
        """And ends where the two would have, but for rounding."""
        run = shutil.copytree(pair.folder / "stopped" / RUN, tmp_path / RUN)
        checkpoint = run / "checkpoints" / f"nimg{3 * BATCH:08d}"
        trainer = Trainer(
            run, WHOLE, data(), device=CPU, checkpoint=checkpoint, tensorboard=False, pictures=False
        )
        finish(trainer, stop_after=1)
        assert trainer.state.cur_nimg == 4 * BATCH
        expected = read_tensors(
            pair.folder / "whole" / RUN / "checkpoints/nimg00000064/training.safetensors"
        )
        for name, value in training_tensors(trainer.state).items():
            if "exp_avg" not in name:
                torch.testing.assert_close(value, expected[name], rtol=1e-2, atol=2e-3, msg=name)

    @pytest.mark.parametrize(
        ("name", "kind", "text", "teller"),
        [
            ("one", "OutputError", "rank 1 of 2: the disk is full.", 1),
            ("first", "OutputError", "the disk is full.", 0),
            ("all", "ConfigError", "the disk is full.", 0),
        ],
    )
    def test_an_error_ends_both_and_is_told_once(
        self, name: str, kind: str, text: str, teller: int, pair: Pair
    ) -> None:
        for rank, found in enumerate(pair.found):
            assert found[name] == [kind, text, rank != teller]

    def test_other_errors_than_foreseen(self, pair: Pair) -> None:
        text = "rank 1 of 2: 'the disk is full.' (KeyError)."
        assert pair.found[0]["unforeseen"] == ["RankError", text, True]
        assert pair.found[1]["unforeseen"] == ["KeyError", "'the disk is full.'", False]
        # Each tells its own.
        assert [found["different"] for found in pair.found] == [
            ["DataError", f"image {rank} is empty.", False] for rank in range(2)
        ]

    def test_they_talk_on_after_an_error(self, pair: Pair) -> None:
        for found in pair.found:
            assert found["afterwards"] == [0, 1]
            assert found["any"] == [False, True]
            assert found["sum"] == 3.0

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("setting", "subspace.mode is 3 on rank 1 and 2 on rank 0; r1_gamma is 2.0 on rank 1"),
            ("many", "; and 2 more. Start all of them with the same command"),
            ("data", r"data is squares, sha256 \w{16} on rank 1 and squares, sha256 \w{16} on"),
            ("checkpoint", "checkpoint is nimg00000128 on rank 1 and None on rank 0"),
        ],
    )
    def test_processes_that_disagree_say_in_what(self, name: str, text: str, pair: Pair) -> None:
        for rank, found in enumerate(pair.found):
            kind, said, elsewhere = found[name]
            assert (kind, elsewhere) == ("ConfigError", rank == 1)
            assert said.startswith("the 2 processes disagree: ")
            assert re.search(text, said), said
            assert found["same"] == []

    def test_one_bit_of_difference_ends_the_run(self, pair: Pair) -> None:
        """It is made after step 4, whose checkpoint is good, and seen at the next tick."""
        run = pair.folder / "parted" / RUN
        for rank, found in enumerate(pair.found):
            kind, said, elsewhere = found["parted"]
            assert (kind, elsewhere) == ("RankError", rank == 1)
            assert "after step 6 discriminator." in said
            assert "of rank 1 differs from that of rank 0 (" in said
            assert said.endswith(
                f"good checkpoint is {run}/checkpoints/nimg00000064; continue from it: "
                f"torchrun with your options, and: -m segan.cli train --resume {run}"
            )
        assert [path.name for path in list_checkpoints(run)] == ["nimg00000064"]

    @pytest.mark.parametrize(
        ("name", "kind", "text"),
        [
            ("nan", "TrainingError", "at step 1 loss/.* No checkpoint was written before that."),
            ("full", "OutputError", "^cannot write .*full: the disk is full. No checkpoint was"),
            ("few", "ConfigError", "batch_size is 16, but few contains only 9 images"),
            ("bare", "DataError", "bare has no labels; expected 2 classes"),
        ],
    )
    def test_runs_that_end_badly_end_in_both(
        self, name: str, kind: str, text: str, pair: Pair
    ) -> None:
        for rank, found in enumerate(pair.found):
            assert found[name][0] == kind
            assert found[name][2] == (rank == 1)
            assert re.search(text, found[name][1]), found[name][1]

    def test_no_thread_of_the_group_outlives_it(self, pair: Pair) -> None:
        """One that needs Python when Python has ended aborts the process."""
        assert [found["threads"] for found in pair.found] == [[], []]

    def test_a_process_that_dies_ends_the_other_with_the_way_on(self, pair: Pair) -> None:
        kind, said, elsewhere = pair.found[0]["gone"]
        assert (kind, elsewhere) == ("RankError", False)
        run = pair.folder / "gone" / RUN
        assert said.startswith("rank 0 of 2 cannot continue: another process of the run is gone (")
        assert said.endswith(
            f"The last good checkpoint is {run}/checkpoints/nimg00000064; continue from it: "
            f"torchrun with your options, and: -m segan.cli train --resume {run}"
        )
        assert [path.name for path in list_checkpoints(run)] == ["nimg00000064"]


def test_alone_nothing_is_exchanged() -> None:
    with joined(Place()) as world:
        assert world is ALONE
    values = [torch.ones(2)]
    ALONE.sum_(values)
    assert values[0].tolist() == [1.0, 1.0]
    assert ALONE.gather("x") == ["x"]
    assert [ALONE.any(flag) for flag in (False, True)] == [False, True]
    assert ALONE.first(lambda: 3) == 3

    def fail() -> None:
        raise OutputError("the disk is full")

    with pytest.raises(OutputError, match=r"^the disk is full\.$") as caught:
        ALONE.together(fail)
    assert not caught.value.is_reported


def test_others_that_do_not_come() -> None:
    place = Place(0, 2, 0, f"tcp://127.0.0.1:{free_port()}")
    with (
        pytest.raises(
            RankError, match=r"rank 0 of 2 could not connect to the others .* one launcher"
        ),
        joined(place, patience_s=1.0),
    ):
        pass


def test_a_checksum_sees_every_bit_and_every_place() -> None:
    value = torch.randn(5, 3, 2, 2)
    whole = checksum(value)
    assert torch.equal(checksum(value.contiguous(memory_format=torch.channels_last)), whole)
    for place in range(value.numel()):
        for bit in (0, 15, 31):
            other = value.clone()
            other.view(torch.int32).view(-1)[place] ^= 1 << bit if bit < 31 else -(2**31)
            assert not torch.equal(checksum(other), whole)
    assert not torch.equal(checksum(value.flip(0)), whole)
    assert not torch.equal(checksum(-torch.zeros(2)), checksum(torch.zeros(2)))
    for odd in (torch.zeros(0), torch.zeros((), dtype=torch.bfloat16), torch.tensor(True)):
        assert checksum(odd).shape == (2,)


@pytest.mark.slow
def test_processes_started_differently_are_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    """The command line, with two batch sizes: told once, by rank 0, and exit status 2."""
    env_batch = "import os, sys; from segan.cli.main import run; sys.exit(run(sys.argv[1:] + "
    code = env_batch + "['--batch-size', ('16', '8')[int(os.environ['RANK'])]]))"
    words = ["train", "--faces", "32", "--resolution", "8", "--kimg", "0.1"]
    processes = start_ranks("-c", code, *words, cwd=tmp_path)
    output = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [2, 2]
    assert "batch_size is 8 on rank 1 and 16 on rank 0" in output[0][1]
    assert output[1] == ("", "")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("name", "count", "place", "expected"),
    [
        ("auto", 0, Place(1, 2, 1), "cpu"),
        ("cpu", 2, Place(1, 2, 1), "cpu"),
        ("cuda:1", 2, Place(), "cuda:1"),
        ("auto", 2, Place(), "cuda"),
        ("auto", 2, Place(3, 4, 1), "cuda:1"),
        ("cuda", 4, Place(2, 4, 2), "cuda:2"),
        ("cuda", 1, Place(3, 4, 3), "cuda:0"),  # the launcher shows each process its own alone
        ("tpu", 2, Place(1, 2, 1), "device is 'tpu'; expected auto"),
        ("cuda:4", 2, Place(), "this torch sees 2 CUDA devices"),
        ("cuda", 2, Place(2, 3, 2), "this is process 3 of this machine, which has 2 GPUs"),
        ("cuda:0", 2, Place(1, 2, 1), "each of several processes uses the GPU of its own number"),
    ],
)
def test_each_process_takes_a_gpu_of_its_own(
    name: str, count: int, place: Place, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only which one; there need not be any."""
    chosen: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    if expected.startswith("c"):
        assert find_device(name, place) == torch.device(expected)
        assert chosen == ([torch.device(expected)] if ":" in expected and place.size > 1 else [])
    else:
        with pytest.raises(ConfigError, match=re.escape(expected)):
            find_device(name, place)
