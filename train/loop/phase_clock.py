"""The time that each phase of training takes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import torch


class PhaseClock:
    """Sums of the seconds of named phases.

    On a GPU, events mark the phases and are read by ``take``, so that no step waits.

    Args:
        device: where the phases run.
    """

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._seconds: dict[str, float] = {}
        self._events: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time the block."""
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
        """Return the seconds by phase since the last call. Waits for the GPU."""
        if self._events:
            torch.cuda.synchronize()
            for name, first, last in self._events:
                self._add(name, first.elapsed_time(last) / 1000)
            self._events = []
        taken, self._seconds = self._seconds, {}
        return taken

    def _add(self, name: str, seconds: float) -> None:
        self._seconds[name] = self._seconds.get(name, 0.0) + seconds
