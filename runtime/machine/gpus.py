"""NVIDIA GPUs, by their driver alone, without any package."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass

#: CUdevice_attribute: major and minor number of the compute capability.
_MAJOR, _MINOR = 75, 76


@dataclass(frozen=True, kw_only=True)
class CudaDevice:
    """One GPU.

    Attributes:
        index: CUDA's number of the device.
        name: of the product.
        capability: compute capability, for example (9, 0).
        memory: in bytes.
        driver: the newest CUDA version that the driver supports, for example (13, 0).
    """

    index: int
    name: str
    capability: tuple[int, int]
    memory: int
    driver: tuple[int, int]


def cuda_devices() -> list[CudaDevice]:
    """Return the GPUs that this process may use; an empty list without a driver."""
    cuda = cuda_driver()
    if cuda is None or cuda.cuInit(0) != 0:
        return []
    count, version = ctypes.c_int(), ctypes.c_int()
    if cuda.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return []
    cuda.cuDriverGetVersion(ctypes.byref(version))
    return [_describe(cuda, index, version.value) for index in range(count.value)]


def cuda_driver() -> ctypes.CDLL | None:
    """Return the library of the NVIDIA driver; None where it is not installed."""
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        return ctypes.CDLL(name)
    except OSError:
        return None


def _describe(cuda: ctypes.CDLL, index: int, version: int) -> CudaDevice:
    device, number = ctypes.c_int(), ctypes.c_int()
    cuda.cuDeviceGet(ctypes.byref(device), index)
    name, memory = ctypes.create_string_buffer(256), ctypes.c_size_t()
    cuda.cuDeviceGetName(name, len(name), device)
    cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    capability = []
    for attribute in (_MAJOR, _MINOR):
        cuda.cuDeviceGetAttribute(ctypes.byref(number), attribute, device)
        capability.append(number.value)
    return CudaDevice(
        index=index,
        name=name.value.decode(errors="replace"),
        capability=(capability[0], capability[1]),
        memory=memory.value,
        driver=(version // 1000, version % 1000 // 10),
    )


def why_no_gpu() -> str | None:
    """Return why no GPU can be used, as a clause; None where there is a GPU."""
    if cuda_driver() is None:
        return "no NVIDIA driver is installed here"
    return None if cuda_devices() else "the NVIDIA driver finds no GPU that this process may use"
