"""Measuring: quality of images, and what sliders control, of a checkpoint or a bundle.

Importing ``segan.train.measure`` imports no torch; the names below import it on first use.

>>> from segan.train.measure import open_model, score
>>> (record,) = score(open_model("runs/00000-faces-mode2-tiny"), ["fd_faces5k"])
>>> print(record.value, record.protocol)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segan.train.measure.models.model import ImageOptions, MeasuredModel
    from segan.train.measure.models.open import Compute, open_model
    from segan.train.measure.quality.evaluate import score
    from segan.train.measure.quality.record import ScoreRecord

__all__ = ["Compute", "ImageOptions", "MeasuredModel", "ScoreRecord", "open_model", "score"]

_HOME = {
    "Compute": "segan.train.measure.models.open",
    "ImageOptions": "segan.train.measure.models.model",
    "MeasuredModel": "segan.train.measure.models.model",
    "ScoreRecord": "segan.train.measure.quality.record",
    "open_model": "segan.train.measure.models.open",
    "score": "segan.train.measure.quality.evaluate",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name in _HOME:
        import importlib

        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
