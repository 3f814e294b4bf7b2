"""ONNX Runtime on the CPU."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segan.runtime.cores import usable_cores
from segan.runtime.errors import BackendError, ConfigError
from segan.runtime.external_data import MalformedModelError, has_external_data
from segan.runtime.sessions.base import Session, TensorSpec

_DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
}


@cache
def _errors() -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises: its own types have no common base, so they are collected."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    own = [kind for kind in vars(state).values() if isinstance(kind, type)]
    return (
        *(kind for kind in own if issubclass(kind, Exception)),
        MemoryError,
        RuntimeError,
        ValueError,
    )


class OnnxRuntimeSession(Session):
    """One graph on ONNX Runtime's CPUExecutionProvider.

    Args:
        model_bytes: the serialized model, with its weights inside.
        name: what the graph is, for messages.
        threads: threads within an operator; None takes the physical cores that the process may use.
        precision: of the graph, for information.
        low_memory: run with the least memory, which takes some time of each run.

    Raises:
        BackendError: ONNX Runtime is missing or cannot load the model, or the model wants weights
            from another file.
        ConfigError: ``threads`` is below 1.
    """

    def __init__(
        self,
        model_bytes: bytes,
        *,
        name: str,
        threads: int | None = None,
        precision: str = "fp32",
        low_memory: bool = False,
    ) -> None:
        if threads is not None and threads < 1:
            raise ConfigError(f"threads is {threads}; expected 1 or more.")
        try:
            import onnxruntime
        except ImportError as error:
            raise BackendError(
                f"backend 'cpu' needs onnxruntime, which cannot be imported ({error}). "
                "Run: pip install onnxruntime"
            ) from None
        self.name, self.backend, self.precision = name, "cpu", precision
        try:
            external = has_external_data(model_bytes)
        except MalformedModelError as error:
            raise BackendError(f"the {name} graph is not an ONNX model: {error}.") from None
        if external:
            raise BackendError(
                f"the {name} graph wants weights from another file (ONNX external data), which is "
                "not allowed in a bundle. Export it with its weights inside."
            )
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.intra_op_num_threads = threads or usable_cores()
        options.inter_op_num_threads = 1
        if low_memory:
            # Otherwise it keeps what it ever needed, once in its arena and once planned ahead.
            options.enable_cpu_mem_arena = options.enable_mem_pattern = False
            # Steps in the graph's order: others compute all sites' noise before anything else. It
            # lasts only without the optimisations of memory layout, which make new steps.
            options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        # Its messages reach the user as our errors, not on stderr beside them.
        options.log_severity_level = 4
        try:
            self._session: Any = onnxruntime.InferenceSession(
                model_bytes, options, providers=["CPUExecutionProvider"]
            )
        except _errors() as error:
            raise BackendError(
                f"ONNX Runtime cannot load the {name} graph: {_first_line(error)}"
            ) from None
        # It keeps the bytes for a second attempt on other providers, which there are none of.
        self._session.disable_fallback()
        self._session._model_bytes = None
        self.inputs = tuple(self._spec(node) for node in self._session.get_inputs())
        self.outputs = tuple(self._spec(node) for node in self._session.get_outputs())

    def _spec(self, node: Any) -> TensorSpec:
        if node.type not in _DTYPES:
            raise BackendError(f"the {self.name} graph: {node.name} has the type {node.type}.")
        shape = tuple(size if isinstance(size, int) else None for size in node.shape)
        return TensorSpec(name=node.name, dtype=np.dtype(_DTYPES[node.type]), shape=shape)

    def _run(self, feeds: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        names = [spec.name for spec in self.outputs]
        try:
            results = self._session.run(names, feeds)
        except _errors() as error:
            raise BackendError(
                f"ONNX Runtime failed in the {self.name} graph: {_first_line(error)} "
                "If memory ran out, use a smaller batch size."
            ) from None
        return dict(zip(names, results, strict=True))

    def _close(self) -> None:
        self._session = None


def _first_line(error: Exception) -> str:
    """The message without ONNX Runtime's code and source location, ending in a full stop."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", lines[0])
    text = re.sub(r"/\S+\.(?:cc|h):\d+ ", "", text)
    return text[:300].rstrip(". ") + "."
