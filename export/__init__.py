"""Generator → verified bundle, from any origin; sliders and latents for it. Needs PyTorch and onnx.

>>> from segan.export import ExportConfig, export_bundle
>>> result = export_bundle("runs/00000-faces", "faces.segan", ExportConfig(precisions=("fp16",)))
>>> result.verification.max_error

Importing ``segan.export`` imports neither PyTorch nor onnx; using one of its names does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segan.export.directions.addition import DirectionsResult
    from segan.export.directions.attributes.onnx_reader import OnnxReader, Preprocessing
    from segan.export.directions.attributes.write import (
        AttributesConfig,
        AttributesResult,
        write_attribute_directions,
    )
    from segan.export.directions.write import DirectionsConfig, write_directions
    from segan.export.exporter import ExportConfig, export_bundle
    from segan.export.finishing import ExportResult
    from segan.export.foreign.load import ImportedGenerator, load_foreign
    from segan.export.importer import ImportConfig, ImportResult, import_model
    from segan.export.projection.files import write_projection
    from segan.export.projection.project import Projection, ProjectionConfig, project_image
    from segan.export.tuning import TuneConfig
    from segan.export.verify import VerifyResult

__all__ = [
    "AttributesConfig",
    "AttributesResult",
    "DirectionsConfig",
    "DirectionsResult",
    "ExportConfig",
    "ExportResult",
    "ImportConfig",
    "ImportResult",
    "ImportedGenerator",
    "OnnxReader",
    "Preprocessing",
    "Projection",
    "ProjectionConfig",
    "TuneConfig",
    "VerifyResult",
    "export_bundle",
    "import_model",
    "load_foreign",
    "project_image",
    "write_attribute_directions",
    "write_directions",
    "write_projection",
]

#: Module → its public names.
_MODULES = {
    "segan.export.directions.addition": ("DirectionsResult",),
    "segan.export.directions.attributes.onnx_reader": ("OnnxReader", "Preprocessing"),
    "segan.export.directions.attributes.write": (
        "AttributesConfig",
        "AttributesResult",
        "write_attribute_directions",
    ),
    "segan.export.directions.write": ("DirectionsConfig", "write_directions"),
    "segan.export.exporter": ("ExportConfig", "export_bundle"),
    "segan.export.finishing": ("ExportResult",),
    "segan.export.foreign.load": ("ImportedGenerator", "load_foreign"),
    "segan.export.importer": ("ImportConfig", "ImportResult", "import_model"),
    "segan.export.projection.files": ("write_projection",),
    "segan.export.projection.project": ("Projection", "ProjectionConfig", "project_image"),
    "segan.export.tuning": ("TuneConfig",),
    "segan.export.verify": ("VerifyResult",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name in _HOME:
        import importlib

        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
