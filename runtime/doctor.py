"""What this machine has: cores, instruction sets, memory, working backends, image encoders."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import features

from segan.runtime.backends.choose import open_session, why_not
from segan.runtime.backends.registry import BACKENDS
from segan.runtime.backends.session import SessionConfig
from segan.runtime.errors import BackendError, OutputError
from segan.runtime.files.cache import cache_folder, cache_root
from segan.runtime.pictures.video import mp4_encoder

#: A whole ONNX model, y = -x with x [N, 1] float32 (opset 18): enough to see a backend compute.
_NEGATION = bytes.fromhex(
    "08083a3c0a0b0a017812017922034e65671201675a140a0178120f0a0d080112090a0312014e0a0208016214"
    "0a0179120f0a0d080112090a0312014e0a02080142040a001012"
)


def describe_cache() -> dict[str, str | None]:
    """``folder`` that compiled models lie in, and ``problem``, why it cannot be used, or None."""
    problem = None
    if cache_root().exists():
        try:
            cache_folder(".")
        except OutputError as error:
            problem = str(error)
    return {"folder": str(cache_root()), "problem": problem}


def describe_backends() -> dict[str, dict[str, Any]]:
    """Each backend with ``works``, ``problem`` and the ``precisions`` that it computes in here.

    ``problem`` says why it does not work and what to do, or is None.
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
    """Each backend with None when it computed a small model rightly, else what went wrong."""
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
    return None if np.array_equal(result, -values) else "computes wrong results."


def describe_encoders() -> dict[str, str | None]:
    """Each output format with what writes it, or None when nothing does."""
    return {
        "png": "Pillow" if features.check("zlib") else None,
        "jpeg": "Pillow" if features.check("jpg") else None,
        "webp": "Pillow" if features.check("webp") else None,
        "gif": "Pillow",
        "mp4": {"av": "PyAV", "ffmpeg": "the ffmpeg program", None: None}[mp4_encoder()],
    }
