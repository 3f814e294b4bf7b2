from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from segan.runtime.errors import ConfigError
from segan.train.loop.processes.launch import Place, find_place, first_host

TORCHRUN = {
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "MASTER_ADDR": "10.0.0.7",
    "MASTER_PORT": "29500",
}
SRUN = {
    "SLURM_JOB_ID": "4711",
    "SLURM_STEP_ID": "2",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_NTASKS": "8",
    "SLURM_STEP_NODELIST": "gpu[07-08]",
}


def test_without_a_launcher_one_process_is_alone() -> None:
    assert find_place({}) == Place()
    assert Place().resume_command(Path("runs/a b")) == "segan train --resume 'runs/a b'"


def test_torchrun() -> None:
    place = find_place(TORCHRUN)
    assert place[:4] == (3, 4, 1, "env://")
    words = "torchrun with your options, and: -m segan.cli train --resume r"
    assert place.resume_command(Path("r")) == words
    assert find_place(TORCHRUN | {"RANK": "0", "WORLD_SIZE": "1"}) == Place()
    # On one machine the command can be pasted as it is.
    place = find_place(TORCHRUN | {"LOCAL_WORLD_SIZE": "4"})
    words = "torchrun --standalone --nproc-per-node 4 -m segan.cli train --resume r"
    assert place.resume_command(Path("r")) == words
    place = find_place(TORCHRUN | {"LOCAL_WORLD_SIZE": "2"})
    assert (place.words, place.launcher) == ("-m segan.cli train", "torchrun")


def test_slurm() -> None:
    place = find_place(SRUN)
    assert place[:4] == (5, 8, 1, "tcp://gpu07:24713")
    assert place.resume_command(Path("r")) == "srun with your options, and: segan train --resume r"
    given = find_place(SRUN | {"MASTER_ADDR": "10.0.0.7", "MASTER_PORT": "1234"})
    assert given.address == "tcp://10.0.0.7:1234"
    assert find_place(SRUN | TORCHRUN).rank == 3  # torchrun inside a step of srun


def test_the_script_of_an_sbatch_job_is_no_step() -> None:
    """It has Slurm's variables, and runs alone, whatever it will start by srun."""
    batch = {name: value for name, value in SRUN.items() if "STEP" not in name}
    assert find_place(batch | {"SLURM_PROCID": "0"}) == Place()
    assert find_place(SRUN | {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"}) == Place()


@pytest.mark.parametrize(
    ("hosts", "first"),
    [
        ("gpu07", "gpu07"),
        ("gpu07,gpu08", "gpu07"),
        ("gpu[07-09,12],big1", "gpu07"),
        ("gpu[12,14]", "gpu12"),
        ("rack[2-3]node[04,06]", "rack2node04"),
        ("node-a.cluster.org,node-b.cluster.org", "node-a.cluster.org"),
        ("", ""),
    ],
)
def test_the_first_host_of_slurms_list(hosts: str, first: str) -> None:
    assert first_host(hosts) == first


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"RANK": "0"}, "WORLD_SIZE is not set; expected a whole number"),
        ({"WORLD_SIZE": "2"}, "RANK is not set"),
        (TORCHRUN | {"RANK": "x"}, "RANK is 'x'; expected a whole number from 0"),
        (TORCHRUN | {"RANK": "-1"}, "RANK is '-1'"),
        (TORCHRUN | {"RANK": "4"}, "RANK is 4, and WORLD_SIZE is 4; expected a rank from 0"),
        (TORCHRUN | {"WORLD_SIZE": "0"}, "RANK is 3, and WORLD_SIZE is 0"),
        (TORCHRUN | {"MASTER_ADDR": ""}, "MASTER_ADDR is not set, so the processes cannot connect"),
        (TORCHRUN | {"LOCAL_RANK": "one"}, "LOCAL_RANK is 'one'"),
        (SRUN | {"SLURM_PROCID": "8"}, "SLURM_PROCID is 8, and SLURM_STEP_NUM_TASKS is 8"),
        (SRUN | {"SLURM_STEP_NODELIST": ""}, "neither MASTER_ADDR nor SLURM_STEP_NODELIST"),
        (SRUN | {"MASTER_PORT": "http"}, "MASTER_PORT is 'http'"),
    ],
)
def test_an_environment_that_cannot_be(env: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        find_place(env)
    assert message in str(caught.value)


def test_reading_it_needs_no_torch() -> None:
    code = "import sys; import segan.train.loop.processes.launch; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
