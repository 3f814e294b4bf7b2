"""The log as TensorBoard files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from segan.runtime.files.atomic import output_error


class Board:
    """TensorBoard files of a run, in RUN/tensorboard.

    Args:
        run: the run's folder.
        cur_nimg: real images shown so far; TensorBoard hides later entries.

    Raises:
        OutputError: the folder cannot be written.
    """

    def __init__(self, run: Path, cur_nimg: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._folder = run / "tensorboard"
        self._writer: Any = self._try(
            lambda: SummaryWriter(str(self._folder), purge_step=cur_nimg + 1)
        )

    def write(self, entry: dict[str, Any]) -> None:
        """Add the entry's numbers, at its ``nimg``. Raises: OutputError."""
        self._try(lambda: self._add(entry))

    def close(self) -> None:
        """Write the remaining entries and close the files. Raises: OutputError."""
        self._try(self._writer.close)

    def _add(self, entry: dict[str, Any]) -> None:
        step = entry["nimg"]
        for name, value in entry.items():
            if isinstance(value, float):
                self._writer.add_scalar(name, value, step)
        for row, value in enumerate(entry.get("importance", ())):
            self._writer.add_scalar(f"importance/subspace{row}", value, step)
        self._writer.flush()

    def _try(self, act: Callable[[], Any]) -> Any:
        # TensorBoard writes in a thread, whose errors a later call raises.
        try:
            return act()
        except OSError as error:
            raise output_error(self._folder, error) from error
