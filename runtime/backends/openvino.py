"""OpenVINO on the CPU: fp32, bf16 where the processor has it, and int8 graphs."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segan.runtime.backends.session import Precision, Session, SessionConfig, TensorSpec
from segan.runtime.errors import BackendError
from segan.runtime.graphs.check import safe_model
from segan.runtime.machine.cores import usable_cores

#: numpy type of each element type of OpenVINO that a graph may use.
_DTYPES = {"f32": np.float32, "f16": np.float16, "i64": np.int64, "u8": np.uint8}

#: Batch sizes that a graph is kept compiled for, and how often another size must be requested
#: before it replaces the least recently used one.
_MOST_SIZES, _OFTEN = 4, 8

# Shapes of the inputs, in the order of ``inputs``.
_Shapes = tuple[tuple[int, ...], ...]

#: OpenVINO's hint for each precision.
_HINTS = {"fp32": "f32", "bf16": "bf16"}


@cache
def _core() -> Any:
    import openvino

    return openvino.Core()


def capabilities() -> tuple[str, ...]:
    """Return the processor's native precisions by OpenVINO's names: FP32, BF16, INT8 and more."""
    return tuple(_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


def _hint(precision: Precision) -> str:
    """Return the hint for a graph; of an int8 graph, for the parts that are not int8."""
    if precision == "int8":
        return "bf16" if "BF16" in capabilities() else "f32"
    return _HINTS[precision]


class OpenVinoSession(Session):
    """One graph on OpenVINO's CPU plugin.

    The graph is compiled for each batch size in use: with known sizes, the plugin keeps one memory
    layout through the whole network and does not reorder data between operators. Where many sizes
    are in use, the most frequent ones have a graph of their own, and the others share one that is
    compiled for any size.

    Args:
        model_bytes: see ``Session``.
        name: see ``Session``.
        config: how to compute. With ``throughput`` as many requests run in parallel as there are
            threads, each on its share of them.

    Raises:
        BackendError: see ``Session``; also where the processor has no bf16.
    """

    def __init__(
        self, model_bytes: bytes, *, name: str, config: SessionConfig | None = None
    ) -> None:
        config = config or SessionConfig()
        problem = self.why_not()
        if problem is not None:
            raise problem
        if config.precision in self.unsupported():
            # OpenVINO would compute in fp32 without a message.
            raise BackendError(
                f"`precision` is {config.precision!r}, which this processor does not support "
                f"(OpenVINO finds {', '.join(capabilities())})",
                field="precision",
                value=config.precision,
                remedy="Pass `precision fp32`.",
            )
        self.name, self.backend, self.precision = name, "openvino", config.precision
        model = safe_model(model_bytes, name)
        threads = config.threads or usable_cores()
        self._options: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": _hint(config.precision),
            "PERFORMANCE_HINT": "THROUGHPUT" if config.throughput else "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            # In fp32 no activation is stored in a smaller type.
            "EXECUTION_MODE_HINT": "ACCURACY" if config.precision == "fp32" else "PERFORMANCE",
        }
        if config.throughput:
            self._options["NUM_STREAMS"] = threads
        if config.cache is not None:
            self._options["CACHE_DIR"] = str(config.cache)
        with self._failing("cannot load"):
            # With a buffer for weights, and an empty one, it reads from memory alone.
            self._model: Any = _core().read_model(model, b"")
        self.inputs = tuple(self._spec(port) for port in self._model.inputs)
        self.outputs = tuple(self._spec(port) for port in self._model.outputs)
        self._most = 1 if config.low_memory else _MOST_SIZES
        self._at_once = threads if config.throughput else 1
        self._lock = threading.Lock()
        self._sized: OrderedDict[_Shapes, _Compiled] = OrderedDict()
        self._any_size: _Compiled | None = None
        self._asked: Counter[_Shapes] = Counter()

    @staticmethod
    def why_not() -> BackendError | None:
        """Return why OpenVINO cannot work here; None where it seems to."""
        try:
            import openvino
        except ImportError as error:
            return BackendError(
                f"backend 'openvino' needs openvino, which cannot be imported ({error})",
                field="backend",
                value="openvino",
                remedy="Run: pip install 'segan[openvino]'",
            )
        del openvino
        return None

    @staticmethod
    def unsupported() -> frozenset[Precision]:
        """Return bf16 on a processor without it."""
        return frozenset() if "BF16" in capabilities() else frozenset({"bf16"})

    @contextlib.contextmanager
    def _failing(self, how: str, remedy: str = "") -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            raise BackendError(
                f"OpenVINO {how} the {self.name} graph: {_first_line(error)}", remedy=remedy
            ) from None

    def _spec(self, port: Any) -> TensorSpec:
        kind = port.get_element_type().get_type_name()
        if kind not in _DTYPES:
            raise BackendError(
                f"the {self.name} graph: {port.get_any_name()} has the type {kind}",
                expected=f"one of {', '.join(_DTYPES)}",
            )
        shape = tuple(
            size.get_length() if size.is_static else None for size in port.get_partial_shape()
        )
        return TensorSpec(name=port.get_any_name(), dtype=np.dtype(_DTYPES[kind]), shape=shape)

    def _run(self, feeds: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        # share_inputs reads the arrays in place, so they must be contiguous.
        whole = {name: np.ascontiguousarray(array) for name, array in feeds.items()}
        remedy = "If memory ran out, use a smaller batch size."
        shapes = tuple(whole[spec.name].shape for spec in self.inputs)
        with self._failing("failed in", remedy):
            with self._lock:
                # Another thread may have closed the session.
                self._check_open()
                compiled = self._compiled(shapes)
            with compiled.request() as request:
                results = request.infer(whole, share_inputs=True)
                return {spec.name: results[spec.name] for spec in self.outputs}

    def _compiled(self, shapes: _Shapes) -> _Compiled:
        """Return the graph for inputs of these shapes, compiled if necessary."""
        self._asked[shapes] += 1
        if shapes not in self._sized:
            if len(self._sized) >= self._most and self._asked[shapes] < _OFTEN:
                if self._any_size is None:
                    self._any_size = self._compile(self._model)
                return self._any_size
            while len(self._sized) >= self._most:
                self._sized.popitem(last=False)
            model = self._model.clone()
            model.reshape(
                {spec.name: list(shape) for spec, shape in zip(self.inputs, shapes, strict=True)}
            )
            self._sized[shapes] = self._compile(model)
            self._asked.clear()
        self._sized.move_to_end(shapes)
        return self._sized[shapes]

    def _compile(self, model: Any) -> _Compiled:
        return _Compiled(_core().compile_model(model, "CPU", self._options), self._at_once)

    def _close(self) -> None:
        with self._lock:
            self._model = self._any_size = None
            self._sized.clear()


class _Compiled:
    """A compiled graph and its inference requests, each of which serves one caller at a time."""

    def __init__(self, model: Any, at_once: int) -> None:
        self._model = model
        self._idle: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._limit = threading.Semaphore(at_once)

    @contextlib.contextmanager
    def request(self) -> Iterator[Any]:
        with self._limit:
            try:
                request = self._idle.get_nowait()
            except queue.Empty:
                request = self._model.create_infer_request()
            try:
                yield request
            finally:
                self._idle.put(request)


def _first_line(error: Exception) -> str:
    """Return a message without OpenVINO's source locations and full stop."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    messages = [
        line
        for line in lines
        if not line.startswith(("Exception from ", "Check '")) and not line.endswith(".cpp")
    ]
    text = (messages or lines or [type(error).__name__])[0]
    return text[:300].rstrip(". :")
