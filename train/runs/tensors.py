"""Reading and writing named tensors as safetensors: no code in the file, none run.

Every way in which such a file can be wrong is told apart, so that the message can say what it is.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from segan.runtime.errors import CheckpointError
from segan.runtime.files.atomic import write_atomic


def write_tensors(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Writes tensors by name, whole or not at all. Raises: OutputError."""
    write_atomic(path, save({name: value.contiguous() for name, value in tensors.items()}))


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Reads every tensor of a safetensors file, to the CPU.

    Raises:
        CheckpointError: missing, a pickle, cut short, or otherwise not safetensors.
    """
    check_tensor_file(path)
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} is cut short or damaged ({error}). Use an older checkpoint of the run."
        ) from None


def check_tensor_file(path: Path) -> None:
    """Raises CheckpointError for what is plainly not a safetensors file, and says what it is."""
    try:
        with open(path, "rb") as file:
            head = file.read(64)
    except FileNotFoundError:
        raise CheckpointError(
            f"{path} is missing. Give a run folder (runs/00000-...) or one of its checkpoints."
        ) from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from None
    if not head:
        raise CheckpointError(f"{path} is empty. Use an older checkpoint of the run.")
    # Protocol 2+ pickles start with 0x80 and the protocol number; torch's newer files are zips.
    if head[:1] == b"\x80" and len(head) > 1 and head[1] <= 5:
        raise CheckpointError(
            f"{path} is a pickle, which can run code when it is opened; segan does not open it. "
            "Give a checkpoint that segan train wrote."
        )
    if head[:4] == b"PK\x03\x04":
        raise CheckpointError(
            f"{path} is a zip, perhaps a PyTorch pickle; expected safetensors. "
            "Give a checkpoint that segan train wrote."
        )


def matching_state(
    found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], where: str
) -> dict[str, torch.Tensor]:
    """Checks names and shapes against ``expected`` before anything is loaded.

    Raises:
        CheckpointError: naming the first tensors that are missing, unknown or of another shape.
    """
    problems = [f"{name} is missing" for name in expected if name not in found]
    problems += [f"{name} is unknown" for name in found if name not in expected]
    problems += [
        f"{name} is {list(found[name].shape)}, expected {list(value.shape)}"
        for name, value in expected.items()
        if name in found and found[name].shape != value.shape
    ]
    if problems:
        more = f", and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise CheckpointError(
            f"{where} belongs to another network (mode, kind, architecture or shape): "
            f"{'; '.join(problems[:3])}{more}. Use the checkpoint together with its own run."
        )
    return found
