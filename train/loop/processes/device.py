"""The device of each process."""

from __future__ import annotations

import torch

from segan.runtime.errors import ConfigError
from segan.train.loop.processes.launch import Place


def find_device(name: str, place: Place) -> torch.device:
    """Return the device of this process; of several on a machine each takes a GPU of its own.

    Args:
        name: auto, cpu, cuda or cuda:N; auto is a GPU where there is one.
        place: this process among those of the run.

    Raises:
        ConfigError: there is no such device, or there are fewer GPUs than processes.
    """

    def refuse(problem: str = "", expected: str = "", remedy: str = "") -> ConfigError:
        return ConfigError(problem, field="device", value=name, expected=expected, remedy=remedy)

    count = torch.cuda.device_count()
    names = "auto, cpu, cuda or cuda:N"
    try:
        device = torch.device(name if name != "auto" else "cuda" if count else "cpu")
    except RuntimeError:
        raise refuse(expected=names) from None
    if device.type not in ("cpu", "cuda"):
        raise refuse(expected=names)
    if device.type == "cpu":
        return device
    if (device.index or 0) >= count:
        problem = f"`device` is {name!r}, but this torch sees {count} CUDA devices"
        raise refuse(problem, remedy="Pass `device cpu`.")
    if place.size == 1:
        return device
    # Some launchers show each process its own GPU alone.
    index = place.local_rank if count > 1 else 0
    if index >= count:
        raise refuse(
            f"this is process {index + 1} of this machine, which has {count} GPUs",
            expected="one GPU for each process",
            remedy="Start fewer processes, or pass `device cpu`.",
        )
    if device.index not in (None, index):
        raise refuse(
            f"`device` is {name!r}, but each of several processes uses the GPU of its own number",
            remedy="Pass `device cuda`, and choose GPUs by CUDA_VISIBLE_DEVICES.",
        )
    device = torch.device("cuda", index)
    torch.cuda.set_device(device)
    return device
