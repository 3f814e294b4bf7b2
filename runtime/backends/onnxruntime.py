"""ONNX Runtime: the common part of its sessions, and the session on the CPU."""

from __future__ import annotations

import os
import re
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segan.runtime.backends.session import Session, SessionConfig, TensorSpec
from segan.runtime.errors import BackendError
from segan.runtime.graphs.check import safe_model
from segan.runtime.machine.cores import usable_cores

_DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(uint8)": np.uint8,
}

#: How the allocators of ONNX Runtime report that memory ran out.
_OUT_OF_MEMORY = re.compile(
    "out of memory|failed to allocate|bad_alloc|smaller than requested bytes|bad allocation"
    "|CUDA failure 2:",
    re.IGNORECASE,
)


@cache
def runtime_errors() -> tuple[type[Exception], ...]:
    """Return the types that ONNX Runtime raises, which have no common base of their own."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    own = [kind for kind in vars(state).values() if isinstance(kind, type)]
    return (
        *(kind for kind in own if issubclass(kind, Exception)),
        MemoryError,
        RuntimeError,
        ValueError,
    )


class OrtSession(Session):
    """One graph on ONNX Runtime; a subclass names the provider and checks that it can work.

    Args:
        model_bytes: see ``Session``.
        name: see ``Session``.
        config: how to compute.
        provider: the only execution provider to use, with its options.

    Raises:
        BackendError: see ``Session``.
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
        model = safe_model(model_bytes, name)
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.intra_op_num_threads = config.threads or usable_cores()
        options.inter_op_num_threads = 1
        if config.low_memory:
            # Otherwise it keeps the most memory that it ever needed, in its arena and in its plan.
            options.enable_cpu_mem_arena = options.enable_mem_pattern = False
            # Run nodes in the graph's order: others compute all sites' noise first. This order is
            # kept only without the optimisations of memory layout, which add nodes.
            options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        # A model has no data in other files. Should one pass the check, this folder has no files.
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", os.devnull
        )
        # Its messages become part of our errors, so it prints none to stderr.
        options.log_severity_level = 4
        if provider[0] != "CPUExecutionProvider":
            # A graph does not load where a node would run on another provider.
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        try:
            # Without enable_fallback=0 it falls back to the CPU on loading and after a failed run.
            self._session: Any = onnxruntime.InferenceSession(
                model, options, providers=[provider], enable_fallback=0
            )
        except runtime_errors() as error:
            raise self._load_error(error) from None
        # It keeps the bytes to retry on other providers, and there are none.
        self._session._model_bytes = None
        self.inputs = tuple(self._spec(node) for node in self._session.get_inputs())
        self.outputs = tuple(self._spec(node) for node in self._session.get_outputs())

    def _load_error(self, error: Exception) -> BackendError:
        """Return the error for a graph that does not load."""
        problem = f"ONNX Runtime cannot load the {self.name} graph"
        if _OUT_OF_MEMORY.search(str(error)):
            problem = f"memory ran out while the {self.name} graph was loaded"
        return BackendError(f"{problem}: {first_line(error)}")

    def _spec(self, node: Any) -> TensorSpec:
        if node.type not in _DTYPES:
            raise BackendError(
                f"the {self.name} graph: {node.name} has the type {node.type}",
                expected=f"one of {', '.join(_DTYPES)}",
            )
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
        """Return the error for a failed run of ``batch`` images."""
        if _OUT_OF_MEMORY.search(str(error)):
            return BackendError(
                f"memory ran out in the {self.name} graph on backend {self.backend!r} with a "
                f"batch of {batch}",
                field="batch_size",
                value=batch,
                remedy=f"Pass a smaller batch: `batch_size {batch // 2}`." if batch > 1 else "",
            )
        return BackendError(f"ONNX Runtime failed in the {self.name} graph: {first_line(error)}")

    def _close(self) -> None:
        self._session = None


class OnnxRuntimeSession(OrtSession):
    """One graph on ONNX Runtime's CPUExecutionProvider; see ``Session``."""

    backend = "cpu"

    def __init__(
        self, model_bytes: bytes, *, name: str, config: SessionConfig | None = None
    ) -> None:
        problem = self.why_not()
        if problem is not None:
            raise problem
        super().__init__(
            model_bytes,
            name=name,
            config=config or SessionConfig(),
            provider=("CPUExecutionProvider", {}),
        )

    @staticmethod
    def why_not() -> BackendError | None:
        """Return why ONNX Runtime cannot work here; None where it seems to."""
        try:
            import onnxruntime
        except ImportError as error:
            return BackendError(
                f"backend 'cpu' needs onnxruntime, which cannot be imported ({error})",
                field="backend",
                value="cpu",
                remedy="Run: pip install onnxruntime",
            )
        if not hasattr(onnxruntime, "InferenceSession"):
            # Two packages share the module's folder; uninstalling one of them leaves this.
            return BackendError(
                "backend 'cpu' needs onnxruntime, and the installed one is incomplete",
                field="backend",
                value="cpu",
                remedy="Run: pip install --force-reinstall --no-deps onnxruntime",
            )
        return None


def first_line(error: Exception) -> str:
    """Return a message without ONNX Runtime's code, source location and full stop."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", lines[0])
    text = re.sub(r"/\S+\.(?:cc|h):\d+ ", "", text)
    return text[:300].rstrip(". ")
