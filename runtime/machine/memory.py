"""The peak memory of this process, and the memory in use on GPUs."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path


def peak_memory() -> int | None:
    """Return the peak main memory of this process in bytes; None where it is not reported."""
    try:
        # Not getrusage, whose peak includes the process that forked this one.
        status = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return _peak_of_darwin()
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None


def _peak_of_darwin() -> int | None:
    if sys.platform != "darwin":
        return None
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


class _Memory(ctypes.Structure):
    """nvmlMemory_t."""

    _fields_ = (
        ("total", ctypes.c_ulonglong),
        ("free", ctypes.c_ulonglong),
        ("used", ctypes.c_ulonglong),
    )


def used_device_memory() -> int | None:
    """Return the bytes in use on all NVIDIA GPUs, by any process; None without NVML."""
    name = "nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1"
    try:
        nvml = ctypes.CDLL(name)
    except OSError:
        return None
    if nvml.nvmlInit_v2() != 0:
        return None
    try:
        count, used = ctypes.c_uint(), 0
        if nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0:
            return None
        for index in range(count.value):
            device, memory = ctypes.c_void_p(), _Memory()
            if nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(device)) != 0:
                return None
            if nvml.nvmlDeviceGetMemoryInfo(device, ctypes.byref(memory)) != 0:
                return None
            used += memory.used
        return used
    finally:
        nvml.nvmlShutdown()
