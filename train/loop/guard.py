"""Stops a run whose losses explode, before a broken state can be saved."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from segan.runtime.errors import DeviceError, TrainingError
from segan.train.runs.config import TrainConfig

#: A loss beyond this counts as exploded. Sound ones stay below a hundred or so at any resolution.
MAX_LOSS = 1e6

#: Steps between two looks on a GPU, where each look waits for the device.
GPU_INTERVAL = 16


class LossGuard:
    """Looks at what every step reports: on the CPU after each step, on a GPU every 16 steps.

    Args:
        device: where the numbers lie.
    """

    def __init__(self, device: torch.device) -> None:
        self._interval = 1 if device.type == "cpu" else GPU_INTERVAL
        self._waiting: list[tuple[int, tuple[str, ...], torch.Tensor]] = []

    def add(self, step: int, stats: Mapping[str, torch.Tensor]) -> None:
        """Takes the numbers of a step, and looks when it is time.

        Args:
            step: the steps done, this one included.
            stats: scalars by name.

        Raises:
            TrainingError: as ``check``.
        """
        values = torch.stack([value.detach().float().reshape(()) for value in stats.values()])
        self._waiting.append((step, tuple(stats), values))
        if len(self._waiting) >= self._interval:
            self.check()

    def check(self) -> None:
        """Looks at all that was added since the last look; call it before anything is saved.

        Raises:
            TrainingError: a number is not finite, or a loss (``loss/…``) is beyond 1e6; it names
                the first step where that was so.
        """
        waiting, self._waiting = self._waiting, []
        for step, names, values in waiting:
            broken = [
                f"{name} is {value:.4g}"
                for name, value in zip(names, values.tolist(), strict=True)
                if not math.isfinite(value) or (name.startswith("loss/") and abs(value) > MAX_LOSS)
            ]
            if broken:
                more = f" and {len(broken) - 3} more" if len(broken) > 3 else ""
                raise TrainingError(
                    f"at step {step} {', '.join(broken[:3])}{more}; expected finite numbers and "
                    f"losses up to {MAX_LOSS:g}."
                )


def check_finite(tensors: Mapping[str, torch.Tensor], step: int) -> None:
    """Refuses to save a state that holds NaN or infinity.

    Args:
        tensors: everything that is to be saved, by name.
        step: the steps done.

    Raises:
        TrainingError: naming the first such tensors.
    """
    floats = {name: value for name, value in tensors.items() if value.is_floating_point()}
    if not floats:
        return
    # One answer from the device for all of them; the names are looked up only when it is no.
    if bool(torch.stack([value.isfinite().all() for value in floats.values()]).all()):
        return
    broken = [name for name, value in floats.items() if not bool(value.isfinite().all())]
    more = f" and {len(broken) - 3} more" if len(broken) > 3 else ""
    raise TrainingError(
        f"after step {step} {', '.join(broken[:3])}{more} held NaN or infinite numbers, so the "
        "state was not saved."
    )


#: What torch's plain RuntimeErrors hold where memory was refused.
_NO_MEMORY = ("DefaultCPUAllocator", "out of memory", "STATUS_ALLOC_FAILED")


def device_error(error: Exception, config: TrainConfig, part: int) -> DeviceError | None:
    """The error to show for one that torch raised in a step.

    Args:
        error: any.
        config: of the run.
        part: images that this process computes at once.

    Returns:
        The error, or None where it is neither of memory nor of compilation.
    """
    said = next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
    if config.compute.compile and _of_the_compiler(error):
        return DeviceError(
            f"--compile could not build the networks: {said}. Install a C++ compiler that works "
            "(CXX names it), or start the run without --compile."
        )
    memory = isinstance(error, MemoryError | torch.OutOfMemoryError)
    if not memory and not any(text in str(error) for text in _NO_MEMORY):
        return None
    smallest = config.network.mbstd_group
    if part > smallest:
        remedy = f"Pass --batch-gpu {max(part // 2 // smallest * smallest, smallest)}"
    else:
        remedy = "Free memory, or train a smaller network"
    return DeviceError(
        f"a step of {part} images at once needs more memory than there is: {said}. {remedy}."
    )


def _of_the_compiler(error: Exception) -> bool:
    from torch._dynamo.exc import TorchDynamoException  # slow to import, so only now

    return isinstance(error, TorchDynamoException)
