"""What torch says when a step cannot be computed, in words that help: memory, and the compiler."""

from __future__ import annotations

import torch

from segan.runtime.errors import DeviceError
from segan.train.config import TrainConfig

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
