"""A fake GPU in memory, with the parts of the CUDA runtime and TensorRT that segan uses.

Streams are lazy: enqueued work runs only when something waits for it, and then no further than
necessary. Code that forgets to wait reads stale numbers, and code that frees too early or writes
past a buffer raises AssertionError. Engines compute with ONNX Runtime.
"""

# The names are CUDA's and TensorRT's own.
# ruff: noqa: N802, N815

from __future__ import annotations

import ctypes
import enum
import json
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from segan.runtime.backends.tensorrt import device as cuda_memory
from segan.runtime.backends.tensorrt import graphs as tensorrt_graphs
from segan.runtime.backends.tensorrt import session as tensorrt
from segan.runtime.backends.tensorrt.build import BuiltEngine
from segan.runtime.backends.tensorrt.library import Library, wrap_library
from segan.runtime.machine.gpus import CudaDevice

Op = Callable[[], None]


class MemcpyKind(enum.IntEnum):
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2
    cudaMemcpyDeviceToDevice = 3


class CaptureMode(enum.IntEnum):
    cudaStreamCaptureModeThreadLocal = 1


class Stream:
    def __init__(self, number: int) -> None:
        self.number = number
        self.queue: deque[Op] = deque()
        self.capturing: list[Op] | None = None

    def __int__(self) -> int:
        return self.number


class Token:
    """One recording of an event."""

    def __init__(self, stream: Stream) -> None:
        self.stream, self.done = stream, False


class Event:
    token: Token | None = None


class FakeCuda:
    """The module cuda.bindings.runtime.

    Attributes:
        limit: bytes of GPU memory.
        pins: allocations of pinned memory that succeed before one fails; None for all.
        fail: function → the error that it returns.
        eager: whether computation runs at once; downloads stay lazy.
        log: what ran, in order.
        asked: what was enqueued, in order.
    """

    cudaMemcpyKind = MemcpyKind
    cudaStreamCaptureMode = CaptureMode
    cudaStreamNonBlocking = 1
    cudaEventDisableTiming = 2

    def __init__(self) -> None:
        self.limit = 1 << 30
        self.pins: int | None = None
        self.fail: dict[str, int] = {}
        self.eager = False
        self.log: list[str] = []
        self.asked: list[str] = []
        self.streams: dict[int, Stream] = {}
        self.lock = threading.RLock()
        self.blocks: dict[int, tuple[int, bool, Any]] = {}

    def __getattribute__(self, name: str) -> Any:
        fail = object.__getattribute__(self, "__dict__").get("fail", {})
        if name in fail:
            return lambda *_: (fail[name], None)
        return object.__getattribute__(self, name)

    # Memory.

    def _new(self, size: int, on_device: bool) -> int:
        raw = (ctypes.c_uint8 * (size + 256))()
        ctypes.memset(raw, 0xA5, size + 256)
        address = -(-ctypes.addressof(raw) // 256) * 256
        self.blocks[address] = (size, on_device, raw)
        return address

    def used(self) -> int:
        return sum(size for size, on_device, _ in self.blocks.values() if on_device)

    def at(self, address: int, size: int, *, on_device: bool) -> NDArray[np.uint8]:
        """Return the bytes of a live allocation."""
        for start, (length, where, _) in self.blocks.items():
            if start <= address and address + size <= start + length:
                assert where == on_device, "memory of the other side"
                return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))
        raise AssertionError(f"{size} bytes at {address} are not allocated")

    def cudaSetDevice(self, index: int) -> tuple[int]:
        return (0 if index == 0 else 101,)

    def cudaMalloc(self, size: int) -> tuple[int, int]:
        if self.used() + size > self.limit:
            return 2, 0
        return 0, self._new(size, True)

    def cudaHostAlloc(self, size: int, _flags: int) -> tuple[int, int]:
        if self.pins is not None:
            self.pins -= 1
            if self.pins < 0:
                self.pins = None
                return 2, 0
        return 0, self._new(size, False)

    def _free(self, address: int) -> tuple[int]:
        size, _, raw = self.blocks.pop(address)
        # The memory is kept, so that a stale view reads wrong values and does not crash.
        ctypes.memset(address, 0x5A, size)
        self.__dict__.setdefault("_freed", []).append(raw)
        return (0,)

    cudaFree = cudaFreeHost = _free

    # Streams and events.

    def _stream(self, stream: Any) -> Stream:
        return self.streams[int(stream)]

    def cudaStreamCreateWithFlags(self, _flags: int) -> tuple[int, Stream]:
        stream = Stream(len(self.streams) + 7)
        self.streams[int(stream)] = stream
        return 0, stream

    def push(self, stream: Any, what: str, op: Op) -> None:
        stream = self._stream(stream)

        def run() -> None:
            self.log.append(what)
            op()

        if stream.capturing is not None:
            stream.capturing.append(run)
        else:
            with self.lock:
                self.asked.append(what)
                stream.queue.append(run)
                if self.eager and stream is next(iter(self.streams.values())):
                    self.drain(stream)

    def drain(self, stream: Stream, token: Token | None = None) -> None:
        with self.lock:
            while stream.queue and not (token and token.done):
                stream.queue.popleft()()

    def cudaStreamSynchronize(self, stream: Any) -> tuple[int]:
        stream = self._stream(stream)
        assert stream.capturing is None, "synchronized while capturing"
        self.drain(stream)
        return (0,)

    def cudaEventCreateWithFlags(self, _flags: int) -> tuple[int, Event]:
        return 0, Event()

    def cudaEventDestroy(self, _event: Event) -> tuple[int]:
        return (0,)

    def cudaEventRecord(self, event: Event, stream: Any) -> tuple[int]:
        token = event.token = Token(self._stream(stream))

        def done() -> None:
            token.done = True

        token.stream.queue.append(done)
        return (0,)

    def cudaStreamWaitEvent(self, stream: Any, event: Event, _flags: int) -> tuple[int]:
        token = event.token
        assert token is not None
        self._stream(stream).queue.append(lambda: self.drain(token.stream, token))
        return (0,)

    def cudaEventSynchronize(self, event: Event) -> tuple[int]:
        assert event.token is not None
        self.drain(event.token.stream, event.token)
        assert event.token.done
        return (0,)

    # Copies.

    def cudaMemcpyAsync(
        self, target: int, source: int, size: int, kind: MemcpyKind, stream: Any
    ) -> tuple[int]:
        to_device = kind != MemcpyKind.cudaMemcpyDeviceToHost
        from_device = kind != MemcpyKind.cudaMemcpyHostToDevice

        def copy() -> None:
            found = self.at(source, size, on_device=from_device)
            self.at(target, size, on_device=to_device)[:] = found

        self.push(stream, kind.name.removeprefix("cudaMemcpy"), copy)
        return (0,)

    def cudaMemcpy2DAsync(
        self,
        target: int,
        target_pitch: int,
        source: int,
        source_pitch: int,
        width: int,
        height: int,
        kind: MemcpyKind,
        stream: Any,
    ) -> tuple[int]:
        assert kind == MemcpyKind.cudaMemcpyDeviceToDevice
        assert width <= min(target_pitch, source_pitch)

        def copy() -> None:
            for row in range(height):
                found = self.at(source + row * source_pitch, width, on_device=True)
                self.at(target + row * target_pitch, width, on_device=True)[:] = found

        self.push(stream, "repeat", copy)
        return (0,)

    # Graphs.

    def cudaStreamBeginCapture(self, stream: Any, _mode: CaptureMode) -> tuple[int]:
        self._stream(stream).capturing = []
        return (0,)

    def cudaStreamEndCapture(self, stream: Any) -> tuple[int, list[Op]]:
        stream = self._stream(stream)
        captured, stream.capturing = stream.capturing, None
        return 0, captured

    def cudaGraphInstantiate(self, graph: list[Op], _flags: int) -> tuple[int, list[Op]]:
        return 0, list(graph)

    def cudaGraphDestroy(self, _graph: list[Op]) -> tuple[int]:
        return (0,)

    def cudaGraphExecDestroy(self, graph: list[Op]) -> tuple[int]:
        graph.clear()
        return (0,)

    def cudaGraphLaunch(self, graph: list[Op], stream: Any) -> tuple[int]:
        assert graph, "a graph that was freed"

        def launch() -> None:
            for op in graph:
                op()

        self.push(stream, "launch", launch)
        return (0,)


class Context:
    def __init__(self, engine: Engine, how: Any) -> None:
        self.engine, self.how = engine, how
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}
        self.scratch = (0, 0)

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        stated = self.engine.shapes[name]
        fits = len(stated) == len(shape) and all(
            a in (-1, b) for a, b in zip(stated, shape, strict=True)
        )
        if not fits or not 1 <= shape[0] <= self.engine.largest:
            return False
        self.shapes[name] = shape
        return True

    def infer_shapes(self) -> list[str]:
        return [name for name in self.engine.feeds if name not in self.shapes]

    def set_tensor_address(self, name: str, address: int) -> bool:
        assert name in self.engine.shapes
        assert address % 256 == 0
        self.addresses[name] = address
        return True

    def update_device_memory_size_for_shapes(self) -> int:
        return 1000 * max(shape[0] for shape in self.shapes.values())

    def set_device_memory(self, address: int, size: int) -> None:
        self.scratch = (address, size)

    def execute_async_v3(self, stream: int) -> bool:
        engine = self.engine
        shapes, addresses, scratch = dict(self.shapes), dict(self.addresses), self.scratch
        assert addresses.keys() == engine.shapes.keys(), "a tensor without an address"
        needed = self.update_device_memory_size_for_shapes()

        def compute() -> None:
            cuda = engine.cuda
            if not engine.is_rtx:
                cuda.at(scratch[0], needed, on_device=True)
            feeds = {}
            for name in engine.feeds:
                size = int(np.prod(shapes[name])) * 4
                data = cuda.at(addresses[name], size, on_device=True)
                feeds[name] = data.copy().view(np.float32).reshape(shapes[name])
            for name, value in engine.compute(feeds).items():
                data = np.ascontiguousarray(value).view(np.uint8).reshape(-1)
                cuda.at(addresses[name], data.size, on_device=True)[:] = data

        engine.cuda.push(stream, f"run {engine.name}", compute)
        return True


class Engine:
    def __init__(self, cuda: FakeCuda, is_rtx: bool, plan: bytes) -> None:
        head, _, model = plan.partition(b"\n")
        meta = json.loads(head)
        self.cuda, self.is_rtx = cuda, is_rtx
        self.name, self.largest = meta["name"], meta["largest"]
        self.session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        self.feeds = [node.name for node in self.session.get_inputs()]
        nodes = [*self.session.get_inputs(), *self.session.get_outputs()]
        self.shapes = {
            node.name: tuple(size if isinstance(size, int) else -1 for size in node.shape)
            for node in nodes
        }
        self.kinds: dict[str, type] = dict.fromkeys(self.shapes, np.float32)
        if "image" in self.shapes:
            n, c, h, w = self.shapes["image"]
            self.shapes |= {"pixels": (n, h, w, c), "unfinite": (n,)}
            self.kinds |= {"pixels": np.uint8, "unfinite": np.float32}
        self.num_io_tensors = len(self.shapes)
        self.contexts: list[Context] = []

    def compute(self, feeds: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        names = [node.name for node in self.session.get_outputs()]
        found = dict(zip(names, self.session.run(names, feeds), strict=True))
        if "image" in found:
            x = found["image"].astype(np.float64) * 127.5 + 128
            bad = ~np.isfinite(x)
            x = np.clip(np.floor(np.where(bad, 0, x)), 0, 255).astype(np.uint8)
            found["pixels"] = x.transpose(0, 2, 3, 1)
            found["unfinite"] = bad.sum(axis=(1, 2, 3)).astype(np.float32)
        return found

    def get_tensor_name(self, number: int) -> str:
        names: list[str] = [*self.shapes]
        return names[number]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shapes[name]

    def get_tensor_dtype(self, name: str) -> type:
        return self.kinds[name]

    def get_tensor_mode(self, name: str) -> str:
        return "input" if name in self.feeds else "output"

    def get_tensor_profile_shape(self, name: str, index: int) -> list[tuple[int, ...]]:
        assert index == 0
        rest = self.shapes[name][1:]
        return [(size, *rest) for size in (1, 1, self.largest)]

    def create_runtime_config(self) -> Any:
        cache = SimpleNamespace(
            deserialize=lambda data: self.cuda.log.append(f"kernels {bytes(data)!r}"),
            serialize=lambda: b"compiled",
        )
        config = SimpleNamespace(create_runtime_cache=lambda: cache, cache=None)
        config.set_runtime_cache = lambda given: setattr(config, "cache", given)
        return config

    def create_execution_context(self, how: Any) -> Context:
        assert self.is_rtx == hasattr(how, "set_runtime_cache")
        self.contexts.append(Context(self, how))
        return self.contexts[-1]


class Logger:
    ERROR, INTERNAL_ERROR = "error", "internal error"


class FakeTensorRT:
    """The module tensorrt, or tensorrt_rtx.

    Attributes:
        engines: what was loaded.
        builds: graphs that were built.
        refuse: plans that are not loaded, by their beginning.
        reason: that it gives for it.
    """

    ILogger = Logger
    TensorIOMode = SimpleNamespace(INPUT="input")
    ExecutionContextAllocationStrategy = SimpleNamespace(USER_MANAGED="ours")
    CudaGraphStrategy = SimpleNamespace(WHOLE_GRAPH_CAPTURE="whole")

    def __init__(self, cuda: FakeCuda, is_rtx: bool, largest: int) -> None:
        self.cuda, self.is_rtx, self.largest = cuda, is_rtx, largest
        self.engines: dict[str, Engine] = {}
        self.builds: list[str] = []
        self.refuse: bytes | None = None
        self.reason = "it is of another version"
        self.__version__ = "1.7.1" if is_rtx else "10.13.3"

    @staticmethod
    def nptype(kind: type) -> type:
        return kind

    def Runtime(self, log: Any) -> Any:
        def load(plan: bytes) -> Engine | None:
            if self.refuse is not None and plan.startswith(self.refuse):
                log.log("error", f"IRuntime::load: Error Code 6: {self.reason}")
                return None
            engine = Engine(self.cuda, self.is_rtx, plan)
            self.engines[engine.name] = engine
            return engine

        return SimpleNamespace(deserialize_cuda_engine=load)

    def build(self, _library: Any, model: bytes, *, name: str, **_rest: Any) -> BuiltEngine:
        self.builds.append(name)
        head = json.dumps({"name": name, "largest": self.largest}).encode()
        return BuiltEngine(plan=head + b"\n" + model, profile={}, timings=None, seconds=0.5)


CARD = CudaDevice(index=0, name="NVIDIA Fake", capability=(8, 9), memory=1 << 30, driver=(13, 0))


class Card:
    """The fake GPU, in place of a real one.

    Attributes:
        cuda: its runtime.
        trt: its TensorRT.
    """

    def __init__(self, kind: str, largest: int = 4) -> None:
        self.cuda = FakeCuda()
        self.trt = FakeTensorRT(self.cuda, kind == "tensorrt_rtx", largest)
        self.library: Library = wrap_library(self.trt, kind)
        self.device = cuda_memory.Device(self.cuda)

    def put_in(self, patch: pytest.MonkeyPatch, cache: Path) -> None:
        """Make segan find the fake GPU."""
        patch.setenv("SEGAN_CACHE", str(cache))
        patch.setattr(tensorrt.TensorRTSession, "why_not", staticmethod(lambda: None))
        patch.setattr(tensorrt, "require_library", lambda: self.library)
        patch.setattr(tensorrt, "cuda_devices", lambda: [CARD])
        patch.setattr(tensorrt, "open_device", lambda: self.device)
        patch.setattr(tensorrt_graphs, "open_device", lambda: self.device)
        patch.setattr(tensorrt, "build_engine", self.trt.build)

    def count(self, what: str) -> int:
        return self.cuda.asked.count(what)
