"""The parts of a batch in flight: its key, its plan, its memory and its events."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from segan.runtime.backends.tensorrt.device import Device, Graph, PinnedBuffer
from segan.runtime.backends.tensorrt.engine import GrowingBuffer


@dataclass(frozen=True)
class BatchKey:
    """Everything that determines the work of a batch, except the values.

    Attributes:
        batch: images.
        source: the latents that are given: z, w of an image, or w of every site.
        noise: the bundle's constant noise, one row for all, one for each image, or no such input.
    """

    batch: int
    source: Literal["z", "w", "w_sites"]
    noise: Literal["const", "one", "each", "absent"]


@dataclass(kw_only=True)
class Plan:
    """The bound contexts and the captured graph of one key.

    Attributes:
        uploads: offset of each array that is uploaded.
        upload_size: bytes of all uploads.
        contexts: of each engine that runs.
        addresses: of tensors on the GPU.
        moves: state of the memory when the contexts were bound.
        runs: number of runs.
        graph: captured at the second run; empty before, or if that failed.
        can_capture: False after a failed capture.
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
    """The memory and events of one batch in flight.

    Attributes:
        up: pinned host memory that is uploaded.
        down: pinned host memory that pixels are downloaded to.
        results: memory of the GPU that pixels are downloaded from.
        computed: event; ``results`` are complete.
        done: event; ``down`` is complete.
    """

    def __init__(self, device: Device) -> None:
        self.device = device
        self.up: PinnedBuffer | None = None
        self.down: PinnedBuffer | None = None
        self.results = GrowingBuffer(device)
        self.computed, self.done = device.event(), device.event()

    def reach(self, upload: int, download: int) -> None:
        """Make room in an idle slot, whose memory nothing reads or writes.

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
        """Free the memory and events of an idle slot."""
        for buffer in (self.up, self.down):
            if buffer is not None:
                buffer.free()
        self.results.free()
        for event in (self.computed, self.done):
            self.device.dispose("cudaEventDestroy", event)


@dataclass(frozen=True)
class Begun:
    """A part of a batch in flight.

    Attributes:
        slot: its memory and events.
        batch: images.
        ends_batch: whether it is the last part of its batch.
    """

    slot: Slot
    batch: int
    ends_batch: bool
