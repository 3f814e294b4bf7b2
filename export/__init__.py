"""Export: a checkpoint becomes a verified bundle of three ONNX graphs.

>>> from segan.export import ExportConfig, export_bundle
>>> result = export_bundle("runs/00000-faces", "faces.segan", ExportConfig(lowering="subpixel"))
>>> result.verification.max_error
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segan.export.exporter import ExportConfig, export_bundle
    from segan.export.finishing import ExportResult

__all__ = ["ExportConfig", "ExportResult", "export_bundle"]


def __getattr__(name: str) -> Any:
    """Imports the public names, and torch with them, on first use."""
    if name in __all__:
        import importlib

        return getattr(importlib.import_module("segan.export.exporter"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
