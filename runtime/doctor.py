"""What works on this machine: the cache, the backends and the image encoders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import features

from segan.runtime.backends.choose import open_session, why_not
from segan.runtime.backends.registry import BACKENDS
from segan.runtime.backends.session import SessionConfig
from segan.runtime.errors import BackendError, OutputError
from segan.runtime.files.cache import cache_folder, cache_root
from segan.runtime.graphs.check import SafeModel
from segan.runtime.pictures.video import mp4_encoder

#: y = -x with x [N, 1] float32 (opset 18): a small graph to test a backend with.
_NEGATION = SafeModel((Path(__file__).parent / "backends" / "negation.onnx").read_bytes())


def describe_cache() -> dict[str, str | None]:
    """Return ``folder``, of compiled models, and ``problem``, why it is unusable, or None."""
    problem = None
    if cache_root().exists():
        try:
            cache_folder(".")
        except OutputError as error:
            problem = str(error)
    return {"folder": str(cache_root()), "problem": problem}


def describe_backends() -> dict[str, dict[str, Any]]:
    """Return for each backend ``works``, ``problem`` and the ``precisions`` that it supports here.

    ``problem`` is why it does not work and what to do, or None.
    """
    return {
        name: {
            "works": problem is None,
            "problem": problem,
            "precisions": [] if problem is not None else _precisions(name),
        }
        for name, problem in try_backends().items()
    }


def _precisions(backend: str) -> list[str]:
    """Return what a working backend computes in here, given a bundle with every graph."""
    entry = BACKENDS[backend]
    unsupported = entry.session_class().unsupported()
    return [str(name) for name in entry.reads if name not in unsupported]


def try_backends() -> dict[str, str | None]:
    """Let each backend compute a small model; return the problem of each, or None."""
    return {backend: _try(backend) for backend in BACKENDS}


def _try(backend: str) -> str | None:
    problem = why_not(backend)
    if problem is not None:
        return str(problem)
    values = np.arange(3, dtype=np.float32)[:, None]
    config = SessionConfig(threads=1)
    try:
        with open_session(_NEGATION, backend, name="trial", config=config) as session:
            result = session.run({"x": values})["y"]
    except BackendError as error:
        return str(error)
    return None if np.array_equal(result, -values) else "it computes wrong results."


def describe_encoders() -> dict[str, str | None]:
    """Return for each output format what writes it, or None."""
    return {
        "png": "Pillow" if features.check("zlib") else None,
        "jpeg": "Pillow" if features.check("jpg") else None,
        "webp": "Pillow" if features.check("webp") else None,
        "gif": "Pillow",
        "mp4": {"av": "PyAV", "ffmpeg": "the ffmpeg program", None: None}[mp4_encoder()],
    }
