"""How long each phase of training takes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import torch


class PhaseClock:
    """Adds up the seconds of named phases.

    On a GPU the phases are marked by events and read when asked for, so that measuring makes no
    step wait.

    Args:
        device: where the phases run.
    """

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._seconds: dict[str, float] = {}
        self._events: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Times what runs inside."""
        if self._on_gpu:
            first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            first.record()
            yield
            last.record()
            self._events.append((name, first, last))
            return
        start = time.perf_counter()
        yield
        self._add(name, time.perf_counter() - start)

    def take(self) -> dict[str, float]:
        """Seconds by phase since the last call; starts again from 0. Waits for the GPU."""
        if self._events:
            torch.cuda.synchronize()
            for name, first, last in self._events:
                self._add(name, first.elapsed_time(last) / 1000)
            self._events = []
        taken, self._seconds = self._seconds, {}
        return taken

    def _add(self, name: str, seconds: float) -> None:
        self._seconds[name] = self._seconds.get(name, 0.0) + seconds
