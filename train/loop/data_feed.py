"""Batches of real images in the run's order, prepared while the previous step is computed.

On a GPU, and for images on the disk, a thread gathers the next batches. On a GPU it also copies
them from pinned memory, on a separate stream, so that a step need not wait. On the CPU with images
in memory a batch is gathered on demand: that takes microseconds, and a thread would compete for
cores.
"""

from __future__ import annotations

import queue
import threading
from typing import NamedTuple

import numpy as np
import torch

from segan.train.data.dataset import ImageDataset
from segan.train.loop.streams import DataOrder

#: Batches that are prepared in advance.
DEPTH = 2


class Batch(NamedTuple):
    """Real images on the training device.

    Attributes:
        images: [N, C, R, R] uint8.
        labels: [N] int64, or None.
    """

    images: torch.Tensor
    labels: torch.Tensor | None


class _Ready(NamedTuple):
    """A batch, and the event of its copy to the GPU."""

    batch: Batch
    copied: torch.cuda.Event | None


class DataFeed:
    """The batches of a run, one after another.

    Args:
        dataset: the images.
        order: the order of the images.
        batch_size: images per step.
        start: real images shown so far.
        device: of the batches.
        part: this process's share of each batch: a slice, or positions [n] int64.
        prefetch: whether a thread prepares the batches; None: on a GPU, and for images on the disk.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        order: DataOrder,
        *,
        batch_size: int,
        start: int,
        device: torch.device,
        part: slice | np.ndarray = slice(None),
        prefetch: bool | None = None,
    ) -> None:
        self._dataset, self._order, self._batch_size = dataset, order, batch_size
        self._device, self._part = device, part
        self._cuda = device.type == "cuda"
        if prefetch is None:
            prefetch = self._cuda or isinstance(dataset.images, np.memmap)
        self._prefetch = prefetch
        #: Position in the order of the next batch to be gathered.
        self._next = start
        self._ready: queue.Queue[_Ready | BaseException] = queue.Queue(DEPTH)
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()

    def next(self) -> Batch:
        """Return the next batch."""
        if not self._prefetch:
            return self._gather()
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="data", daemon=True)
            self._thread.start()
        found = self._ready.get()
        if isinstance(found, BaseException):
            raise found
        if found.copied is not None:
            stream = torch.cuda.current_stream(self._device)
            stream.wait_event(found.copied)
            for tensor in found.batch:
                if tensor is not None:
                    tensor.record_stream(stream)
        return found.batch

    def close(self) -> None:
        """End the thread; the feed cannot be used any more."""
        self._closed.set()
        if self._thread is not None:
            while self._thread.is_alive():
                try:  # the thread may be waiting for space in the queue
                    self._ready.get(timeout=0.01)
                except queue.Empty:
                    continue

    def _indices(self) -> np.ndarray:
        indices = self._order.indices(self._next, self._batch_size)[self._part]
        self._next += self._batch_size
        return indices

    def _gather(self) -> Batch:
        """Gather the next batch without the thread."""
        indices = self._indices()
        labels = None
        if self._dataset.labels is not None:
            labels = torch.from_numpy(self._dataset.labels[indices])
        # Indexing copies, also from a memory map.
        images = torch.from_numpy(np.asarray(self._dataset.images[indices]))
        return Batch(images.to(self._device), None if labels is None else labels.to(self._device))

    def _work(self) -> None:
        try:
            copier = _GpuCopier(self._device) if self._cuda else None
            while not self._closed.is_set():
                if copier is None:
                    self._ready.put(_Ready(self._gather(), None))
                else:
                    indices = self._indices()
                    self._ready.put(copier.copy(self._dataset, indices))
        except BaseException as error:  # raised by ``next``
            self._ready.put(error)


class _GpuCopier:
    """Copies batches to a GPU from a ring of pinned buffers, on a separate stream."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._buffers: list[tuple[torch.Tensor, torch.cuda.Event]] = []
        self._turn = 0

    def copy(self, dataset: ImageDataset, indices: np.ndarray) -> _Ready:
        """Start copying the images and labels at ``indices``."""
        buffer, copied = self._buffer((len(indices), *dataset.images.shape[1:]))
        # mode 'raise' would need another buffer; all indices are valid.
        np.take(dataset.images, indices, axis=0, out=buffer.numpy(), mode="clip")
        labels = None
        with torch.cuda.stream(self._stream):
            images = buffer.to(self._device, non_blocking=True)
            if dataset.labels is not None:
                pinned = torch.from_numpy(dataset.labels[indices]).pin_memory()
                labels = pinned.to(self._device, non_blocking=True)
            copied.record(self._stream)
        return _Ready(Batch(images, labels), copied)

    def _buffer(self, shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.cuda.Event]:
        """A buffer whose last copy has ended, and a new event for the next copy."""
        if len(self._buffers) <= DEPTH:
            buffer = torch.empty(shape, dtype=torch.uint8, pin_memory=True)
            self._buffers.append((buffer, torch.cuda.Event()))
            return self._buffers[-1]
        buffer, last = self._buffers[self._turn]
        last.synchronize()
        self._buffers[self._turn] = buffer, torch.cuda.Event()
        found = self._buffers[self._turn]
        self._turn = (self._turn + 1) % len(self._buffers)
        return found
