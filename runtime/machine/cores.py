"""How many CPU cores this process may use."""

from __future__ import annotations

import os
from pathlib import Path


def usable_cores() -> int:
    """Physical cores that the process may run on, 1 or more.

    Counts what affinity allows (taskset, containers) and a cgroup's CPU quota, where the system
    tells them; of hyper-threads that share a core one is counted, since two of them on one
    convolution are slower than one.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    if affinity is None:
        return os.cpu_count() or 1
    allowed: set[int] = affinity(0)
    cores = {_siblings(cpu) for cpu in allowed}
    return max(1, min(len(cores), _quota()))


def _siblings(cpu: int) -> str:
    """What names the physical core of ``cpu``: the list of the hyper-threads on it."""
    name = f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"
    try:
        return Path(name).read_text().strip() or str(cpu)
    except OSError:
        return str(cpu)


def _quota() -> int:
    """The cgroup's CPU quota in whole cores, rounded up; very large without one."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return -(-int(quota) // int(period))
    except (OSError, ValueError, ZeroDivisionError):
        return 1 << 30  # No cgroup, an older one, or "max".
