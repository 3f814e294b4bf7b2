"""ONNX Runtime: what its sessions have in common, and the one on the CPU."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segan.runtime.backends.session import Session, SessionConfig, TensorSpec
from segan.runtime.bundle.onnx_wire import check_self_contained
from segan.runtime.errors import BackendError
from segan.runtime.machine.cores import usable_cores

_DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(uint8)": np.uint8,
}

#: How the many allocators behind ONNX Runtime say that memory ran out.
_OUT_OF_MEMORY = re.compile(
    "out of memory|failed to allocate|bad_alloc|smaller than requested bytes|bad allocation"
    "|CUDA failure 2:",
    re.IGNORECASE,
)


@cache
def runtime_errors() -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises: its own types have no common base, so they are collected."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    own = [kind for kind in vars(state).values() if isinstance(kind, type)]
    return (
        *(kind for kind in own if issubclass(kind, Exception)),
        MemoryError,
        RuntimeError,
        ValueError,
    )


def why_not() -> str | None:
    """Why ONNX Runtime cannot work here; None where it seems to."""
    try:
        import onnxruntime
    except ImportError as error:
        return (
            f"backend 'cpu' needs onnxruntime, which cannot be imported ({error}). "
            "Run: pip install onnxruntime"
        )
    if not hasattr(onnxruntime, "InferenceSession"):
        # What is left when one of two packages that share the module's folder was uninstalled.
        return (
            "backend 'cpu' needs onnxruntime, of which only a part is left here. "
            "Run: pip install --force-reinstall --no-deps onnxruntime"
        )
    return None


def open_graph(model_bytes: bytes, *, name: str, config: SessionConfig) -> Session:
    """Loads a graph; see ``OnnxRuntimeSession``."""
    return OnnxRuntimeSession(model_bytes, name=name, config=config)


class OrtSession(Session):
    """One graph on ONNX Runtime; a subclass names the provider and checks that it can work.

    Args:
        model_bytes: the serialized model, with its weights inside.
        name: what the graph is, for messages.
        config: how to compute.
        provider: the only one asked for, with its options.

    Raises:
        BackendError: ONNX Runtime cannot load the model, or the model wants weights from another
            file.
    """

    def __init__(
        self,
        model_bytes: bytes,
        *,
        name: str,
        config: SessionConfig,
        provider: tuple[str, dict[str, str]],
    ) -> None:
        import onnxruntime

        self.name, self.precision = name, config.precision
        check_self_contained(model_bytes, name)
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.intra_op_num_threads = config.threads or usable_cores()
        options.inter_op_num_threads = 1
        if config.low_memory:
            # Otherwise it keeps what it ever needed, once in its arena and once planned ahead.
            options.enable_cpu_mem_arena = options.enable_mem_pattern = False
            # Steps in the graph's order: others compute all sites' noise before anything else. It
            # lasts only without the optimisations of memory layout, which make new steps.
            options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        # Its messages reach the user as our errors, not on stderr beside them.
        options.log_severity_level = 4
        if provider[0] != "CPUExecutionProvider":
            # Every node runs where it was asked to run, or the graph does not load.
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        try:
            # Without enable_fallback=0 it loads, and after a failing run goes on, on the CPU.
            self._session: Any = onnxruntime.InferenceSession(
                model_bytes, options, providers=[provider], enable_fallback=0
            )
        except runtime_errors() as error:
            raise BackendError(self._load_problem(error)) from None
        # It keeps the bytes for a second attempt on other providers, which there are none of.
        self._session._model_bytes = None
        self.inputs = tuple(self._spec(node) for node in self._session.get_inputs())
        self.outputs = tuple(self._spec(node) for node in self._session.get_outputs())

    def _load_problem(self, error: Exception) -> str:
        """What to tell when the graph does not load."""
        if _OUT_OF_MEMORY.search(str(error)):
            return f"memory ran out while the {self.name} graph was loaded: {first_line(error)}"
        return f"ONNX Runtime cannot load the {self.name} graph: {first_line(error)}"

    def _spec(self, node: Any) -> TensorSpec:
        if node.type not in _DTYPES:
            raise BackendError(f"the {self.name} graph: {node.name} has the type {node.type}.")
        shape = tuple(size if isinstance(size, int) else None for size in node.shape)
        return TensorSpec(name=node.name, dtype=np.dtype(_DTYPES[node.type]), shape=shape)

    def _run(self, feeds: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        names = [spec.name for spec in self.outputs]
        try:
            results = self._session.run(names, feeds)
        except runtime_errors() as error:
            raise self._failure(error, max(len(array) for array in feeds.values())) from None
        return dict(zip(names, results, strict=True))

    def _failure(self, error: Exception, batch: int) -> BackendError:
        """What to tell when a run of ``batch`` images failed."""
        if _OUT_OF_MEMORY.search(str(error)):
            smaller = f" Pass a smaller --batch-size, such as {batch // 2}." if batch > 1 else ""
            return BackendError(
                f"memory ran out in the {self.name} graph on backend {self.backend!r} with a "
                f"batch of {batch}.{smaller}"
            )
        return BackendError(f"ONNX Runtime failed in the {self.name} graph: {first_line(error)}")

    def _close(self) -> None:
        self._session = None


class OnnxRuntimeSession(OrtSession):
    """One graph on ONNX Runtime's CPUExecutionProvider.

    Args:
        model_bytes: the serialized model, with its weights inside.
        name: what the graph is, for messages.
        config: how to compute.

    Raises:
        BackendError: ONNX Runtime is missing or cannot load the model, or the model wants weights
            from another file.
    """

    backend = "cpu"

    def __init__(
        self, model_bytes: bytes, *, name: str, config: SessionConfig | None = None
    ) -> None:
        problem = why_not()
        if problem is not None:
            raise BackendError(problem)
        super().__init__(
            model_bytes,
            name=name,
            config=config or SessionConfig(),
            provider=("CPUExecutionProvider", {}),
        )


def first_line(error: Exception) -> str:
    """The message without ONNX Runtime's code and source location, ending in a full stop."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", lines[0])
    text = re.sub(r"/\S+\.(?:cc|h):\d+ ", "", text)
    return text[:300].rstrip(". ") + "."
