"""Memory, streams, events and graphs of a GPU, by the CUDA runtime alone (cuda-bindings)."""

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

from segan.runtime.backends.tensorrt.library import out_of_memory
from segan.runtime.errors import BackendError
from segan.runtime.machine.gpus import cuda_devices, why_no_gpu

#: cudaErrorMemoryAllocation.
_OUT_OF_MEMORY = 2

#: Seconds that memory which nobody names any more waits for the lock: a thread that hangs must not
#: keep the process from ending.
_PATIENCE = 10

#: Addresses of tensors within a buffer are multiples of this, as TensorRT asks.
ALIGNMENT = 256


def why_no_cuda() -> str | None:
    """Why the GPU cannot be used, with what to do; None where it can."""
    problem = why_no_gpu()
    if problem is not None:
        return f"it needs an NVIDIA GPU, and {problem}."
    try:
        bindings = importlib.import_module("cuda.bindings")
        importlib.import_module("cuda.bindings.runtime")
    except (ImportError, OSError, RuntimeError) as error:
        return (
            f"it needs cuda-bindings, which cannot be imported ({error}). "
            "Run: pip install 'segan[tensorrt]'"
        )
    wanted = int(str(bindings.__version__).partition(".")[0])
    driver = cuda_devices()[0].driver
    if driver[0] < wanted:
        return (
            f"the NVIDIA driver runs CUDA {driver[0]}.{driver[1]}, and the installed cuda-bindings "
            f"are for CUDA {wanted}. Update the driver, or run: "
            f"pip install 'cuda-bindings<{driver[0] + 1}'"
        )
    return None


@cache
def open_device() -> Device:
    """The GPU, once for the process. Raises: BackendError when it cannot be used."""
    problem = why_no_cuda()
    if problem is not None:
        raise BackendError(f"backend 'tensorrt' cannot work here: {problem}")
    return Device(importlib.import_module("cuda.bindings.runtime"))


class Device:
    """The GPU: two streams, and what can be put on them.

    Everything that computes goes onto one stream, so that engines may share memory and results in
    the order in which they were begun. Results are downloaded by the other.

    Args:
        runtime: the module cuda.bindings.runtime.

    Attributes:
        lock: held while work is put on a stream.
        compute: the stream that computes.
        download: the stream that copies results to the host.
        batch: images of the batch that is being begun, for messages; None outside of one.

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
        """Calls a function of the runtime; its result, if it has one.

        Raises:
            BackendError: it failed; memory that ran out is said as that.
        """
        status, *results = getattr(self._runtime, function)(*arguments)
        if int(status) == _OUT_OF_MEMORY:
            raise out_of_memory(function, self.batch)
        if int(status):
            raise BackendError(
                f"CUDA's {function} failed with {getattr(status, 'name', status)}. Check the GPU "
                "with nvidia-smi; after an error the process must be started again."
            )
        return results[0] if results else None

    @contextlib.contextmanager
    def begin(self, batch: int) -> Iterator[None]:
        """Holds the lock while a batch of so many images is put on the streams."""
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
        """Gives back what nobody names any more, now or when the batch that is being begun has.

        Python may find that out at any point of any thread, also within a batch of this one, where
        waiting for the streams would spoil a graph that is being captured. In a forked process
        nothing is given back, for it is the parent's.

        Args:
            release: gives it back; called once, under ``lock``.
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
        """The caller holds the lock."""
        while self._dropped and not self._begun:
            self._dropped.popleft()()

    def allocate(self, size: int) -> Buffer:
        """Memory of the GPU. Raises: BackendError, when it runs out."""
        return Buffer(self, max(size, 1))

    def pin(self, size: int) -> PinnedBuffer:
        """Memory of the host that the GPU reads and writes by itself. Raises: BackendError."""
        return PinnedBuffer(self, max(size, 1))

    def copy(self, target: int, source: int, size: int, kind: str, stream: Any) -> None:
        """Puts a copy on a stream; ``kind`` is HostToDevice, DeviceToDevice or DeviceToHost."""
        kinds = self._runtime.cudaMemcpyKind
        self.call("cudaMemcpyAsync", target, source, size, kinds[f"cudaMemcpy{kind}"], stream)

    def repeat(self, target: int, source: int, row: int, times: int, rows: int) -> None:
        """Puts on the compute stream: each row of ``source`` ``times`` times, into ``target``.

        The copies double, so that there are about log2 of ``times`` of them.

        Args:
            target: address of [rows, times, row] bytes.
            source: address of [rows, row] bytes.
            row: bytes of a row.
            times: how often.
            rows: how many rows.
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
        """An event to record and to wait for; no times are kept."""
        return self.call("cudaEventCreateWithFlags", self._runtime.cudaEventDisableTiming)

    def record(self, event: Any, stream: Any) -> None:
        """Marks what is on a stream so far."""
        self.call("cudaEventRecord", event, stream)

    def follow(self, stream: Any, event: Any) -> None:
        """Lets what is put on a stream from now on begin after an event."""
        self.call("cudaStreamWaitEvent", stream, event, 0)

    def wait(self, event: Any) -> None:
        """Waits until an event has come. Raises: BackendError for what failed on the way."""
        self.call("cudaEventSynchronize", event)

    def finish(self) -> None:
        """Waits for both streams. Raises: BackendError for what failed on the way."""
        self.call("cudaStreamSynchronize", self.compute)
        self.call("cudaStreamSynchronize", self.download)

    @contextlib.contextmanager
    def capture(self, graphs: list[Graph]) -> Iterator[None]:
        """What the block puts on the compute stream becomes a graph, and does not run.

        Args:
            graphs: the graph is appended.

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
        """Calls a function that frees; at the process's end the runtime may be gone before."""
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
        """Gives it back; nothing on a stream may still use it. Twice is allowed."""
        if self.address:
            address, self.address = self.address, 0
            self._device.dispose("cudaFree", address)


class PinnedBuffer:
    """Memory of the host that the GPU reads and writes without the processor.

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
        """A part of it as an array, which shares its memory."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        found: NDArray[Any] = self._bytes[offset : offset + size].view(dtype).reshape(shape)
        return found

    def free(self) -> None:
        """Gives it back; no view may be used from then on. Twice is allowed."""
        if self.address:
            address, self.address = self.address, 0
            self._device.dispose("cudaFreeHost", address)


class Graph:
    """Captured work, which one call runs again."""

    def __init__(self, device: Device, graph: Any) -> None:
        self._device = device
        self._executable = device.call("cudaGraphInstantiate", graph, 0)
        device.dispose("cudaGraphDestroy", graph)

    def launch(self) -> None:
        """Puts it on the compute stream. Raises: BackendError."""
        self._device.call("cudaGraphLaunch", self._executable, self._device.compute)

    def free(self) -> None:
        """Gives it back."""
        self._device.dispose("cudaGraphExecDestroy", self._executable)


def aligned(size: int) -> int:
    """The size, rounded up to a multiple of ``ALIGNMENT``."""
    return -(-size // ALIGNMENT) * ALIGNMENT
