"""Bundle → images, with numpy and Pillow alone; no torch, no onnx.

>>> from segan.runtime import load
>>> g = load("faces.segan")
>>> images = g.generate(seeds=range(16), psi=0.7)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segan.runtime.bundle.layout import Slider
    from segan.runtime.generate.generator import Generator, load
    from segan.runtime.latents.options import GenerationOptions

__all__ = ["GenerationOptions", "Generator", "Slider", "load"]

_HOME = {
    "GenerationOptions": "segan.runtime.latents.options",
    "Generator": "segan.runtime.generate.generator",
    "load": "segan.runtime.generate.generator",
    "Slider": "segan.runtime.bundle.layout",
}


def __getattr__(name: str) -> Any:
    """Import the public names on first use, so that ``import segan.runtime.errors`` is light."""
    if name in _HOME:
        import importlib

        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
