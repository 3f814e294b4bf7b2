"""Opening a graph on a backend by name."""

from __future__ import annotations

from segan.runtime.errors import ConfigError
from segan.runtime.sessions.base import Session

#: The backends, best first; ``auto`` takes the first one that works here.
BACKENDS = ("cpu",)


def choose_backend(backend: str = "auto") -> str:
    """The backend's name, with ``auto`` resolved. Raises: ConfigError, listing what exists."""
    if backend == "auto":
        return BACKENDS[0]
    if backend not in BACKENDS:
        import difflib

        near = difflib.get_close_matches(backend, ("auto", *BACKENDS), n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ConfigError(
            f"backend is {backend!r}; expected one of auto, {', '.join(BACKENDS)}.{hint}"
        )
    return backend


def open_session(
    model_bytes: bytes,
    backend: str = "auto",
    *,
    name: str,
    threads: int | None = None,
    precision: str = "fp32",
    low_memory: bool = False,
) -> Session:
    """Loads a graph.

    Args:
        model_bytes: the serialized ONNX model, with its weights inside.
        backend: ``auto`` or one of ``BACKENDS``.
        name: what the graph is, for messages.
        threads: CPU threads; None takes the physical cores that the process may use.
        precision: of the graph, for information.
        low_memory: run with the least memory, which takes some time of each run.

    Raises:
        ConfigError: an unknown backend, or ``threads`` below 1.
        BackendError: the backend is missing or cannot load the model.
    """
    choose_backend(backend)
    from segan.runtime.sessions.onnxruntime import OnnxRuntimeSession

    return OnnxRuntimeSession(
        model_bytes, name=name, threads=threads, precision=precision, low_memory=low_memory
    )
