"""``ForeignModel``: a generator in another project's file, before it is translated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

LAYOUTS = ("ada", "rosinality", "segan-pytorch")


class TensorSource(Protocol):
    """A tensor in a file, whose values are not read yet."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape."""
        ...

    def read(self) -> NDArray[np.float32]:
        """Read the values into a new contiguous float32 array."""
        ...


@dataclass(kw_only=True)
class ForeignModel:
    """A generator in a file, before translation to segan's names.

    Attributes:
        layout: ``ada``, ``rosinality`` or ``segan-pytorch``.
        container: display name of the file format.
        weights: name of the network within the file, such as ``G_ema``.
        tensors: records by name; their values are not read yet.
        settings: numbers and texts stored with the tensors, by module name; "" is the network.
        latent_avg: the mean of w that rosinality stores.
        sha256: hash of the file.
        size: size of the file in bytes.
        notes: what a user should know.
    """

    layout: str
    container: str
    weights: str
    tensors: Mapping[str, TensorSource]
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    latent_avg: TensorSource | None = None
    sha256: str = ""
    size: int = 0
    notes: list[str] = field(default_factory=list)
