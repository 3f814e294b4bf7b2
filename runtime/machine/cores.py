"""The number of CPU cores that this process may use."""

from __future__ import annotations

import os
from pathlib import Path


def usable_cores() -> int:
    """Return the number of physical cores that the process may run on, 1 or more.

    It respects CPU affinity (taskset, containers) and a cgroup's CPU quota, where the system
    reports them. Hyper-threads that share a core count once, since two of them are slower on one
    convolution than one.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    if affinity is None:
        return os.cpu_count() or 1
    allowed: set[int] = affinity(0)
    cores = {_siblings(cpu) for cpu in allowed}
    return max(1, min(len(cores), _quota()))


def _siblings(cpu: int) -> str:
    """Return what identifies the physical core of ``cpu``: the list of its hyper-threads."""
    name = f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"
    try:
        return Path(name).read_text().strip() or str(cpu)
    except OSError:
        return str(cpu)


def _quota() -> int:
    """Return the cgroup's CPU quota in whole cores, rounded up; very large without a quota."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return -(-int(quota) // int(period))
    except (OSError, ValueError, ZeroDivisionError):
        return 1 << 30  # No cgroup, cgroup version 1, or "max".
