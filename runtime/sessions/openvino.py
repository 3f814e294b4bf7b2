"""OpenVINO on the CPU: fp32, bf16 where the processor has it, and int8 graphs."""

from __future__ import annotations

import io
import queue
import threading
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segan.runtime.cores import usable_cores
from segan.runtime.errors import BackendError
from segan.runtime.external_data import check_self_contained
from segan.runtime.sessions.base import Session, SessionConfig, TensorSpec

#: Element types of OpenVINO by name; others are refused.
_DTYPES = {"f32": np.float32, "f16": np.float16, "i64": np.int64, "u8": np.uint8}

#: What OpenVINO is told to compute in; int8 stands in the graph.
_HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}


def why_not() -> str | None:
    """Why OpenVINO cannot work here; None where it seems to."""
    try:
        import openvino
    except ImportError as error:
        return (
            f"backend 'openvino' needs openvino, which cannot be imported ({error}). "
            "Run: pip install 'segan[openvino]'"
        )
    del openvino
    return None


@cache
def _core() -> Any:
    import openvino

    return openvino.Core()


def capabilities() -> tuple[str, ...]:
    """What the processor computes in by itself, in OpenVINO's words: FP32, BF16, INT8 and more."""
    return tuple(_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


def open_graph(model_bytes: bytes, *, name: str, config: SessionConfig) -> Session:
    """Loads a graph; see ``OpenVinoSession``."""
    return OpenVinoSession(model_bytes, name=name, config=config)


class OpenVinoSession(Session):
    """One graph on OpenVINO's CPU plugin.

    Args:
        model_bytes: the serialized ONNX model, with its weights inside.
        name: what the graph is, for messages.
        config: how to compute. With ``throughput`` as many requests run side by side, each on its
            share of the threads, as there are threads that call.

    Raises:
        BackendError: OpenVINO is missing or cannot load the model, the model wants weights from
            another file, or the processor has no bf16.
    """

    def __init__(
        self, model_bytes: bytes, *, name: str, config: SessionConfig | None = None
    ) -> None:
        config = config or SessionConfig()
        problem = why_not()
        if problem is not None:
            raise BackendError(problem)
        if config.precision == "bf16" and "BF16" not in capabilities():
            # It would compute in fp32 and say nothing.
            raise BackendError(
                "precision is 'bf16', which this processor does not compute in "
                f"(OpenVINO finds {', '.join(capabilities())}). Use --precision fp32."
            )
        self.name, self.backend, self.precision = name, "openvino", config.precision
        check_self_contained(model_bytes, name)
        threads = config.threads or usable_cores()
        options = {
            "INFERENCE_PRECISION_HINT": _HINTS[config.precision],
            "PERFORMANCE_HINT": "THROUGHPUT" if config.throughput else "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            # fp32 means fp32: no activation is kept in a smaller type.
            "EXECUTION_MODE_HINT": "ACCURACY" if config.precision == "fp32" else "PERFORMANCE",
        }
        if config.throughput:
            options["NUM_STREAMS"] = threads
        if config.cache is not None:
            options["CACHE_DIR"] = str(config.cache)
        try:
            model = _core().read_model(io.BytesIO(model_bytes))
            inputs = [port.get_any_name() for port in model.inputs]
            outputs = [port.get_any_name() for port in model.outputs]
            self._model: Any = _core().compile_model(model, "CPU", options)
        except RuntimeError as error:
            raise BackendError(
                f"OpenVINO cannot load the {name} graph: {_first_line(error)}"
            ) from None
        # Compiling joins a node that changes nothing with its input, names and all.
        self.inputs = tuple(map(self._spec, self._model.inputs, inputs))
        self.outputs = tuple(map(self._spec, self._model.outputs, outputs))
        # A request serves one caller at a time; more are made when more call at once.
        self._idle: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._limit = threading.Semaphore(threads if config.throughput else 1)

    def _spec(self, port: Any, name: str) -> TensorSpec:
        kind = port.get_element_type().get_type_name()
        if kind not in _DTYPES:
            raise BackendError(f"the {self.name} graph: {name} has the type {kind}.")
        shape = tuple(
            size.get_length() if size.is_static else None for size in port.get_partial_shape()
        )
        return TensorSpec(name=name, dtype=np.dtype(_DTYPES[kind]), shape=shape)

    def _run(self, feeds: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        # Shared inputs are read as they lie in memory.
        whole = {name: np.ascontiguousarray(array) for name, array in feeds.items()}
        with self._limit:
            try:
                request = self._idle.get_nowait()
            except queue.Empty:
                request = self._model.create_infer_request()
            try:
                results = request.infer(whole, share_inputs=True)
                return {spec.name: results[spec.name] for spec in self.outputs}
            except RuntimeError as error:
                raise BackendError(
                    f"OpenVINO failed in the {self.name} graph: {_first_line(error)} "
                    "If memory ran out, use a smaller batch size."
                ) from None
            finally:
                self._idle.put(request)

    def _close(self) -> None:
        self._model = None
        self._idle = queue.SimpleQueue()


def _first_line(error: Exception) -> str:
    """What went wrong, without OpenVINO's source locations, ending in a full stop."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [
        line
        for line in lines
        if not line.startswith(("Exception from ", "Check '")) and not line.endswith(".cpp")
    ]
    text = (telling or lines or [type(error).__name__])[0]
    return text[:300].rstrip(". :") + "."
