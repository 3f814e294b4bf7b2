"""The record of a model whose images were measured."""

from __future__ import annotations

import msgspec


class ModelRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured.

    Attributes:
        path: of the checkpoint's folder or the bundle.
        kind: ``checkpoint`` or ``bundle``.
        kimg: thousand real images that its training had shown; None where that is not known.
        sha256: of a checkpoint's exported weights, or of the hashes of the bundle's graphs that
            were run.
    """

    path: str
    kind: str
    kimg: float | None
    sha256: str
