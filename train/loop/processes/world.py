"""The processes that train together: one for each GPU, or a single one.

Each process computes gradients on its share of the batch. Their sum is the gradient of the whole
batch, so every process takes the same optimiser step. Plain torch.distributed does one all-reduce
per phase over one flat buffer. Wrappers that overlap communication (DDP, Fabric, Accelerate) expect
one forward and one backward pass per step, but a GAN has four phases with second derivatives.

Tensors on GPUs are sent by NCCL. Errors, settings, checksums and requests to stop are sent as JSON
over gloo, whose connections break when a process ends, so that the others notice.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import msgspec
import torch
import torch.distributed as dist

from segan.runtime.errors import RankError, SeganError, show_value
from segan.train.loop.processes.launch import Place

T = TypeVar("T")

#: Seconds that a process waits for another: longer than rank 0 needs to write and score a
#: checkpoint.
PATIENCE_S = 1800.0


class World:
    """The group of processes. All processes call its methods together, except ``is_first``.

    Args:
        place: this process among them; None = a single process.

    Attributes:
        rank: number of this process, from 0.
        size: number of processes.
        place: as given.
    """

    def __init__(self, place: Place | None = None) -> None:
        self.place = Place() if place is None else place
        self.rank, self.size = self.place.rank, self.place.size

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files and messages of the run."""
        return self.rank == 0

    def sum_(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replace tensors by their sums over all processes, which hold them in the same order.

        Raises:
            RankError: another process is gone; the methods below raise it too.
        """
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
        with self._exchanging():
            dist.all_reduce(flat)
        start = 0
        for tensor in tensors:
            end = start + tensor.numel()
            tensor.detach().copy_(flat[start:end].view(tensor.shape))
            start = end

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the sum of a tensor over all processes; the tensor itself does not change."""
        total = tensor.clone()
        self.sum_([total])
        return total

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process; no process waits for its GPU."""
        if self.size == 1:
            return flag
        found = torch.tensor([int(flag)])  # on the CPU, so gloo sends it
        with self._exchanging():
            dist.all_reduce(found)
        return bool(found)

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all processes by rank; a value must fit into JSON."""
        if self.size == 1:
            return [value]
        data = torch.frombuffer(bytearray(msgspec.json.encode(value)), dtype=torch.uint8)
        with self._exchanging():
            sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
            dist.all_gather(sizes, torch.tensor([len(data)]))
            longest = int(max(sizes))
            padded = torch.nn.functional.pad(data, (0, longest - len(data)))
            parts = [torch.empty_like(padded) for _ in sizes]
            dist.all_gather(parts, padded)
        return [
            msgspec.json.decode(part[: int(size)].numpy().tobytes())
            for part, size in zip(parts, sizes, strict=True)
        ]

    def together(self, act: Callable[[], T], *, name_rank: bool = True) -> T:
        """Run ``act`` in every process; an error in one ends all, and is reported once.

        ``act`` itself must not call this object.

        Args:
            act: what to do.
            name_rank: whether an error of some processes names the first of them.

        Raises:
            SeganError: of ``act``, here or in the first process that failed.
        """
        if self.size == 1:
            return act()
        result, error = None, None
        try:
            result = act()
        except Exception as caught:
            error = caught
        found = self.gather(None if error is None else _error_data(error))
        failed = [rank for rank, outcome in enumerate(found) if outcome is not None]
        if not failed:
            return result  # type: ignore[return-value]  # there was no error
        first = found[failed[0]]
        partly = len(failed) < self.size and name_rank
        if error is not None and (self.rank == failed[0] or found[self.rank] != first):
            if isinstance(error, SeganError) and partly:
                _name_rank(error, self.rank, self.size)
            raise error
        copy = _error(first)
        if partly:
            _name_rank(copy, failed[0], self.size)
        raise self.reported_by(failed[0], copy) from error

    def first(self, act: Callable[[], T]) -> T | None:
        """Run ``act`` in the first process; return None in the others. Raises as ``together``."""
        return self.together(lambda: act() if self.is_first else None, name_rank=False)

    def reported_by(self, rank: int, error: SeganError) -> SeganError:
        """Mark an error that all processes raise, so that only ``rank`` reports it."""
        error.is_reported = self.rank != rank
        return error

    @contextlib.contextmanager
    def _exchanging(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:  # gloo's own, and torch's DistError
            late = "timed out" in str(error).lower()  # torch has no type for it
            raise RankError(
                f"rank {self.rank} of {self.size} cannot continue: another process of the run "
                f"{'does not answer' if late else 'is gone'} ({_reason(error)})",
                field="rank",
                value=self.rank,
                remedy="It hangs, or its machine or network failed."
                if late
                else "It ended, or its machine or network failed; see its own messages.",
            ) from error


#: A single process.
ALONE = World()


def _error_data(error: Exception) -> dict[str, Any]:
    """An error as JSON."""
    if isinstance(error, SeganError):
        return error.to_data()
    return {"kind": type(error).__name__, "problem": str(error)}


def _error(data: dict[str, Any]) -> SeganError:
    """The error that another process sent; a RankError for one that is not segan's."""
    error = SeganError.from_data(data)
    if type(error).__name__ == data["kind"]:
        return error
    return RankError(f"{data['problem']} ({data['kind']})")


def _name_rank(error: SeganError, rank: int, size: int) -> None:
    """Put the rank of a process before what is wrong there."""
    problem = error.problem
    if not problem and error.field is not None:
        problem = f"`{error.field}` is {show_value(error.value)}"
    error.problem = f"rank {rank} of {size}: {problem}"


def _reason(error: Exception) -> str:
    """The first sentence of torch's message, without the place in its source."""
    text = re.sub(r"^\[[^\]]*\]\s*", "", str(error).strip().partition("\n")[0])
    return text.partition(". ")[0].rstrip(".")


@contextlib.contextmanager
def joined(place: Place, patience_s: float = PATIENCE_S) -> Iterator[World]:
    """Join the other processes of a run until the block ends.

    Args:
        place: this process among them.
        patience_s: seconds to wait for another process, here and in the block.

    Raises:
        RankError: another process does not join, or cannot be reached.
    """
    if place.size == 1:
        yield ALONE
        return
    # Optimisers import it. If the first import happens within a group, torch never frees the group,
    # whose threads then sometimes abort the process when Python has ended (torch 2.13).
    import torch._dynamo

    gpu = torch.cuda.is_available() and dist.is_nccl_available()
    try:
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if gpu else "gloo",
            init_method=place.address,
            rank=place.rank,
            world_size=place.size,
            timeout=timedelta(seconds=patience_s),
        )
    except (RuntimeError, ValueError) as error:  # torch's DistError is a RuntimeError
        raise RankError(
            f"rank {place.rank} of {place.size} could not connect to the others ({_reason(error)})",
            field="rank",
            value=place.rank,
            remedy="Start all processes with one launcher, and check that MASTER_ADDR and "
            "MASTER_PORT name a machine and a free port there that all can reach.",
        ) from error
    try:
        world = World(place)
        yield world
        world.any(False)  # rank 0 holds the meeting point, so no process leaves before the others
    except BaseException:
        if not gpu:  # NCCL could block here for ever; the process ends anyway
            dist.destroy_process_group()
        raise
    dist.destroy_process_group()
