"""Latents from PyTorch files, such as those of rosinality's projector; tensors alone are read."""

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

#: Names whose two dimensions are rows of one image's W+: rosinality saves each image by itself.
_ROW_KEYS = ("ws", "latent", "w_plus", "w")

#: What torch.load raises for damaged files and for those that hold more than tensors.
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
    """Reads a .pt file that holds a tensor, or tensors by name, or those by image.

    rosinality's projector writes {image: {"latent": [w_dim] or [num_ws, w_dim], ...}}.

    Raises:
        DataError: missing, damaged, holds more than tensors, or shapes that do not fit the bundle.
    """
    found = _load(path)
    if isinstance(found, torch.Tensor):
        return _latents({"": found}, manifest, str(path))
    if not isinstance(found, Mapping) or not found:
        raise DataError(
            f"{path} holds {type(found).__name__}; expected a tensor, or tensors by name "
            f"({', '.join(LATENT_KEYS)})."
        )
    nested = [value for value in found.values() if isinstance(value, Mapping)]
    if len(nested) == len(found):
        parts = [_latents(value, manifest, f"{path}: {name}") for name, value in found.items()]
        return join_latents(parts, manifest)
    return _latents(found, manifest, str(path))


def _load(path: Path) -> Any:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path} has more than {MAX_BYTES} bytes. Give a file of latents.")
        with warnings.catch_warnings():
            # What torch says of old containers is of no use to who only reads one.
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist. Give an .npz, .npy or .pt file.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None
    except _DAMAGED as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"{path} cannot be read as tensors alone: {first[:160]} Save the latents as plain "
            "tensors, or as .npz."
        ) from None


def _latents(values: Mapping[Any, Any], manifest: Manifest, where: str) -> Latents:
    arrays: dict[str, NDArray[np.generic]] = {}
    for name, value in values.items():
        if isinstance(value, torch.Tensor) and not value.is_complex():
            if value.layout != torch.strided or value.is_quantized:
                raise DataError(f"{where}: {name} is not a dense tensor. Save plain tensors.")
            if len(values) > 1 and str(name) not in (*LATENT_KEYS, "coords"):
                continue
            # A tensor's strides can make a few bytes look like a great many.
            if value.numel() * 8 > MAX_BYTES:
                raise DataError(f"{where}: {name} has {value.numel()} numbers. Save fewer.")
            arrays[str(name)] = value.detach().to(torch.float64).numpy()
    return latents_of_arrays(arrays, manifest, where, row_keys=_ROW_KEYS)
