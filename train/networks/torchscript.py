"""Loading a TorchScript file: the one place where segan runs a network that came in a file.

TorchScript is a program. ``torch.jit.load`` unpickles nothing of Python's, but the program may call
any operator of PyTorch, among them some that read files, and PyTorch's reader is not hardened
against crafted files. So a file is loaded only if its sha256 is a published one, or if the user
named the file; see ``segan.train.measure.quality.detector_files``.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch

from segan.runtime.errors import DataError


def load_torchscript(path: Path, device: torch.device, *, remedy: str) -> Any:
    """The network in evaluation mode, without gradients of its parameters.

    Args:
        path: the file.
        device: where it computes.
        remedy: what to do about a file that cannot be loaded, a sentence.

    Raises:
        DataError: it is missing or not TorchScript.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist. {remedy}")
    try:
        with warnings.catch_warnings():
            # torch announces the end of TorchScript, which the published files need.
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", FutureWarning)
            network = torch.jit.load(str(path), map_location=device)
    except (RuntimeError, ValueError, OSError, EOFError) as error:
        raise DataError(f"{path} is not TorchScript ({first_line(error)}). {remedy}") from None
    network.eval()
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    return network


def first_line(error: BaseException) -> str:
    """The beginning of an error's text, for a message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
