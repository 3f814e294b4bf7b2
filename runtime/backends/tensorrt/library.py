"""TensorRT 10 and 11 and TensorRT for RTX behind one adapter.

``import tensorrt`` is tried first, then ``tensorrt_rtx``. Both have nearly the same Python
interface. What differs:

    ================  ===============================  ==========================================
    what              tensorrt                         tensorrt_rtx
    ================  ===============================  ==========================================
    builds            on the GPU that will run         on any machine, for stated capabilities
    caches            timings, in the builder          compiled kernels, in the runtime
    CUDA graphs       captured by segan, per shape     captured by the library, by one setting
    typing            STRONGLY_TYPED: needed on 10,    always strong
                      the only way on 11
    ================  ===============================  ==========================================
"""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from segan.runtime.errors import NO_VALUE, BackendError

#: Modules with the interface, best first. tensorrt_rtx re-exports the last one.
_MODULES = ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings")

INSTALL = (
    "Run: pip install 'segan[tensorrt]', or for GeForce RTX: pip install 'segan[tensorrt-rtx]'"
)


def missing(problem: str, remedy: str) -> BackendError:
    """Return the error for something that the backend needs."""
    return BackendError(
        f"backend 'tensorrt' needs {problem}", field="backend", value="tensorrt", remedy=remedy
    )


class DeviceMemoryError(BackendError):
    """The GPU's memory ran out."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Library:
    """One of the two libraries.

    Attributes:
        name: ``tensorrt`` or ``tensorrt_rtx``.
        version: of the library, for example ``10.13.3.9``.
        module: the Python interface.
        log: collects the library's messages; it must outlive everything made with it.
    """

    name: str
    version: str
    module: Any
    log: Any

    @property
    def is_rtx(self) -> bool:
        """Whether it is TensorRT for RTX."""
        return self.name == "tensorrt_rtx"

    def capabilities(self) -> tuple[str, ...]:
        """Return the compute capabilities that the library builds for without a GPU, such as 8.9.

        Empty with TensorRT, which builds on the GPU that runs the engine.
        """
        kinds = getattr(self.module, "ComputeCapability", None) if self.is_rtx else None
        found = [] if kinds is None else [*kinds.__members__]
        numbers = [name.removeprefix("SM") for name in found if re.fullmatch(r"SM\d+", name)]
        return tuple(f"{number[:-1]}.{number[-1]}" for number in numbers)

    def first_error(self) -> str:
        """Return the library's first error since the last call, without a full stop."""
        lines = self.log.take()
        return lines[0][:400].rstrip(". ") if lines else "it gave no reason"


@cache
def find_library() -> Library | None:
    """Return the installed library, or None; TensorRT is preferred to TensorRT for RTX."""
    for name in _MODULES:
        try:
            module = importlib.import_module(name)
        except (ImportError, OSError):
            continue
        # Some indexes have an empty package of that name.
        if hasattr(module, "Builder"):
            return wrap_library(module, name.removesuffix("_bindings"))
    return None


def wrap_library(module: Any, name: str) -> Library:
    """Return a module with TensorRT's interface as a ``Library``."""
    return Library(
        name=name, version=str(module.__version__), module=module, log=_collector(module)
    )


def require_library() -> Library:
    """Return the installed library. Raises: BackendError, where there is none."""
    library = find_library()
    if library is None:
        raise missing(
            "TensorRT 10 or newer, or TensorRT for RTX, and neither can be imported", INSTALL
        )
    return library


def _collector(module: Any) -> Any:
    """Return a logger that keeps errors, for segan's own messages, and drops the rest."""

    class Collector(module.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self._lines: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (module.ILogger.ERROR, module.ILogger.INTERNAL_ERROR):
                self._lines.append(_plain(message))
                del self._lines[:-20]

        def take(self) -> list[str]:
            lines, self._lines = self._lines, []
            return lines

    return Collector()


def _plain(message: str) -> str:
    """Return a message without its caller and source location."""
    text = re.sub(r"^\w+::\w+: Error Code \d+: ", "", message.strip())
    text = re.sub(r"\s*In \w+ at [^\s:]+:\d+\s*", "", text)
    return text.replace("((", "(").replace("))", ")").replace(".)", ")")


def library_error(library: Library, what: str, batch: int | None = None) -> BackendError:
    """Return the error for a failed call of the library; it tells out-of-memory apart.

    Args:
        library: that failed.
        what: what failed, as the beginning of a message.
        batch: images at once; None outside of a batch.
    """
    reason = library.first_error()
    if re.search(r"out of ?memory|OutOfMemory|memory allocation|cudaError 2\b", reason, re.I):
        return out_of_memory(what, batch)
    return BackendError(f"{what}: {reason}")


def out_of_memory(what: str, batch: int | None = None) -> DeviceMemoryError:
    """Return the error for a lack of GPU memory.

    Args:
        what: what failed, as the beginning of a message.
        batch: images at once; None outside of a batch.
    """
    if batch is None or batch == 1:
        remedy = "Close other programs that use the GPU, or pass `precision fp16`."
    else:
        remedy = f"Pass a smaller batch: `batch_size {batch // 2}`."
    size = "" if batch is None else f" for a batch of {batch}"
    return DeviceMemoryError(
        f"{what}: the GPU does not have enough memory{size}",
        field=None if batch is None else "batch_size",
        value=NO_VALUE if batch is None else batch,
        remedy=remedy,
    )
