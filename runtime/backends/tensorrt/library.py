"""TensorRT 10 and 11 and TensorRT for RTX behind one adapter: what differs between them.

``import tensorrt`` is tried first, then ``tensorrt_rtx``. Both have nearly the same Python
interface. What differs:

    ================  ===============================  ==========================================
    what              tensorrt                         tensorrt_rtx
    ================  ===============================  ==========================================
    builds            on the GPU that will run         on any machine, for stated capabilities
    remembers         timings, in the builder          compiled kernels, in the runtime
    CUDA graphs       captured by us, per shape        captured by itself, one setting
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

from segan.runtime.errors import BackendError

#: Modules that hold the interface, best first. The last is what tensorrt_rtx re-exports.
_MODULES = ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings")

INSTALL = (
    "Run: pip install 'segan[tensorrt]', or for GeForce RTX: pip install 'segan[tensorrt-rtx]'"
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
        log: collects what the library says; it must outlive everything made with it.
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
        """Compute capabilities that it builds for without a GPU, such as 8.9; none with TensorRT.

        Named by the library itself.
        """
        kinds = getattr(self.module, "ComputeCapability", None) if self.is_rtx else None
        found = [] if kinds is None else [*kinds.__members__]
        numbers = [name.removeprefix("SM") for name in found if re.fullmatch(r"SM\d+", name)]
        return tuple(f"{number[:-1]}.{number[-1]}" for number in numbers)

    def first_error(self) -> str:
        """What the library said was wrong since the last time, ending in a full stop."""
        lines = self.log.take()
        return (lines[0][:400].rstrip(". ") if lines else "it gave no reason") + "."


@cache
def find_library() -> Library | None:
    """The library that is installed; None without one. TensorRT goes before TensorRT for RTX."""
    for name in _MODULES:
        try:
            module = importlib.import_module(name)
        except (ImportError, OSError):
            continue
        # Some indexes hold a package of that name with nothing in it.
        if hasattr(module, "Builder"):
            return wrap_library(module, name.removesuffix("_bindings"))
    return None


def wrap_library(module: Any, name: str) -> Library:
    """A module with TensorRT's interface as a ``Library``."""
    return Library(
        name=name, version=str(module.__version__), module=module, log=_collector(module)
    )


def why_no_library() -> str | None:
    """Why neither library can be used, with what to do; None where one can."""
    if find_library() is not None:
        return None
    return (
        "backend 'tensorrt' needs TensorRT 10 or newer, or TensorRT for RTX, and neither can be "
        f"imported. {INSTALL}"
    )


def _collector(module: Any) -> Any:
    """A logger that keeps errors for our own messages; the rest is dropped."""

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
    """A message without its caller and source location."""
    text = re.sub(r"^\w+::\w+: Error Code \d+: ", "", message.strip())
    text = re.sub(r"\s*In \w+ at [^\s:]+:\d+\s*", "", text)
    return text.replace("((", "(").replace("))", ")").replace(".)", ")")


def library_error(library: Library, what: str, batch: int | None = None) -> BackendError:
    """What to raise after a call that failed; says that memory ran out where it did.

    Args:
        library: whose call failed.
        what: what was being done.
        batch: images at once.
    """
    reason = library.first_error()
    if re.search(r"out of ?memory|OutOfMemory|memory allocation|cudaError 2\b", reason, re.I):
        return out_of_memory(what, batch)
    return BackendError(f"{what}: {reason}")


def out_of_memory(what: str, batch: int | None = None) -> DeviceMemoryError:
    """The GPU's memory ran out.

    Args:
        what: what was being done.
        batch: images at once, where they were too many.
    """
    if batch is None or batch == 1:
        hint = "Close other programs that use the GPU, or try --precision fp16"
    else:
        hint = f"Use a smaller one, such as --batch-size {max(1, batch // 2)}"
    many = "" if batch is None else f" for a batch of {batch}"
    return DeviceMemoryError(f"{what}: the GPU's memory does not suffice{many}. {hint}.")
