"""The network of the built-in faces as a reader of attributes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from segan.runtime.readings.reading import Array
from segan.train.measure.control.attribute_files import shipped_attributes, shipped_resolutions
from segan.train.measure.control.attributes import NAMES, READINGS, read_attributes


class FaceReader:
    """Reads the 18 attributes of the built-in faces.

    Args:
        resolution: of the images; the network of the largest resolution up to it reads them.

    Raises:
        ConfigError: images smaller than the smallest network's.
    """

    readings = READINGS

    def __init__(self, resolution: int) -> None:
        fitting = [size for size in shipped_resolutions() if size <= resolution]
        self._loaded = shipped_attributes(max(fitting, default=resolution))

    def read(self, images: NDArray[np.float32]) -> Array:
        """Return outputs [N, width] of images [N, 3, R, R] in [-1, 1]."""
        return read_attributes(self._loaded.network, torch.from_numpy(images))

    def describe(self) -> dict[str, Any]:
        """Return what a bundle's provenance says of the reader."""
        return {"kind": "faces", "sha256": self._loaded.record.sha256, "scores": list(NAMES)}
