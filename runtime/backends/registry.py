"""The table of backends: one record for each, with everything that other modules need to know.

Importing it loads neither numpy nor a backend, so that the command line's help can list the names.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segan.runtime.backends.session import Precision, Session

_ROOM = "segan.runtime.backends"


@dataclass(frozen=True, kw_only=True)
class Backend:
    """One backend.

    Attributes:
        session: ``module:Class`` of its ``Session``.
        graphs: ``module:Class`` of its ``BundleGraphs``.
        reads: each precision that it computes in → precision of the graph that it reads.
        preferred: precisions for ``auto``, best first; the first whose graph a bundle has is used.
        on_gpu: whether it computes on an NVIDIA GPU.
        packages: distributions whose versions determine its speed.
    """

    session: str
    graphs: str = f"{_ROOM}.graphs:BundleGraphs"
    reads: Mapping[Precision, Precision]
    preferred: tuple[Precision, ...]
    on_gpu: bool = False
    packages: tuple[str, ...]

    def session_class(self) -> type[Session]:
        """Import and return the class that runs one graph."""
        found: type[Session] = _load(self.session)
        return found

    def graphs_class(self) -> Any:
        """Import and return the class that runs a bundle's graphs, a ``BundleGraphs``."""
        return _load(self.graphs)


def _load(name: str) -> Any:
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


#: Every backend by its name, best first. A GPU computes fp16 by default, since verification has
#: compared it; a CPU computes fp32.
BACKENDS: dict[str, Backend] = {
    "tensorrt": Backend(
        session=f"{_ROOM}.tensorrt.session:TensorRTSession",
        graphs=f"{_ROOM}.tensorrt.graphs:TensorRTGraphs",
        reads={"fp32": "fp32", "fp16": "fp16", "bf16": "bf16"},
        preferred=("fp16", "fp32"),
        on_gpu=True,
        packages=("tensorrt", "tensorrt-rtx", "cuda-bindings"),
    ),
    "cuda": Backend(
        session=f"{_ROOM}.cuda.session:CudaSession",
        graphs=f"{_ROOM}.cuda.graphs:CudaGraphs",
        reads={"fp32": "fp32", "fp16": "fp16"},
        preferred=("fp16", "fp32"),
        on_gpu=True,
        packages=("onnxruntime-gpu",),
    ),
    "openvino": Backend(
        session=f"{_ROOM}.openvino:OpenVinoSession",
        # With the hint bf16 it computes an fp32 graph in bf16 where that is faster.
        reads={"fp32": "fp32", "bf16": "fp32", "int8": "int8"},
        preferred=("fp32",),
        packages=("openvino",),
    ),
    "cpu": Backend(
        session=f"{_ROOM}.onnxruntime:OnnxRuntimeSession",
        reads={"fp32": "fp32", "fp16": "fp16", "int8": "int8"},
        preferred=("fp32",),
        packages=("onnxruntime",),
    ),
}
