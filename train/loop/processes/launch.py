"""Which of several processes this one is, as the launcher's environment says; imports no torch.

torchrun sets RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT. So does anything else that
starts processes for torch, by hand if need be. Slurm's srun sets names of its own; the first host
of the step is where the processes meet, unless MASTER_ADDR says otherwise.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from segan.runtime.errors import ConfigError


class Place(NamedTuple):
    """The place of this process among those of a run.

    Attributes:
        rank: this process, from 0.
        size: how many there are; 1 = alone.
        local_rank: this process among those of its machine, from 0.
        address: where they meet, as ``tcp://host:port``; ``env://`` leaves it to torch, which then
            knows torchrun's own store.
        command: how the user starts them, for messages.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    address: str = ""
    command: str = "segan train"

    def resume_command(self, run: Path) -> str:
        """The command that goes on with a run."""
        return f"{self.command} --resume {shlex.quote(str(run))}"


def find_place(environment: Mapping[str, str] | None = None) -> Place:
    """Reads the launcher's environment; without a launcher, one process alone.

    Args:
        environment: None takes this process's own.

    Raises:
        ConfigError: the variables are incomplete, or no possible numbers.
    """
    env = os.environ if environment is None else environment
    if "RANK" in env or "WORLD_SIZE" in env:
        return _torchrun(env)
    # Only srun sets a step: the script of an sbatch job has SLURM_NTASKS too, and runs alone.
    if "SLURM_PROCID" in env and "SLURM_STEP_ID" in env:
        return _slurm(env)
    return Place()


def _torchrun(env: Mapping[str, str]) -> Place:
    rank, size = _number(env, "RANK"), _number(env, "WORLD_SIZE")
    local_rank = _number(env, "LOCAL_RANK", default=rank)
    _check(rank, size, "RANK", "WORLD_SIZE")
    if size == 1:
        return Place()
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        if not env.get(name):
            raise ConfigError(
                f"WORLD_SIZE is {size}, but {name} is not set, so the processes cannot meet. Start "
                "them with torchrun, or set MASTER_ADDR and MASTER_PORT."
            )
    here = _number(env, "LOCAL_WORLD_SIZE", default=0)
    # With several machines the user's own options say where they meet.
    options = f"--standalone --nproc-per-node {size}" if here == size else "..."
    return Place(rank, size, local_rank, "env://", f"torchrun {options} -m segan.cli train")


def _slurm(env: Mapping[str, str]) -> Place:
    tasks = "SLURM_STEP_NUM_TASKS" if "SLURM_STEP_NUM_TASKS" in env else "SLURM_NTASKS"
    rank, size = _number(env, "SLURM_PROCID"), _number(env, tasks)
    local_rank = _number(env, "SLURM_LOCALID", default=rank)
    _check(rank, size, "SLURM_PROCID", tasks)
    if size == 1:
        return Place()
    hosts = env.get("SLURM_STEP_NODELIST") or env.get("SLURM_JOB_NODELIST", "")
    host = env.get("MASTER_ADDR") or first_host(hosts)
    if not host:
        raise ConfigError(
            f"{tasks} is {size}, but neither MASTER_ADDR nor SLURM_STEP_NODELIST says where the "
            "processes meet. Set MASTER_ADDR to the first machine's name."
        )
    # Every process has to find the same port, and two jobs on one machine different ones.
    job = _number(env, "SLURM_JOB_ID", default=0) + _number(env, "SLURM_STEP_ID", default=0)
    port = _number(env, "MASTER_PORT", default=20000 + job % 20000)
    return Place(rank, size, local_rank, f"tcp://{host}:{port}", "srun ... segan train")


def first_host(hosts: str) -> str:
    """The first name of Slurm's list: ``gpu[03-05,09],big1`` → ``gpu03``; empty for none."""
    found = re.match(r"(?:[^,\[\]]|\[[^\]]*\])*", hosts.strip())
    assert found is not None
    return re.sub(r"\[([^,\-\]]*)[^\]]*\]", r"\1", found[0])


def _number(env: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = env.get(name)
    if text is None and default is not None:
        return default
    if text is None or not re.fullmatch(r"\d{1,9}", text):
        given = "not set" if text is None else repr(text)
        raise ConfigError(
            f"{name} is {given}; expected a whole number from 0. The launcher (torchrun or srun) "
            "sets it; to train in one process, unset it."
        )
    return int(text)


def _check(rank: int, size: int, rank_name: str, size_name: str) -> None:
    if rank >= size:
        raise ConfigError(
            f"{rank_name} is {rank}, and {size_name} is {size}; expected a rank from 0 to "
            f"{size_name} - 1. Start the processes with one launcher, torchrun or srun."
        )
