"""Choosing a backend and a precision that work here, and opening a graph on a backend."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import cast, get_args

from segan.runtime.backends.registry import BACKENDS
from segan.runtime.backends.session import Precision, Session, SessionConfig
from segan.runtime.errors import BackendError, ConfigError


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What will compute.

    Attributes:
        backend: one of ``BACKENDS``.
        precision: of the computation.
        graph: precision of the graph that is read.
        passed_over: better backends that cannot be used, with the reason.
    """

    backend: str
    precision: Precision
    graph: Precision
    passed_over: dict[str, str] = field(default_factory=dict)


def check_backend(backend: str) -> str:
    """Return the name. Raises: ConfigError, which lists the names that exist."""
    return _check_name("backend", backend, ("auto", *BACKENDS))


def check_precision(precision: str) -> str:
    """Return the name. Raises: ConfigError, which lists the names that exist."""
    return _check_name("precision", precision, ("auto", *get_args(Precision)))


def _check_name(setting: str, name: str, names: tuple[str, ...]) -> str:
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        raise ConfigError(
            field=setting,
            value=name,
            expected=f"one of {', '.join(names)}",
            remedy=f"Did you mean {near[0]!r}?" if near else "",
        )
    return name


def why_not(backend: str) -> BackendError | None:
    """Return why a backend cannot work on this machine; None where it seems to work.

    Looks for packages and devices, and computes nothing.
    """
    return BACKENDS[backend].session_class().why_not()


def precisions_of(backend: str, graphs: Iterable[str]) -> tuple[Precision, ...]:
    """Return the precisions that a backend computes in, given those of a bundle's graphs."""
    available = set(graphs)
    return tuple(name for name, graph in BACKENDS[backend].reads.items() if graph in available)


def candidates(
    backend: str = "auto", precision: str = "auto", graphs: Iterable[str] = ("fp32",)
) -> list[Choice]:
    """Return what can compute here, best first; with a backend's name, that backend alone.

    Args:
        backend: ``auto`` or one of ``BACKENDS``.
        precision: ``auto`` or one of fp32, fp16, bf16, int8.
        graphs: the precisions of a bundle's synthesis graphs.

    Raises:
        ConfigError: an unknown name, or a precision that the backend does not compute in or that
            the bundle has no graph for.
        BackendError: the backend cannot work on this machine.
    """
    check_backend(backend)
    check_precision(precision)
    available = tuple(graphs)
    found: list[Choice] = []
    passed_over: dict[str, str] = {}
    misfits = 0
    for name in BACKENDS if backend == "auto" else (backend,):
        misfit = _misfit(name, precision, available)
        misfits += misfit is not None
        problem = misfit or why_not(name)
        if problem is None:
            entry = BACKENDS[name]
            wanted = entry.preferred if precision == "auto" else (cast(Precision, precision),)
            taken = next(p for p in wanted if entry.reads[p] in available)
            found.append(
                Choice(
                    backend=name,
                    precision=taken,
                    graph=entry.reads[taken],
                    passed_over=dict(passed_over),
                )
            )
        elif backend != "auto":
            raise problem
        passed_over[name] = str(problem or "")
    if not found:
        reasons = " ".join(passed_over.values())
        if misfits == len(BACKENDS):
            raise ConfigError(
                f"no backend computes {precision} from this bundle",
                field="precision",
                value=precision,
                remedy=reasons,
            )
        raise BackendError("no backend works here", remedy=reasons)
    return found


def _misfit(backend: str, precision: str, graphs: tuple[str, ...]) -> ConfigError | None:
    """Return why a backend cannot compute a bundle in a precision on any machine."""
    reads = BACKENDS[backend].reads
    if precision == "auto":
        return None
    if precision not in reads:
        return ConfigError(
            f"`precision` is {precision!r}, which backend {backend!r} does not support",
            field="precision",
            value=precision,
            expected=f"one of auto, {', '.join(reads)}",
        )
    graph = reads[cast(Precision, precision)]
    if graph not in graphs:
        return ConfigError(
            f"precision {precision} on backend {backend!r} reads the bundle's {graph} graph, and "
            f"this bundle has {', '.join(graphs)}",
            field="precision",
            value=precision,
            remedy=f"Write the graph with 'segan export --{graph}', or 'segan import' likewise.",
        )
    return None


def open_session(
    model_bytes: bytes,
    backend: str = "auto",
    *,
    name: str,
    config: SessionConfig | None = None,
) -> Session:
    """Load a graph.

    Args:
        model_bytes: the serialized ONNX model, with its weights inside.
        backend: ``auto`` or one of ``BACKENDS``.
        name: of the graph, for messages.
        config: how to compute.

    Raises:
        ConfigError: an unknown backend, or a setting out of its range.
        BackendError: the backend is missing or cannot load the model.
    """
    if backend == "auto":
        backend = candidates()[0].backend
    check_backend(backend)
    session = BACKENDS[backend].session_class()
    return session(model_bytes, name=name, config=config)
