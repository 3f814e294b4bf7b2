"""What a batch on its way to the GPU and back is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from segan.runtime.backends.tensorrt.device import Device, Graph, PinnedBuffer
from segan.runtime.backends.tensorrt.engine import GrowingBuffer


@dataclass(frozen=True)
class BatchKey:
    """What the work of a batch depends on, but for the numbers.

    Attributes:
        batch: images.
        source: what is given: z, w of an image, or w of every site.
        noise: the bundle's own, one row for all, one for each image, or no such input.
    """

    batch: int
    source: Literal["z", "w", "w_sites"]
    noise: Literal["const", "one", "each", "absent"]


@dataclass(kw_only=True)
class Plan:
    """The bound contexts of one key, and the captured graph.

    Attributes:
        uploads: offset of each array that is copied up; they end at ``upload_size``.
        contexts: of each engine that runs.
        addresses: of tensors on the GPU.
        moves: of the memory that the contexts were bound to.
        runs: how often it has run.
        graph: captured when it runs the second time; None before, or if that failed.
    """

    uploads: dict[str, int]
    upload_size: int
    contexts: dict[str, Any]
    addresses: dict[str, int]
    moves: tuple[int, ...] = ()
    runs: int = 0
    graph: list[Graph] = field(default_factory=list)
    can_capture: bool = True


class Slot:
    """What one batch on its way has for itself: host memory, pixels and events.

    Attributes:
        up: host memory that is copied to the GPU.
        down: host memory that pixels are copied to.
        results: on the GPU, from where pixels are downloaded.
        computed: comes when ``results`` are there.
        done: comes when ``down`` is.
    """

    def __init__(self, device: Device) -> None:
        self.device = device
        self.up: PinnedBuffer | None = None
        self.down: PinnedBuffer | None = None
        self.results = GrowingBuffer(device)
        self.computed, self.done = device.event(), device.event()

    def reach(self, upload: int, download: int) -> None:
        """Makes room. The slot is idle, so that nothing reads or writes its memory.

        Raises:
            BackendError: memory runs out; the slot may be used again.
        """
        if self.up is None or self.up.size < upload:
            old, self.up = self.up, None
            self.up = self._replace(old, upload)
        if self.down is None or self.down.size < download:
            old, self.down = self.down, None
            self.down = self._replace(old, download)
        self.results.reach(download)

    def _replace(self, old: PinnedBuffer | None, size: int) -> PinnedBuffer:
        if old is not None:
            old.free()
        return self.device.pin(size)

    def free(self) -> None:
        """Gives everything back; the slot is idle."""
        for buffer in (self.up, self.down):
            if buffer is not None:
                buffer.free()
        self.results.free()
        for event in (self.computed, self.done):
            self.device.dispose("cudaEventDestroy", event)


@dataclass(frozen=True)
class Begun:
    """A part of a batch on its way.

    Attributes:
        slot: where it is.
        batch: images.
        ends_batch: whether it is the last part of its batch.
    """

    slot: Slot
    batch: int
    ends_batch: bool
