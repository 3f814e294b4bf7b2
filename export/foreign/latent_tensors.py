"""Latents from PyTorch files, such as those of rosinality's projector. Only tensors are read."""

from __future__ import annotations

import warnings
from _pickle import UnpicklingError  # the exception alone: torch raises it
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from segan.runtime.bundle.manifest import Manifest
from segan.runtime.errors import DataError
from segan.runtime.files.arrays import MAX_BYTES
from segan.runtime.latents.files import LATENT_KEYS, Latents, join_latents, latents_of_arrays

#: Names of tensors whose two dimensions are the rows of one image's W+, as rosinality saves them.
_ROW_KEYS = ("ws", "latent", "w_plus", "w")

#: Errors that torch.load raises for damaged files, and for files with more than tensors.
_DAMAGED = (
    UnpicklingError,
    RuntimeError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    AssertionError,
    EOFError,
    MemoryError,
    RecursionError,
)


def read_tensor_latents(path: Path, manifest: Manifest) -> Latents:
    """Read a .pt file that holds a tensor, tensors by name, or tensors by name for each image.

    rosinality's projector writes {image: {"latent": [w_dim] or [num_ws, w_dim], ...}}.

    Raises:
        DataError: the file is missing, damaged, or holds more than tensors, or shapes do not fit
            the bundle.
    """
    found = _load(path)
    if isinstance(found, torch.Tensor):
        return _latents({"": found}, manifest, str(path))
    if not isinstance(found, Mapping) or not found:
        expected = f"a tensor, or tensors by name ({', '.join(LATENT_KEYS)})"
        raise _error(path, f"holds {type(found).__name__}", expected=expected)
    nested = [value for value in found.values() if isinstance(value, Mapping)]
    if len(nested) == len(found):
        parts = [_latents(value, manifest, f"{path}: {name}") for name, value in found.items()]
        return join_latents(parts, manifest)
    return _latents(found, manifest, str(path))


def _error(path: Path | str, problem: str, **data: str) -> DataError:
    return DataError(f"{path} {problem}", field="latents", value=path, **data)


def _load(path: Path) -> Any:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise _error(path, f"has more than {MAX_BYTES} bytes", remedy="Give a file of latents.")
        with warnings.catch_warnings():
            # torch warns about old file formats.
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise _error(path, "does not exist", remedy="Give an .npz, .npy or .pt file.") from None
    except OSError as error:
        raise _error(path, f"cannot be read: {error.strerror or error}") from None
    except _DAMAGED as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        problem = f"is damaged, or holds more than tensors: {first[:160]}"
        raise _error(path, problem, remedy="Save plain tensors, or .npz.") from None


def _latents(values: Mapping[Any, Any], manifest: Manifest, where: str) -> Latents:
    arrays: dict[str, NDArray[np.generic]] = {}
    for name, value in values.items():
        if isinstance(value, torch.Tensor) and not value.is_complex():
            if value.layout != torch.strided or value.is_quantized:
                raise _error(f"{where}: {name}", "is not a dense tensor", remedy="Save plain ones.")
            if len(values) > 1 and str(name) not in (*LATENT_KEYS, "coords"):
                continue
            # Strides of 0 can make a few stored bytes a very large tensor.
            if value.numel() * 8 > MAX_BYTES:
                expected = f"at most {MAX_BYTES // 8}"
                raise _error(f"{where}: {name}", f"has {value.numel()} values", expected=expected)
            arrays[str(name)] = value.detach().to(torch.float64).numpy()
    return latents_of_arrays(arrays, manifest, where, row_keys=_ROW_KEYS)
