"""Bundle → images, with numpy and Pillow alone; no torch, no onnx.

>>> from segan.runtime import load
>>> g = load("faces.segan")
>>> images = g.generate(seeds=range(16), psi=0.7)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segan.runtime.generator import Generator, load
    from segan.runtime.layout import Slider

__all__ = ["Generator", "Slider", "load"]

_HOME = {"Generator": "generator", "load": "generator", "Slider": "layout"}


def __getattr__(name: str) -> Any:
    """Imports the public names on first use, so that ``import segan.runtime.errors`` is light."""
    if name in _HOME:
        import importlib

        return getattr(importlib.import_module(f"segan.runtime.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
