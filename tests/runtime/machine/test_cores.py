from __future__ import annotations

import os
from pathlib import Path

import pytest

from segan.runtime.machine.cores import usable_cores


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Four cores of two hyper-threads each; the files of /sys that the test adds to."""
    files = {
        f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list": f"{core},{core + 4}\n"
        for cpu, core in zip(range(8), [0, 1, 2, 3] * 2, strict=True)
    }

    def read_text(path: Path) -> str:
        if path.as_posix() not in files:
            raise FileNotFoundError(path)
        return files[path.as_posix()]

    monkeypatch.setattr(Path, "read_text", read_text)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)), raising=False)
    return files


def test_hyper_threads_are_counted_once(machine: dict[str, str]) -> None:
    assert usable_cores() == 4


@pytest.mark.parametrize(
    ("quota", "expected"),
    [
        ("max 100000", 4),
        ("200000 100000", 2),
        ("150000 100000", 2),
        ("50000 100000", 1),
        ("900000 100000", 4),
        ("", 4),
        ("1 0", 4),
    ],
)
def test_a_cgroups_quota(machine: dict[str, str], quota: str, expected: int) -> None:
    machine["/sys/fs/cgroup/cpu.max"] = quota
    assert usable_cores() == expected


def test_affinity(machine: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {1, 5, 2})
    assert usable_cores() == 2


def test_unknown_topology_counts_every_cpu(machine: dict[str, str]) -> None:
    machine.clear()
    assert usable_cores() == 8


def test_a_system_without_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores() == 1
