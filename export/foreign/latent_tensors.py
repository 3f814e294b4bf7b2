"""Latents from PyTorch files, such as those of rosinality's projector. Only tensors are read.

The files are read as data, by ``segan.export.foreign.inert``, within its bounds.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segan.export.foreign.container import read_root
from segan.export.foreign.inert.objects import TensorRecord
from segan.export.foreign.limits import MIN_WEIGHTS_BYTES, WEIGHTS_OF_FILE
from segan.runtime.bundle.manifest import Manifest
from segan.runtime.errors import CheckpointError, DataError
from segan.runtime.files.arrays import MAX_BYTES
from segan.runtime.latents.files import Latents, MapZ, join_latents, latents_of_arrays
from segan.runtime.latents.readings import LATENT_KEYS, ROW_KEYS, LatentSpace

#: Names of tensors whose two dimensions are the rows of one image's W+, as rosinality saves them.
_ROW_KEYS = (*ROW_KEYS, "w")

#: Most images of one file: each is a dictionary of its tensors.
_MAX_IMAGES = 10_000


def read_tensor_latents(
    path: Path,
    manifest: Manifest,
    *,
    latent_space: LatentSpace | None = None,
    map_z: MapZ | None = None,
) -> Latents:
    """Read a .pt file that holds a tensor, tensors by name, or tensors by name for each image.

    rosinality's projector writes {image: {"latent": [w_dim] or [num_ws, w_dim], ...}}.

    Args:
        path: the file.
        manifest: of the bundle to generate with.
        latent_space: see ``read_latents``.
        map_z: see ``read_latents``.

    Raises:
        DataError: the file is missing, damaged, or holds more than tensors, or shapes do not fit
            the bundle, or see ``read_latents``.
        ConfigError: see ``read_latents``.
    """
    try:
        with open(path, "rb") as file:
            size = file.seek(0, 2)
            if not 0 < size <= MAX_BYTES:
                expected = f"1 to {MAX_BYTES} bytes"
                raise _error(path, f"has {size} bytes", expected=expected)
            # The map is not closed here: records hold views of it.
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            found = read_root(file, data)
    except FileNotFoundError:
        raise _error(path, "does not exist", remedy="Give an .npz, .npy or .pt file.") from None
    except OSError as error:
        raise _error(path, f"cannot be read: {error.strerror or error}") from None
    except CheckpointError as error:
        remedy = f"{error.remedy} Save plain tensors, or .npz.".strip()
        problem = f"is damaged, or holds more than tensors: {error.problem}"
        raise _error(path, problem, expected=error.expected, remedy=remedy) from None
    if found is None:
        raise _error(path, "is not a file of torch.save", remedy="Save plain tensors, or .npz.")
    most = max(MIN_WEIGHTS_BYTES, WEIGHTS_OF_FILE * size)
    reader = _Reader(manifest, latent_space, map_z, most)
    return reader.read(found[0], path)


class _Reader:
    """Reads the latents among records of tensors, and counts their bytes."""

    def __init__(
        self,
        manifest: Manifest,
        latent_space: LatentSpace | None,
        map_z: MapZ | None,
        most: int,
    ) -> None:
        self._manifest, self._space, self._map_z = manifest, latent_space, map_z
        self._left = self._most = most

    def read(self, root: Any, path: Path) -> Latents:
        """Return the latents of the object that a file holds. Raises: DataError, ConfigError."""
        if isinstance(root, TensorRecord):
            return self._latents({"": root}, str(path))
        if not isinstance(root, Mapping) or not root:
            expected = f"a tensor, or tensors by name ({', '.join(LATENT_KEYS)})"
            raise _error(path, f"holds {type(root).__name__}", expected=expected)
        nested = {str(n)[:80]: v for n, v in root.items() if isinstance(v, Mapping)}
        if len(nested) < len(root):
            return self._latents(root, str(path))
        if len(nested) > _MAX_IMAGES:
            raise _error(path, f"holds {len(nested)} images", expected=f"at most {_MAX_IMAGES}")
        parts = [self._latents(value, f"{path}: {name}") for name, value in nested.items()]
        return join_latents(parts, self._manifest)

    def _latents(self, values: Mapping[Any, Any], where: str) -> Latents:
        arrays: dict[str, NDArray[np.generic]] = {}
        for name, value in values.items():
            if not isinstance(value, TensorRecord):
                continue
            if len(values) > 1 and str(name) not in (*LATENT_KEYS, "coords"):
                continue
            # Tensors may share one storage, so that a small file holds very many.
            self._left -= 4 * math.prod(value.shape)
            if self._left < 0:
                problem = f"holds tensors of more than {self._most} bytes"
                raise _error(where, problem, expected=f"at most {self._most}")
            arrays[str(name)] = value.read()
        return latents_of_arrays(
            arrays,
            self._manifest,
            where,
            row_keys=_ROW_KEYS,
            latent_space=self._space,
            map_z=self._map_z,
        )


def _error(path: Path | str, problem: str, **data: str) -> DataError:
    return DataError(f"{path} {problem}", field="latents", value=path, **data)
