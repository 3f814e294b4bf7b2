"""The tensors of a foreign file, by name, each read at most once."""

from __future__ import annotations

import math

import torch

from segan.export.foreign.limits import MIN_WEIGHTS_BYTES, WEIGHTS_OF_FILE, exceeded
from segan.export.foreign.model import ForeignModel, TensorSource
from segan.runtime.errors import CheckpointError

#: What may be wrong with a tensor that does not fit.
DAMAGED = "The file is damaged, or of another network."


class Tensors:
    """The tensors of a model; tracks which of them were read.

    Args:
        model: the file.

    Attributes:
        file_bytes: size of the file.
    """

    def __init__(self, model: ForeignModel) -> None:
        self.file_bytes = model.size
        self._records, self._layout = model.tensors, model.layout
        self._taken: set[str] = set()
        self._left = self._most = max(MIN_WEIGHTS_BYTES, WEIGHTS_OF_FILE * model.size)

    def __contains__(self, name: str) -> bool:
        return name in self._records

    def names(self) -> list[str]:
        """Return all names, in the file's order."""
        return list(self._records)

    def shape(self, name: str, rank: int) -> tuple[int, ...]:
        """Return the shape of a tensor of ``rank`` dimensions. Raises: CheckpointError."""
        shape = self._record(name).shape
        if len(shape) != rank or 0 in shape:
            raise CheckpointError(
                f"{name} has shape {list(shape)}",
                expected=f"{rank} dimensions, none of them 0, as in the {self._layout} layout",
                remedy=DAMAGED,
            )
        return shape

    def take(self, name: str, shape: tuple[int, ...] | None = None) -> torch.Tensor:
        """Read a tensor as float32, reshaped if ``shape`` is given.

        Raises:
            CheckpointError: another shape, values that are not finite, or more bytes in all than
                the file's size explains.
        """
        record = self._record(name)
        if shape is not None and math.prod(record.shape) != math.prod(shape):
            raise CheckpointError(
                f"{name} has shape {list(record.shape)}",
                expected=f"{list(shape)}",
                remedy=DAMAGED,
            )
        self._taken.add(name)
        self._left -= 4 * math.prod(record.shape)
        if self._left < 0:
            raise exceeded("bytes for the network's weights", self._most - self._left, self._most)
        found = finite(name, record)
        return found if shape is None else found.reshape(shape)

    def skip(self, name: str) -> None:
        """Mark a tensor as not needed."""
        self._taken.add(name)

    def check_all_taken(self) -> None:
        """Raise CheckpointError if tensors were neither read nor skipped."""
        left = [name for name in self._records if name not in self._taken]
        if left:
            raise CheckpointError(
                f"the generator holds {len(left)} tensors that the {self._layout} layout does not "
                f"have, such as {', '.join(name[:60] for name in left[:3])}",
                remedy="It is a variant that segan does not support, and its images would differ.",
            )

    def _record(self, name: str) -> TensorSource:
        if name not in self._records:
            raise CheckpointError(
                f"the generator has no {name}, which the {self._layout} layout has",
                remedy="The file is truncated, or of another network.",
            )
        return self._records[name]


def finite(name: str, record: TensorSource) -> torch.Tensor:
    """Read a tensor as float32. Raises: CheckpointError if a value is NaN or infinite."""
    found = torch.from_numpy(record.read())
    if not torch.isfinite(found).all():
        count = int((~torch.isfinite(found)).sum())
        raise CheckpointError(
            f"{name} holds {count} of {found.numel()} values that are not finite (NaN or infinite)",
            expected="finite weights",
            remedy="The file is damaged, or that network's training diverged before it was saved. "
            "Take another file of that project.",
        )
    return found
