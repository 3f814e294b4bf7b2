"""Errors that end a run: losses that explode, states with NaN, and devices that fail."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from segan.runtime.errors import DeviceError, TrainingError
from segan.train.runs.config import TrainConfig

#: A larger loss counts as exploded. Normal ones stay below about 100 at any resolution.
MAX_LOSS = 1e6

#: Steps between two checks on a GPU, since each check waits for the device.
GPU_INTERVAL = 16

#: Parts of the RuntimeErrors that torch raises where memory is refused.
_NO_MEMORY = ("DefaultCPUAllocator", "out of memory", "STATUS_ALLOC_FAILED")


class LossGuard:
    """Checks the statistics of the steps: on the CPU after each step, on a GPU every 16 steps.

    Args:
        device: of the statistics.
    """

    def __init__(self, device: torch.device) -> None:
        self._interval = 1 if device.type == "cpu" else GPU_INTERVAL
        self._waiting: list[tuple[int, tuple[str, ...], torch.Tensor]] = []

    def add(self, step: int, stats: Mapping[str, torch.Tensor]) -> None:
        """Add the statistics of a step, and check them when an interval is complete.

        Args:
            step: steps done, including this one.
            stats: scalars by name.

        Raises:
            TrainingError: see ``check``.
        """
        values = torch.stack([value.detach().float().reshape(()) for value in stats.values()])
        self._waiting.append((step, tuple(stats), values))
        if len(self._waiting) >= self._interval:
            self.check()

    def check(self) -> None:
        """Check the statistics added since the last check; call it before saving.

        Raises:
            TrainingError: a number is not finite, or a loss (``loss/…``) exceeds 1e6; it names the
                first such step.
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
                    f"at step {step} {', '.join(broken[:3])}{more}",
                    field="step",
                    value=step,
                    expected=f"finite numbers and losses up to {MAX_LOSS:g}",
                )


def check_finite(tensors: Mapping[str, torch.Tensor], step: int) -> None:
    """Raise TrainingError when a tensor holds NaN or infinity.

    Args:
        tensors: the state to be saved, by name.
        step: steps done.

    Raises:
        TrainingError: it names the first three such tensors.
    """
    floats = {name: value for name, value in tensors.items() if value.is_floating_point()}
    if not floats:
        return
    # One transfer from the device for all tensors; the names are found only where it fails.
    if bool(torch.stack([value.isfinite().all() for value in floats.values()]).all()):
        return
    broken = [name for name, value in floats.items() if not bool(value.isfinite().all())]
    more = f" and {len(broken) - 3} more" if len(broken) > 3 else ""
    raise TrainingError(
        f"after step {step} {', '.join(broken[:3])}{more} held NaN or infinite numbers, so the "
        "state was not saved",
        field="step",
        value=step,
    )


def device_error(error: Exception, config: TrainConfig, part: int) -> DeviceError | None:
    """Return segan's error for one that torch raised in a step.

    Args:
        error: any error.
        config: of the run.
        part: images that this process computes at once.

    Returns:
        The error; None where the cause is neither memory nor compilation.
    """
    reason = next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
    if config.compute.compile and _of_the_compiler(error):
        return DeviceError(
            f"`compute.compile` could not build the networks: {reason}",
            field="compute.compile",
            value=True,
            remedy="Install a C++ compiler that works (CXX names it), or start the run without "
            "`compute.compile`.",
        )
    memory = isinstance(error, MemoryError | torch.OutOfMemoryError)
    if not memory and not any(text in str(error) for text in _NO_MEMORY):
        return None
    smallest = config.network.mbstd_group
    if part > smallest:
        fewer = max(part // 2 // smallest * smallest, smallest)
        remedy = f"Pass `compute.micro_batch {fewer}`."
    else:
        remedy = "Free memory, or train a smaller network."
    return DeviceError(
        f"a step of {part} images at once needs more memory than there is: {reason}",
        field="compute.micro_batch",
        value=config.compute.micro_batch,
        remedy=remedy,
    )


def _of_the_compiler(error: Exception) -> bool:
    from torch._dynamo.exc import TorchDynamoException  # slow to import, so only now

    return isinstance(error, TorchDynamoException)
