"""Placeholder of this branch, replaced before it is merged."""

from __future__ import annotations

from segan.runtime.devices import why_no_gpu
from segan.runtime.errors import BackendError
from segan.runtime.sessions.base import Session, SessionConfig


def why_not() -> str | None:
    """Why it cannot work."""
    return why_no_gpu() or "it is not built yet"


def open_graph(model_bytes: bytes, *, name: str, config: SessionConfig) -> Session:
    """Refuses."""
    raise BackendError("not built yet")
