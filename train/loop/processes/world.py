"""The processes that train together: one each GPU, or one alone.

Each computes gradients on its share of the batch; their sum is the whole batch's gradient, and
every process takes the same optimiser step. Plain torch.distributed: one all-reduce per phase over
one flat buffer. What wraps a module to overlap communication (DDP, Fabric, Accelerate) expects one
forward and one backward per step, which a GAN's four phases with second derivatives are not.

Tensors on GPUs travel by NCCL. What the processes tell each other beside (errors, settings,
checksums, whether to stop) travels as JSON over gloo, whose connections break when a process ends,
so that the others notice.
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

from segan.runtime import errors
from segan.runtime.errors import RankError, SeganError
from segan.train.loop.processes.launch import Place

T = TypeVar("T")

#: Seconds that a process waits for another, at the start too: longer than rank 0 needs to write and
#: score a checkpoint, while the others wait.
PATIENCE_S = 1800.0


class World:
    """The group of processes. Every method but ``is_first`` is called by all of them together.

    Args:
        place: this process among them; None is one alone.

    Attributes:
        rank: this process, from 0.
        size: how many there are.
        place: as given.
    """

    def __init__(self, place: Place | None = None) -> None:
        self.place = Place() if place is None else place
        self.rank, self.size = self.place.rank, self.place.size

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and talks to the user."""
        return self.rank == 0

    def sum_(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replaces tensors by their sums over all processes, which hold them in the same order.

        Raises:
            RankError: another process is gone; so do all the methods below.
        """
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
        with self._talking():
            dist.all_reduce(flat)
        start = 0
        for tensor in tensors:
            end = start + tensor.numel()
            tensor.detach().copy_(flat[start:end].view(tensor.shape))
            start = end

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum of a tensor over all processes; the tensor itself stays."""
        total = tensor.clone()
        self.sum_([total])
        return total

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process; makes no process wait for its GPU."""
        if self.size == 1:
            return flag
        found = torch.tensor([int(flag)])  # on the CPU, so it travels by gloo
        with self._talking():
            dist.all_reduce(found)
        return bool(found)

    def gather(self, value: Any) -> list[Any]:
        """What each process gives, by rank: values that JSON can hold."""
        if self.size == 1:
            return [value]
        data = torch.frombuffer(bytearray(msgspec.json.encode(value)), dtype=torch.uint8)
        with self._talking():
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
        """Runs ``act`` in every process; an error in one ends all of them, and is told once.

        ``act`` itself must not call this object.

        Args:
            act: what to do.
            name_rank: whether the error of one process says which.

        Raises:
            SeganError: as ``act``, or as ``act`` in the first process that failed.
        """
        if self.size == 1:
            return act()
        result, error = None, None
        try:
            result = act()
        except Exception as caught:
            error = caught
        found = self.gather(None if error is None else [type(error).__name__, str(error)])
        failed = [rank for rank, outcome in enumerate(found) if outcome is not None]
        if not failed:
            return result  # type: ignore[return-value]  # there was no error
        told = found[failed[0]]
        if error is not None and (self.rank == failed[0] or found[self.rank] != told):
            if isinstance(error, SeganError) and len(failed) < self.size and name_rank:
                error.args = (f"rank {self.rank} of {self.size}: {error}",)
            raise error
        text = told[1]
        if len(failed) < self.size and name_rank:
            text = f"rank {failed[0]} of {self.size}: {text}"
        raise self.told_by(failed[0], _error(told[0], text)) from error

    def first(self, act: Callable[[], T]) -> T | None:
        """Runs ``act`` in the first process alone; None in the others. Errors as ``together``."""
        return self.together(lambda: act() if self.is_first else None, name_rank=False)

    def told_by(self, rank: int, error: SeganError) -> SeganError:
        """Marks an error that all processes raise, so that the user reads it once."""
        error.is_reported = self.rank != rank
        return error

    @contextlib.contextmanager
    def _talking(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:  # gloo's own, and torch's DistError
            late = "timed out" in str(error).lower()
            what = (
                "does not answer. It hangs, or its machine or network failed"
                if late
                else "is gone. It ended, or its machine or network failed; what it printed says why"
            )
            raise RankError(
                f"rank {self.rank} of {self.size} cannot go on: another process of the run {what} "
                f"({_reason(error)})."
            ) from error


#: One process alone.
ALONE = World()


def _error(name: str, text: str) -> SeganError:
    """An error of segan's tree by its name; what is not in the tree ends a process unforeseen."""
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, SeganError):
        return kind(text)
    return RankError(f"{text} ({name})")


def _reason(error: Exception) -> str:
    """The first sentence of what torch says, without the place in its source."""
    text = re.sub(r"^\[[^\]]*\]\s*", "", str(error).strip().partition("\n")[0])
    return text.partition(". ")[0].rstrip(".")


@contextlib.contextmanager
def joined(place: Place, patience_s: float = PATIENCE_S) -> Iterator[World]:
    """Meets the other processes of a run, for as long as the block lasts.

    Args:
        place: this process among them.
        patience_s: seconds to wait for another process, now and later.

    Raises:
        RankError: they do not come, or cannot be reached.
    """
    if place.size == 1:
        yield ALONE
        return
    # Optimisers import it. Where that happens first within a group, torch holds on to the group for
    # ever, whose threads then now and then abort the process when Python has ended (torch 2.13).
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
            f"rank {place.rank} of {place.size} did not meet the others ({_reason(error)}). "
            "Start all processes with one launcher, and see that MASTER_ADDR and MASTER_PORT name "
            "a machine and a free port there that all can reach."
        ) from error
    try:
        world = World(place)
        yield world
        world.any(False)  # nobody leaves, and takes the meeting point away, before all are done
    except BaseException:
        if not gpu:  # NCCL could wait here for what never comes; the process ends anyway
            dist.destroy_process_group()
        raise
    dist.destroy_process_group()
