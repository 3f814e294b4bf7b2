"""Choosing a backend and a precision by what works here, and opening a graph on it."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from segan.runtime.backends.session import Precision, Session, SessionConfig
from segan.runtime.errors import BackendError, ConfigError


@dataclass(frozen=True, kw_only=True)
class _Backend:
    """What a backend can do.

    Attributes:
        module: with ``why_not() -> str | None`` and ``open_graph(model, *, name, config)``.
        graphs: each precision that it computes in, with the precision of the graph that it reads.
        preferred: what ``auto`` takes, best first: the first whose graph the bundle has.
    """

    module: str
    graphs: Mapping[Precision, Precision]
    preferred: tuple[Precision, ...]


_ROOM = "segan.runtime.backends"

#: Best first. A GPU computes fp16 by default, since verification has compared it; a CPU fp32.
_TABLE: dict[str, _Backend] = {
    "tensorrt": _Backend(
        module=f"{_ROOM}.tensorrt.session",
        graphs={"fp32": "fp32", "fp16": "fp16", "bf16": "bf16"},
        preferred=("fp16", "fp32"),
    ),
    "cuda": _Backend(
        module=f"{_ROOM}.cuda.session",
        graphs={"fp32": "fp32", "fp16": "fp16"},
        preferred=("fp16", "fp32"),
    ),
    "openvino": _Backend(
        module=f"{_ROOM}.openvino",
        # It computes an fp32 graph in bf16 when it is told to, and decides where that pays.
        graphs={"fp32": "fp32", "bf16": "fp32", "int8": "int8"},
        preferred=("fp32",),
    ),
    "cpu": _Backend(
        module=f"{_ROOM}.onnxruntime",
        graphs={"fp32": "fp32", "fp16": "fp16", "int8": "int8"},
        preferred=("fp32",),
    ),
}

#: Precisions that a bundle may have synthesis graphs of.
GRAPHS: tuple[Precision, ...] = get_args(Precision)

#: The backends, best first; ``auto`` takes the first one that works here.
BACKENDS = tuple(_TABLE)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What will compute.

    Attributes:
        backend: one of ``BACKENDS``.
        precision: of the computation.
        graph: precision of the graph that is read.
        passed_over: better backends that were not taken, with the reason.
    """

    backend: str
    precision: Precision
    graph: Precision
    passed_over: dict[str, str] = field(default_factory=dict)


def check_backend(backend: str) -> str:
    """The name itself. Raises: ConfigError, listing what exists."""
    return _known("backend", backend, ("auto", *BACKENDS))


def check_precision(precision: str) -> str:
    """The name itself. Raises: ConfigError, listing what exists."""
    return _known("precision", precision, ("auto", *get_args(Precision)))


def _known(what: str, name: str, names: tuple[str, ...]) -> str:
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"{what} is {name!r}; expected one of {', '.join(names)}.{hint}")
    return name


def why_not(backend: str) -> str | None:
    """Why a backend cannot work on this machine, with what to do; None where it seems to.

    Looks for packages and devices; computes nothing.
    """
    found: str | None = _module(backend).why_not()
    return found


def _module(backend: str) -> Any:
    return importlib.import_module(_TABLE[backend].module)


def precisions_of(backend: str, graphs: Iterable[str]) -> tuple[Precision, ...]:
    """The precisions that a backend computes in, given the precisions of a bundle's graphs."""
    there = set(graphs)
    return tuple(name for name, graph in _TABLE[backend].graphs.items() if graph in there)


def candidates(
    backend: str = "auto", precision: str = "auto", graphs: Iterable[str] = ("fp32",)
) -> list[Choice]:
    """What can compute here, best first; with a backend's name, that one.

    Args:
        backend: ``auto`` or one of ``BACKENDS``.
        precision: ``auto`` or one of fp32, fp16, bf16, int8.
        graphs: the precisions of a bundle's synthesis graphs.

    Raises:
        ConfigError: an unknown name, or a precision that the backend does not have, or that the
            bundle has no graph for.
        BackendError: what was asked for cannot work on this machine.
    """
    check_backend(backend)
    check_precision(precision)
    there = tuple(graphs)
    found: list[Choice] = []
    passed_over: dict[str, str] = {}
    for name in BACKENDS if backend == "auto" else (backend,):
        entry = _TABLE[name]
        problem = _misfit(name, precision, there)
        wrong_use = problem is not None
        problem = problem or why_not(name)
        if problem is None:
            wanted = entry.preferred if precision == "auto" else (precision,)
            taken = next(p for p in wanted if entry.graphs[p] in there)  # type: ignore[index]
            found.append(
                Choice(
                    backend=name,
                    precision=taken,  # type: ignore[arg-type]
                    graph=entry.graphs[taken],  # type: ignore[index]
                    passed_over=dict(passed_over),
                )
            )
        elif backend != "auto":
            raise (ConfigError if wrong_use else BackendError)(problem)
        passed_over[name] = problem or ""
    if not found:
        names: dict[str, list[str]] = {}
        for name, reason in passed_over.items():
            names.setdefault(reason.replace(f"backend {name!r}", "it"), []).append(name)
        reasons = " ".join(f"{', '.join(those)}: {reason}" for reason, those in names.items())
        if all(_misfit(name, precision, there) for name in BACKENDS):
            raise ConfigError(f"no backend computes {precision} from this bundle. {reasons}")
        raise BackendError(f"no backend works here. {reasons}")
    return found


def _misfit(backend: str, precision: str, graphs: tuple[str, ...]) -> str | None:
    """Why a precision cannot be had of a backend and a bundle, whatever the machine."""
    entry = _TABLE[backend]
    if precision == "auto":
        return None
    if precision not in entry.graphs:
        return (
            f"precision is {precision!r}, which backend {backend!r} does not compute in; "
            f"expected one of auto, {', '.join(entry.graphs)}."
        )
    graph = entry.graphs[precision]  # type: ignore[index]
    if graph not in graphs:
        return (
            f"precision {precision} on backend {backend!r} reads a graph that this bundle does not "
            f"have (it has {', '.join(graphs)}). Write it with: segan export --{graph}"
        )
    return None


def open_session(
    model_bytes: bytes,
    backend: str = "auto",
    *,
    name: str,
    config: SessionConfig | None = None,
) -> Session:
    """Loads a graph.

    Args:
        model_bytes: the serialized ONNX model, with its weights inside.
        backend: ``auto`` or one of ``BACKENDS``.
        name: what the graph is, for messages.
        config: how to compute.

    Raises:
        ConfigError: an unknown backend, or a setting out of its range.
        BackendError: the backend is missing or cannot load the model.
    """
    config = config or SessionConfig()
    if backend == "auto":
        backend = candidates()[0].backend
    check_backend(backend)
    session: Session = _module(backend).open_graph(model_bytes, name=name, config=config)
    return session
