"""Named tensors as safetensors files; no code in a file is run. Imports torch when called."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from segan.runtime.errors import CheckpointError
from segan.runtime.files.atomic import write_atomic

if TYPE_CHECKING:
    import torch

_OLDER = "Use an older checkpoint of the run."
_OWN = "Give a checkpoint that segan train wrote."


def write_tensors(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Write tensors by name, completely or not at all. Raises: OutputError."""
    from safetensors.torch import save

    write_atomic(path, save({name: value.contiguous() for name, value in tensors.items()}))


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read every tensor of a safetensors file, to the CPU.

    Raises:
        CheckpointError: missing, a pickle, truncated, or otherwise not safetensors.
    """
    from safetensors import SafetensorError, safe_open

    check_tensor_file(path)
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        problem = f"{path} is truncated or damaged ({error})"
        raise CheckpointError(problem, field="path", value=path, remedy=_OLDER) from None


def check_tensor_file(path: Path) -> None:
    """Raise CheckpointError, with the reason, for a file that cannot be safetensors."""

    def refuse(problem: str, remedy: str = "", expected: str = "") -> CheckpointError:
        return CheckpointError(
            f"{path} {problem}", field="path", value=path, expected=expected, remedy=remedy
        )

    try:
        with open(path, "rb") as file:
            head = file.read(64)
    except FileNotFoundError:
        remedy = "Give a run folder (runs/00000-...) or one of its checkpoints."
        raise refuse("is missing", remedy) from None
    except OSError as error:
        raise refuse(f"cannot be read: {error.strerror}") from None
    if not head:
        raise refuse("is empty", _OLDER)
    # Protocol 2+ pickles start with 0x80 and the protocol number; torch's newer files are zips.
    if head[:1] == b"\x80" and len(head) > 1 and head[1] <= 5:
        raise refuse(
            "is a pickle, which can run code when it is opened; segan does not open it", _OWN
        )
    if head[:4] == b"PK\x03\x04":
        raise refuse("is a zip, perhaps a PyTorch pickle", _OWN, "safetensors")


def matching_state(
    found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], where: str
) -> dict[str, torch.Tensor]:
    """Return ``found`` if its names and shapes are those of ``expected``.

    Args:
        found: tensors by name.
        expected: tensors of the network by name.
        where: the file of ``found``, for messages.

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
            f"{'; '.join(problems[:3])}{more}",
            field="path",
            value=where,
            remedy="Use the checkpoint together with its own run.",
        )
    return found
