"""A TensorRT engine on the GPU: its tensors, its contexts and its memory."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segan.runtime.backends.session import TensorSpec
from segan.runtime.backends.tensorrt.device import Buffer, Device, PinnedBuffer, aligned
from segan.runtime.backends.tensorrt.library import DeviceMemoryError, Library, library_error
from segan.runtime.errors import BackendError, OutputError
from segan.runtime.files.atomic import write_atomic

Shape = tuple[int, ...]


class RefusedEngineError(BackendError):
    """The library does not accept an engine, for another reason than memory."""


class GrowingBuffer:
    """Memory of the GPU that is replaced by a larger piece when more is needed.

    Attributes:
        moves: how often the address became invalid; compare it before using a stored address.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._buffer: Buffer | None = None
        self.moves = 0

    def reach(self, size: int) -> int:
        """Return the address of at least ``size`` bytes. Raises: BackendError, out of memory."""
        if self._buffer is None or self._buffer.size < size:
            self.free()
            self._buffer = self._device.allocate(size)
        return self._buffer.address

    @property
    def size(self) -> int:
        """Bytes."""
        return 0 if self._buffer is None else self._buffer.size

    def free(self) -> None:
        """Free the memory, after all work on the streams."""
        if self._buffer is not None:
            buffer, self._buffer = self._buffer, None
            # Counted before an allocation, which may fail: the old address is invalid anyway.
            self.moves += 1
            try:
                self._device.finish()
            finally:
                buffer.free()


def arrange(tensors: Mapping[str, tuple[Shape, Any]]) -> tuple[dict[str, int], int]:
    """Place tensors in one buffer, one after the other.

    Args:
        tensors: shape and type by name.

    Returns:
        The aligned offset of each, and the total size.
    """
    offsets, total = {}, 0
    for name, (shape, dtype) in tensors.items():
        offsets[name] = total
        total += aligned(math.prod(shape) * np.dtype(dtype).itemsize)
    return offsets, total


class DeviceEngine:
    """A loaded engine. The caller of its methods holds ``device.lock``.

    With TensorRT all contexts share one piece of scratch memory, since they run one after the
    other; it grows with the batch, and a captured graph needs no memory of its own. With TensorRT
    for RTX there is one context, which captures graphs by itself.

    Args:
        library: that built the engine.
        device: the GPU.
        plan: the engine's bytes, which must be trusted: loading them runs code.
        name: of the graph, for messages.
        kernels: file of the kernels that TensorRT for RTX compiles; None for none. It contains code
            as engines do, so only the user may be able to write it.

    Attributes:
        inputs: its input tensors.
        outputs: its output tensors.
        max_batch: the largest batch.

    Raises:
        RefusedEngineError: the library does not accept the engine.
        DeviceMemoryError: memory runs out.
    """

    def __init__(
        self, library: Library, device: Device, plan: bytes, *, name: str, kernels: Path | None
    ) -> None:
        self._library, self._device, self._name = library, device, name
        self._kernels = kernels
        library.log.take()
        self._runtime: Any = library.module.Runtime(library.log)
        self._engine: Any = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            error = library_error(library, f"{library.name} cannot load the {name} engine")
            raise (
                error if isinstance(error, DeviceMemoryError) else RefusedEngineError(error.problem)
            )
        tensors = [self._describe(i) for i in range(self._engine.num_io_tensors)]
        self.inputs = tuple(spec for is_input, spec in tensors if is_input)
        self.outputs = tuple(spec for is_input, spec in tensors if not is_input)
        # Profile 0 is segan's: the smallest, optimum and largest shape of each input.
        self.max_batch = min(
            int(largest[0])
            for spec in self.inputs
            for _, _, largest in [self._engine.get_tensor_profile_shape(spec.name, 0)]
        )
        self._scratch = GrowingBuffer(device)
        self._only: Any = None
        self._compiled: Any = None
        self._feeds, self._results = GrowingBuffer(device), GrowingBuffer(device)
        self._plain: Any = None
        self._staging: PinnedBuffer | None = None

    def _describe(self, number: int) -> tuple[bool, TensorSpec]:
        trt, engine = self._library.module, self._engine
        name = engine.get_tensor_name(number)
        shape = tuple(None if size == -1 else int(size) for size in engine.get_tensor_shape(name))
        dtype = np.dtype(trt.nptype(engine.get_tensor_dtype(name)))
        is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        return is_input, TensorSpec(name=name, dtype=dtype, shape=shape)

    @property
    def captures(self) -> bool:
        """Whether the caller may capture graphs; TensorRT for RTX captures them by itself."""
        return not self._library.is_rtx

    @property
    def moves(self) -> int:
        """A number that changes when contexts must be bound and graphs captured again."""
        return self._scratch.moves

    def context(self) -> Any:
        """Return a context to bind: a new one, or with TensorRT for RTX always the same."""
        trt = self._library.module
        if not self._library.is_rtx:
            strategy = trt.ExecutionContextAllocationStrategy.USER_MANAGED
            return self._made(self._engine.create_execution_context(strategy))
        if self._only is None:
            config = self._engine.create_runtime_config()
            config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            self._compiled = config.create_runtime_cache()
            if self._kernels is not None:
                with contextlib.suppress(OSError):
                    # Kernels for another GPU or version are rejected and compiled again.
                    self._compiled.deserialize(self._kernels.read_bytes())
            config.set_runtime_cache(self._compiled)
            self._only = self._made(self._engine.create_execution_context(config))
        return self._only

    def _made(self, context: Any) -> Any:
        if context is None:
            raise self._error("gives no context")
        return context

    def bind(self, context: Any, shapes: Mapping[str, Shape], addresses: Mapping[str, int]) -> None:
        """Set the shapes of a context's inputs and the addresses of its tensors.

        Args:
            context: of this engine.
            shapes: of every input.
            addresses: on the GPU, of every input and output.

        Raises:
            BackendError: a shape is not one of the engine's, or memory runs out.
        """
        for name, shape in shapes.items():
            if not context.set_input_shape(name, shape):
                raise self._error(f"does not take {name} as {list(shape)}")
        unknown = context.infer_shapes()
        if unknown:
            raise BackendError(f"the {self._name} engine has no {', '.join(unknown)}")
        for name, address in addresses.items():
            if not context.set_tensor_address(name, address):
                raise self._error(f"does not take {name}")
        if not self._library.is_rtx:
            needed = max(1, int(context.update_device_memory_size_for_shapes()))
            address = self._scratch.reach(needed)
            if hasattr(context, "set_device_memory"):
                context.set_device_memory(address, self._scratch.size)
            else:  # TensorRT 10.0
                context.device_memory = address

    def _error(self, what: str) -> BackendError:
        text = f"the {self._name} engine {what}"
        return library_error(self._library, text, self._device.batch)

    def enqueue(self, context: Any) -> None:
        """Enqueue a bound context's work on the compute stream. Raises: BackendError."""
        if not context.execute_async_v3(int(self._device.compute)):
            raise self._error("failed")

    def run(self, feeds: dict[str, NDArray[Any]], wanted: tuple[str, ...]) -> dict[str, Any]:
        """Compute on arrays of the host and wait for the results.

        Args:
            feeds: an array for each input, at most ``max_batch`` rows.
            wanted: the outputs that are downloaded; the others stay on the GPU.

        Raises:
            BackendError: it failed, or memory ran out.
        """
        device = self._device
        inputs, feed_size = arrange({name: (x.shape, x.dtype) for name, x in feeds.items()})
        if self._plain is None:
            self._plain = self.context()
        base = self._feeds.reach(feed_size)
        shapes = {name: x.shape for name, x in feeds.items()}
        batch = max(shape[0] for shape in shapes.values())
        # The wanted outputs come first, so that one copy downloads them.
        order = sorted(self.outputs, key=lambda spec: spec.name not in wanted)
        kinds = {
            spec.name: ((batch, *(size or 0 for size in spec.shape[1:])), spec.dtype)
            for spec in order
        }
        outputs, result_size = arrange(kinds)
        fetched = arrange({name: kinds[name] for name in kinds if name in wanted})[1]
        target = self._results.reach(result_size)
        addresses = {name: base + offset for name, offset in inputs.items()}
        addresses |= {name: target + offset for name, offset in outputs.items()}
        self.bind(self._plain, shapes, addresses)
        if self._staging is None or self._staging.size < feed_size + fetched:
            old, self._staging = self._staging, None
            if old is not None:
                old.free()
            self._staging = device.pin(feed_size + fetched)
        for name, x in feeds.items():
            self._staging.view(inputs[name], x.shape, x.dtype)[...] = x
        device.copy(base, self._staging.address, feed_size, "HostToDevice", device.compute)
        self.enqueue(self._plain)
        back = self._staging.address + feed_size
        device.copy(back, target, fetched, "DeviceToHost", device.compute)
        device.finish()
        return {
            name: self._staging.view(feed_size + outputs[name], *kinds[name]).copy()
            for name in wanted
        }

    def close(self) -> None:
        """Store the compiled kernels and free all memory."""
        if self._compiled is not None and self._kernels is not None:
            # serialize() returns None where there is nothing to store.
            with contextlib.suppress(OutputError, TypeError):
                write_atomic(self._kernels, bytes(memoryview(self._compiled.serialize())))
        with contextlib.suppress(BackendError):
            self._device.finish()
        self._plain = self._only = self._compiled = None
        for buffer in (self._scratch, self._feeds, self._results):
            with contextlib.suppress(BackendError):
                buffer.free()
        if self._staging is not None:
            self._staging.free()
            self._staging = None
        self._engine = self._runtime = None
