"""Memory, streams, events and graphs of a GPU, by the CUDA runtime (cuda-bindings)."""

from __future__ import annotations

import collections
import contextlib
import ctypes
import importlib
import os
import threading
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segan.runtime.backends.tensorrt.library import missing, out_of_memory
from segan.runtime.errors import BackendError
from segan.runtime.machine.gpus import cuda_devices, why_no_gpu

#: cudaErrorMemoryAllocation.
_OUT_OF_MEMORY = 2

#: Seconds that a release waits for the lock, so that a hanging thread cannot block the exit.
_PATIENCE = 10

#: Addresses of tensors within a buffer are multiples of this, as TensorRT asks.
ALIGNMENT = 256


def why_no_cuda() -> BackendError | None:
    """Return why the GPU cannot be used, with what to do; None where it can."""
    problem = why_no_gpu()
    if problem is not None:
        return missing(f"an NVIDIA GPU, but {problem}", "")
    try:
        bindings = importlib.import_module("cuda.bindings")
        importlib.import_module("cuda.bindings.runtime")
    except (ImportError, OSError, RuntimeError) as error:
        return missing(
            f"cuda-bindings, which cannot be imported ({error})",
            "Run: pip install 'segan[tensorrt]'",
        )
    wanted = int(str(bindings.__version__).partition(".")[0])
    driver = cuda_devices()[0].driver
    if driver[0] < wanted:
        return missing(
            f"a driver for CUDA {wanted}, as the installed cuda-bindings do, and the NVIDIA driver "
            f"runs CUDA {driver[0]}.{driver[1]}",
            f"Update the driver, or run: pip install 'cuda-bindings<{driver[0] + 1}'",
        )
    return None


@cache
def open_device() -> Device:
    """Return the GPU, once for the process. Raises: BackendError when it cannot be used."""
    problem = why_no_cuda()
    if problem is not None:
        raise problem
    return Device(importlib.import_module("cuda.bindings.runtime"))


class Device:
    """The GPU, with two streams.

    All computation is on one stream, in order, so that engines may share memory. Results are
    downloaded on the other stream.

    Args:
        runtime: the module cuda.bindings.runtime.

    Attributes:
        lock: held while work is enqueued on a stream.
        compute: the stream that computes.
        download: the stream that copies results to the host.
        batch: size of the batch that is being enqueued, for messages; None outside of one.

    Raises:
        BackendError: the GPU cannot be used.
    """

    def __init__(self, runtime: Any) -> None:
        self._runtime = runtime
        self._process = os.getpid()
        self._begun = 0
        self._dropped: collections.deque[Callable[[], None]] = collections.deque()
        self.lock = threading.RLock()
        self.batch: int | None = None
        self.call("cudaSetDevice", 0)
        self.compute = self.call("cudaStreamCreateWithFlags", runtime.cudaStreamNonBlocking)
        self.download = self.call("cudaStreamCreateWithFlags", runtime.cudaStreamNonBlocking)

    def call(self, function: str, *arguments: Any) -> Any:
        """Call a function of the runtime and return its result, if it has one.

        Raises:
            BackendError: it failed; DeviceMemoryError where memory ran out.
        """
        status, *results = getattr(self._runtime, function)(*arguments)
        if int(status) == _OUT_OF_MEMORY:
            raise out_of_memory(function, self.batch)
        if int(status):
            raise BackendError(
                f"CUDA's {function} failed with {getattr(status, 'name', status)}",
                remedy="Check the GPU with nvidia-smi. After an error, start the process again.",
            )
        return results[0] if results else None

    @contextlib.contextmanager
    def begin(self, batch: int) -> Iterator[None]:
        """Hold the lock while a batch of this size is enqueued."""
        with self.lock:
            outer, self.batch = self.batch, batch
            self._begun += 1
            try:
                yield
            finally:
                self.batch = outer
                self._begun -= 1
                self._release_dropped()

    def drop(self, release: Callable[[], None]) -> None:
        """Release what is no longer referenced, now or after the batch that is being enqueued.

        Garbage collection may call this at any point of any thread, also while a batch is enqueued,
        where waiting for the streams would break a graph that is being captured. In a forked
        process nothing is released, since it belongs to the parent.

        Args:
            release: releases it; called once, under ``lock``.
        """
        if os.getpid() != self._process:
            return
        self._dropped.append(release)
        if self.lock.acquire(timeout=_PATIENCE):
            try:
                self._release_dropped()
            finally:
                self.lock.release()

    def _release_dropped(self) -> None:
        """Run the pending releases. The caller holds the lock."""
        while self._dropped and not self._begun:
            self._dropped.popleft()()

    def allocate(self, size: int) -> Buffer:
        """Allocate memory of the GPU. Raises: BackendError, when it runs out."""
        return Buffer(self, max(size, 1))

    def pin(self, size: int) -> PinnedBuffer:
        """Allocate pinned memory of the host. Raises: BackendError."""
        return PinnedBuffer(self, max(size, 1))

    def copy(self, target: int, source: int, size: int, kind: str, stream: Any) -> None:
        """Enqueue a copy on a stream; ``kind`` is HostToDevice, DeviceToDevice or DeviceToHost."""
        kinds = self._runtime.cudaMemcpyKind
        self.call("cudaMemcpyAsync", target, source, size, kinds[f"cudaMemcpy{kind}"], stream)

    def repeat(self, target: int, source: int, row: int, times: int, rows: int) -> None:
        """Enqueue on the compute stream: repeat each row of ``source`` into ``target``.

        Each copy doubles what is there, so that about log2 of ``times`` copies suffice.

        Args:
            target: address of [rows, times, row] bytes.
            source: address of [rows, row] bytes.
            row: bytes of a row.
            times: repetitions of each row.
            rows: number of rows.
        """
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyDeviceToDevice
        pitch = row * times
        self.call("cudaMemcpy2DAsync", target, pitch, source, row, row, rows, kind, self.compute)
        done = 1
        while done < times:
            more = min(done, times - done)
            start = target + done * row
            self.call(
                "cudaMemcpy2DAsync",
                *(start, pitch, target, pitch, more * row, rows, kind, self.compute),
            )
            done += more

    def event(self) -> Any:
        """Create an event to record and to wait for, without timing."""
        return self.call("cudaEventCreateWithFlags", self._runtime.cudaEventDisableTiming)

    def record(self, event: Any, stream: Any) -> None:
        """Record an event on a stream."""
        self.call("cudaEventRecord", event, stream)

    def follow(self, stream: Any, event: Any) -> None:
        """Make further work on a stream wait for an event."""
        self.call("cudaStreamWaitEvent", stream, event, 0)

    def wait(self, event: Any) -> None:
        """Wait for an event. Raises: BackendError, for work that failed."""
        self.call("cudaEventSynchronize", event)

    def finish(self) -> None:
        """Wait for both streams. Raises: BackendError, for work that failed."""
        self.call("cudaStreamSynchronize", self.compute)
        self.call("cudaStreamSynchronize", self.download)

    @contextlib.contextmanager
    def capture(self, graphs: list[Graph]) -> Iterator[None]:
        """Capture what the block enqueues on the compute stream as a graph, without running it.

        Args:
            graphs: the graph is appended to this list.

        Raises:
            BackendError: something in the block cannot be captured.
        """
        mode = self._runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self.call("cudaStreamBeginCapture", self.compute, mode)
        try:
            yield
        except BaseException:
            with contextlib.suppress(BackendError):
                self.call("cudaStreamEndCapture", self.compute)
            raise
        graphs.append(Graph(self, self.call("cudaStreamEndCapture", self.compute)))

    def dispose(self, function: str, handle: Any) -> None:
        """Call a function that frees; errors are ignored, since the runtime may be gone at exit."""
        with contextlib.suppress(BackendError):
            self.call(function, handle)


class Buffer:
    """Memory of the GPU.

    Attributes:
        address: a multiple of ``ALIGNMENT``.
        size: bytes.
    """

    def __init__(self, device: Device, size: int) -> None:
        self._device, self.size = device, size
        self.address = int(device.call("cudaMalloc", size))

    def free(self) -> None:
        """Free the memory; nothing on a stream may use it. May be called twice."""
        if self.address:
            address, self.address = self.address, 0
            self._device.dispose("cudaFree", address)


class PinnedBuffer:
    """Pinned memory of the host, which the GPU reads and writes without the CPU.

    Attributes:
        address: of the first byte.
        size: bytes.
    """

    def __init__(self, device: Device, size: int) -> None:
        self._device, self.size = device, size
        self.address = int(device.call("cudaHostAlloc", size, 0))
        whole = (ctypes.c_uint8 * size).from_address(self.address)
        self._bytes: NDArray[np.uint8] = np.ctypeslib.as_array(whole)

    def view(self, offset: int, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """Return a part as an array that shares the memory."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        found: NDArray[Any] = self._bytes[offset : offset + size].view(dtype).reshape(shape)
        return found

    def free(self) -> None:
        """Free the memory; views become invalid. May be called twice."""
        if self.address:
            address, self.address = self.address, 0
            self._device.dispose("cudaFreeHost", address)


class Graph:
    """A captured CUDA graph."""

    def __init__(self, device: Device, graph: Any) -> None:
        self._device = device
        self._executable = device.call("cudaGraphInstantiate", graph, 0)
        device.dispose("cudaGraphDestroy", graph)

    def launch(self) -> None:
        """Enqueue the graph on the compute stream. Raises: BackendError."""
        self._device.call("cudaGraphLaunch", self._executable, self._device.compute)

    def free(self) -> None:
        """Free the graph."""
        self._device.dispose("cudaGraphExecDestroy", self._executable)


def aligned(size: int) -> int:
    """Return the size, rounded up to a multiple of ``ALIGNMENT``."""
    return -(-size // ALIGNMENT) * ALIGNMENT
