"""The TensorRT engines of a whole bundle: for the GPU of this machine, or ahead of time."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from segan.runtime.backends.choose import precisions_of
from segan.runtime.backends.tensorrt.build import Progress, Target
from segan.runtime.backends.tensorrt.cache import engine_folder
from segan.runtime.backends.tensorrt.library import Library, find_library, require_library
from segan.runtime.backends.tensorrt.session import obtain
from segan.runtime.backends.tensorrt.settings import EngineSettings
from segan.runtime.bundle.graph_files import read_graph
from segan.runtime.bundle.reader import Bundle, open_bundle
from segan.runtime.errors import BackendError, ConfigError
from segan.runtime.machine.gpus import cuda_devices, why_no_gpu

#: Compute capabilities to build for ahead of time, where the library supports them. Older GPUs do
#: not multiply fp32 matrices there; for other GPUs, engines are built where they run.
DEFAULT_CAPABILITIES = ("8.0", "8.6", "8.9", "12.0")


@dataclass(frozen=True, kw_only=True)
class EngineFile:
    """One engine of a bundle.

    Attributes:
        graph: ``mapping``, ``offsets`` or ``synthesis``.
        precision: of the graph.
        path: of the engine; None when it could not be stored.
        size: bytes.
        seconds: duration of the build.
        was_built: False when a stored engine was used.
        target: the GPUs that it runs on, in words.
    """

    graph: str
    precision: str
    path: Path | None
    size: int
    seconds: float
    was_built: bool
    target: str


def parse_capabilities(text: str) -> tuple[str, ...]:
    """Read ``8.9,12.0`` and compare it with what the installed library builds for.

    Raises:
        ConfigError: the text is not a list of compute capabilities, the library does not build for
            one of them, or it does not build ahead of time.
    """
    found = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for part in found:
        if not re.fullmatch(r"\d{1,2}\.\d", part):
            raise ConfigError(
                field="trt_arch", value=text, expected="compute capabilities such as 8.9,12.0"
            )
    library = find_library()
    if library is None:
        return found
    accepted = library.capabilities()
    if not accepted:
        raise ConfigError(
            f"`trt_arch` is {text!r}, but {library.name} builds only for the GPU of this machine",
            field="trt_arch",
            value=text,
            remedy="Leave `trt_arch` out, or run: pip install 'segan[tensorrt-rtx]'",
        )
    for part in found:
        if part not in accepted:
            raise ConfigError(
                f"`trt_arch` is {text!r}, and {library.name} {library.version} does not build for "
                f"{part}",
                field="trt_arch",
                value=text,
                expected=f"some of {', '.join(accepted)}",
            )
    return found


def choose_target(capabilities: Sequence[str] = ()) -> tuple[Library, Target]:
    """Return the library that builds engines here, and the target to build for.

    Args:
        capabilities: build ahead of time for these; empty for the GPU of this machine, or without
            a GPU for ``DEFAULT_CAPABILITIES``.

    Raises:
        BackendError: no library is installed, or it needs a GPU and there is none.
    """
    library = require_library()
    if capabilities:
        return library, Target(capabilities=tuple(capabilities))
    problem = why_no_gpu()
    if problem is None:
        return library, Target.of(cuda_devices()[0])
    accepted = library.capabilities()
    if not accepted:
        raise BackendError(
            f"{library.name} builds engines on the GPU that runs them, but {problem}",
            remedy="Run this on a machine with a GPU. Or build ahead of time with TensorRT for "
            "RTX: pip install 'segan[tensorrt-rtx]'",
        )
    chosen = tuple(name for name in DEFAULT_CAPABILITIES if name in accepted)
    return library, Target(capabilities=chosen or accepted[-1:])


def build_engines(
    path: Path,
    *,
    capabilities: Sequence[str] = (),
    settings: EngineSettings | None = None,
    on_progress: Callable[[str, float, str], None] | None = None,
) -> tuple[EngineFile, ...]:
    """Build the engines of a bundle's graphs in all its precisions, where they are missing.

    Args:
        path: the bundle; engines are stored in its folder ``engines``, or in the user's cache
            where that cannot be written.
        capabilities: see ``choose_target``.
        settings: how to build.
        on_progress: called with the graph and its precision, the share that is done, 0 to 1, and a
            few words.

    Raises:
        BackendError: the engines cannot be built here.
        BundleError: the bundle is damaged.
        OutputError: engines cannot be stored.
    """
    library, target = choose_target(capabilities)
    bundle = open_bundle(path)
    folder = engine_folder(path)
    found = []
    for graph, precision in _graphs(bundle):
        stored = obtain(
            read_graph(bundle, graph, precision),
            name=graph,
            precision=precision,
            target=target,
            library=library,
            folder=folder,
            settings=settings,
            on_progress=_named(on_progress, f"{graph} {precision}"),
        )
        found.append(
            EngineFile(
                graph=graph,
                precision=precision,
                path=stored.path,
                size=stored.record.size,
                seconds=stored.record.seconds,
                was_built=stored.was_built,
                target=str(stored.record.target),
            )
        )
    return tuple(found)


def _graphs(bundle: Bundle) -> list[tuple[str, str]]:
    """Return (graph, precision) of every engine."""
    available = precisions_of("tensorrt", bundle.manifest.graphs.synthesis)
    return [("mapping", "fp32"), ("offsets", "fp32"), *(("synthesis", name) for name in available)]


def _named(on_progress: Callable[[str, float, str], None] | None, name: str) -> Progress | None:
    if on_progress is None:
        return None
    return lambda share, phase: on_progress(name, share, phase)
