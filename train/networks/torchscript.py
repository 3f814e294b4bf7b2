"""Loading of TorchScript files, the only networks in files whose code segan runs.

TorchScript is a program. ``torch.jit.load`` unpickles no Python objects, but the program may call
any operator of PyTorch, some of which read files, and PyTorch's reader is not hardened against
crafted files. A file is therefore loaded only if its sha256 is a published one, or if the user
named the file; see ``segan.train.measure.quality.detector_files``.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch

from segan.runtime.errors import DataError


def load_torchscript(path: Path, device: torch.device, *, remedy: str) -> Any:
    """Load a network in evaluation mode, without gradients of its parameters.

    Args:
        path: the file.
        device: of the network.
        remedy: the next step where the file cannot be loaded, in sentences.

    Raises:
        DataError: it is missing or not TorchScript.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist", field="path", value=path, remedy=remedy)
    try:
        with warnings.catch_warnings():
            # torch deprecates TorchScript, but the published files need it.
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", FutureWarning)
            network = torch.jit.load(str(path), map_location=device)
    except (RuntimeError, ValueError, OSError, EOFError) as error:
        problem = f"{path} is not TorchScript ({first_line(error)})"
        raise DataError(problem, field="path", value=path, remedy=remedy) from None
    network.eval()
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    return network


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, at most 120 characters."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
