"""GPUs as the driver tells of them; the driver is a stand-in with the same C functions."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import pytest

from segan.runtime.machine import gpus as devices
from segan.runtime.machine.gpus import CudaDevice, cuda_devices, why_no_gpu


class Driver:
    """libcuda with ``cards``: (name, (major, minor), bytes)."""

    def __init__(
        self, cards: list[tuple[bytes, tuple[int, int], int]], version: int, status: int = 0
    ) -> None:
        self.cards, self.version, self.status = cards, version, status
        self.started = False

    def cuInit(self, flags: int) -> int:  # noqa: N802
        self.started = flags == 0
        return self.status

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
        assert self.started
        count._obj.value = len(self.cards)
        return 0

    def cuDriverGetVersion(self, version: Any) -> int:  # noqa: N802
        version._obj.value = self.version
        return 0

    def cuDeviceGet(self, device: Any, ordinal: int) -> int:  # noqa: N802
        device._obj.value = ordinal
        return 0

    def cuDeviceGetName(self, name: Any, length: int, device: Any) -> int:  # noqa: N802
        name.value = self.cards[device.value][0][: length - 1]
        return 0

    def cuDeviceTotalMem_v2(self, size: Any, device: Any) -> int:  # noqa: N802
        size._obj.value = self.cards[device.value][2]
        return 0

    def cuDeviceGetAttribute(self, value: Any, attribute: int, device: Any) -> int:  # noqa: N802
        # CUdevice_attribute of cuda.h: COMPUTE_CAPABILITY_MAJOR = 75, _MINOR = 76.
        value._obj.value = self.cards[device.value][1][{75: 0, 76: 1}[attribute]]
        return 0


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """driver(stand-in) takes the place of the installed one; None: there is none."""

    def pretend(found: Any) -> None:
        monkeypatch.setattr(devices, "cuda_driver", lambda: found)

    return pretend


def test_each_gpu_is_described(driver: Callable[[Any], None]) -> None:
    driver(Driver([(b"Card A", (9, 0), 141 << 30), (b"K\xe4rte", (12, 1), 5 << 30)], 13020))
    assert cuda_devices() == [
        CudaDevice(index=0, name="Card A", capability=(9, 0), memory=141 << 30, driver=(13, 2)),
        CudaDevice(index=1, name="K\ufffdrte", capability=(12, 1), memory=5 << 30, driver=(13, 2)),
    ]
    assert why_no_gpu() is None


def test_memory_past_four_gigabytes_is_not_cut() -> None:
    # What holds it in _describe must be as wide as the driver's size_t.
    assert ctypes.sizeof(ctypes.c_size_t) == ctypes.sizeof(ctypes.c_void_p)


def test_without_a_driver(driver: Callable[[Any], None]) -> None:
    driver(None)
    assert cuda_devices() == []
    assert why_no_gpu() == "no NVIDIA driver is installed here"


@pytest.mark.parametrize("found", [Driver([], 13000), Driver([(b"x", (9, 0), 1)], 13000, 100)])
def test_a_driver_without_a_gpu(driver: Callable[[Any], None], found: Driver) -> None:
    driver(found)
    assert cuda_devices() == []
    assert why_no_gpu() == "the NVIDIA driver finds no GPU that this process may use"


def test_a_driver_that_does_not_load_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def cdll(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", cdll)
    assert cuda_devices() == []
