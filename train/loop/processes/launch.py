"""The place of this process among those of a run, from the launcher's environment; no torch.

torchrun, like other launchers for torch, sets RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and
MASTER_PORT. Slurm's srun sets variables of its own; the processes then meet at MASTER_ADDR, or else
at the first host of the step.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from segan.runtime.commands import quoted
from segan.runtime.errors import ConfigError


class Place(NamedTuple):
    """The place of this process among those of a run.

    Attributes:
        rank: number of this process, from 0.
        size: number of processes; 1 = alone.
        local_rank: number of this process on its machine, from 0.
        address: where the processes meet, ``tcp://host:port``; with ``env://`` torch decides, and
            uses torchrun's store.
        words: the command that starts the processes, for messages.
        launcher: the program whose options only the user knows; empty for none.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    address: str = ""
    words: str = "segan train"
    launcher: str = ""

    def resume_command(self, run: Path) -> str:
        """Return the command that continues with a run."""
        whole = f"{self.words} --resume {quoted(run)}"
        return f"{self.launcher} with your options, and: {whole}" if self.launcher else whole


def find_place(environment: Mapping[str, str] | None = None) -> Place:
    """Read the launcher's environment; without a launcher, return the place of a single process.

    Args:
        environment: the variables; None = this process's.

    Raises:
        ConfigError: a variable is missing or out of its range.
    """
    env = os.environ if environment is None else environment
    if "RANK" in env or "WORLD_SIZE" in env:
        return _torchrun(env)
    # Only srun sets a step. The script of an sbatch job has SLURM_NTASKS too, but runs alone.
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
                f"WORLD_SIZE is {size}, but {name} is not set, so the processes cannot connect",
                field=name,
                remedy="Start them with torchrun, or set MASTER_ADDR and MASTER_PORT.",
            )
    here = _number(env, "LOCAL_WORLD_SIZE", default=0)
    # With several machines, the user's own options define where the processes meet.
    if here != size:
        module = "-m segan.cli train"
        return Place(rank, size, local_rank, "env://", module, launcher="torchrun")
    words = f"torchrun --standalone --nproc-per-node {size} -m segan.cli train"
    return Place(rank, size, local_rank, "env://", words)


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
            f"{tasks} is {size}, but neither MASTER_ADDR nor SLURM_STEP_NODELIST names a machine "
            "through which the processes connect",
            field="MASTER_ADDR",
            remedy="Set MASTER_ADDR to the first machine's name.",
        )
    # All processes must find the same port, and two jobs on one machine different ports.
    job = _number(env, "SLURM_JOB_ID", default=0) + _number(env, "SLURM_STEP_ID", default=0)
    port = _number(env, "MASTER_PORT", default=20000 + job % 20000)
    return Place(rank, size, local_rank, f"tcp://{host}:{port}", launcher="srun")


def first_host(hosts: str) -> str:
    """Return the first name of Slurm's list: ``gpu[03-05,09],big1`` → ``gpu03``; empty for none."""
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
            f"{name} is {given}",
            field=name,
            value=text,
            expected="a whole number from 0",
            remedy="The launcher (torchrun or srun) sets it; to train in one process, unset it.",
        )
    return int(text)


def _check(rank: int, size: int, rank_name: str, size_name: str) -> None:
    if rank >= size:
        raise ConfigError(
            f"{rank_name} is {rank}, and {size_name} is {size}",
            field=rank_name,
            value=rank,
            expected=f"a rank from 0 to {size_name} - 1",
            remedy="Start the processes with one launcher, torchrun or srun.",
        )
