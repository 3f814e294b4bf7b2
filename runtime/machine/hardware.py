"""The hardware of this machine: processor, memory and GPUs."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from segan.runtime.machine.cores import usable_cores
from segan.runtime.machine.gpus import cuda_devices, why_no_gpu

#: Instruction sets that make inference faster, by their names in /proc/cpuinfo.
_INSTRUCTION_SETS = (
    "avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8",
    "asimd", "asimdhp", "asimddp", "bf16", "i8mm", "sve",
)  # fmt: skip


def describe_cpu() -> dict[str, Any]:
    """Return ``name``, ``cores`` (usable, physical), ``threads`` and ``instruction_sets``.

    ``instruction_sets`` is None where the system does not report them.
    """
    info = _cpuinfo()
    flags = info.get("flags", info.get("features"))
    found = None
    if flags is not None:
        words = set(flags.lower().split())
        found = [name for name in _INSTRUCTION_SETS if name in words]
    return {
        "name": info.get("model name") or platform.processor() or platform.machine(),
        "cores": usable_cores(),
        "threads": os.cpu_count() or 1,
        "instruction_sets": found,
    }


def _cpuinfo() -> dict[str, str]:
    """Return the first processor of /proc/cpuinfo; empty on other systems."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.partition("\n\n")[0].splitlines())
    return {key.strip().lower(): value.strip() for key, _, value in pairs}


def describe_memory() -> dict[str, int | None]:
    """Return ``total`` and ``available`` bytes; None where the system does not report them."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {"total": _sysconf_memory(), "available": None}
    found = {
        name: int(rest.split()[0]) * 1024
        for name, _, rest in (line.partition(":") for line in text.splitlines())
        if rest.split()[:1] and rest.split()[0].isdigit()
    }
    return {"total": found.get("MemTotal"), "available": found.get("MemAvailable")}


def _sysconf_memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def describe_gpus() -> dict[str, Any]:
    """Return ``devices``, a list of dicts, and ``problem``, why there is no NVIDIA GPU, or None.

    A device has ``name``, ``memory`` in bytes, ``capability`` such as 9.0, and ``cuda``, the newest
    CUDA version that its driver supports.
    """
    return {
        "devices": [
            {
                "name": device.name,
                "memory": device.memory,
                "capability": "{}.{}".format(*device.capability),
                "cuda": "{}.{}".format(*device.driver),
            }
            for device in cuda_devices()
        ],
        "problem": why_no_gpu(),
    }
