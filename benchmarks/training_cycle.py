"""Training speed and peak memory of a full cycle against two older formulations.

A cycle is 16 steps: all four phases, R1 once and path lengths four times. The variants:

- ``grouped``: as StyleGAN2 was published and StyleGAN2-ADA trains: every sample has convolution
  weights of its own, and a grouped convolution computes the batch (fp32, Adam unfused);
- ``plain``: constant weights, activations modulated; fp32, eager, images as [N, C, H, W];
- ``fp32``: the same with channels last and a fused optimiser, as ``segan train --precision fp32``;
- ``bf16``: as ``--precision bf16``; ``compile``: bf16 with ``--compile``.

Each variant has a process of its own (its peak memory is its own); rounds take turns, so that
ratios hold on a machine whose speed changes. Data is random; nothing is written. Run from the
repository root: ``python benchmarks/training_cycle.py --preset paper --resolution 64``.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from typing import Any

#: Steps after which every regulariser has had its turn.
CYCLE = 16
VARIANTS = ("grouped", "plain", "fp32", "bf16", "compile")


def worker(options: argparse.Namespace, variant: str) -> None:
    """Answers each line on stdin with the seconds of one cycle and the peak memory."""
    import msgspec
    import torch

    from segan.runtime.machine.memory import peak_memory
    from segan.train.loop.step import TrainingState
    from segan.train.networks.config import ComputeConfig
    from segan.train.runs.presets import preset

    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    reduced = variant in ("bf16", "compile")
    config = msgspec.structs.replace(
        preset(options.preset, resolution=options.resolution),
        batch_size=options.batch_size,
        compute=ComputeConfig(
            precision="bf16" if reduced else "fp32", compile=variant == "compile"
        ),
    )
    state = TrainingState(config, device)
    if variant in ("grouped", "plain"):
        _as_before(state)
    if variant == "grouped":
        _use_grouped_convolutions()
    random = torch.Generator(device).manual_seed(0)
    shape = (config.batch_size, 3, options.resolution, options.resolution)
    real = torch.rand(shape, generator=random, device=device) * 2 - 1

    def run(first: int, count: int) -> float:
        state.step = first
        start = time.perf_counter()
        for _ in range(count):
            state.train_step(real, None, None, state.step_random())
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    run(0, 2)  # allocates, and compiles what is to be compiled
    print("ready", flush=True)
    for _ in sys.stdin:
        state.clock.take()
        if options.quick:
            # Steps 4 (path lengths), 1 (neither) and 0 (both) tell what 16 steps take.
            neither, lengths, both = run(1, 1), run(4, 1), run(0, 1)
            seconds = 12 * neither + 3 * lengths + both
        else:
            seconds = run(0, CYCLE)
        gpu = torch.cuda.max_memory_allocated() if device.type == "cuda" else 0
        answer = {
            "images_per_s": CYCLE * config.batch_size / seconds,
            "peak_mib": (gpu or peak_memory() or 0) / 2**20,
            "phases": state.clock.take(),
        }
        print(json.dumps(answer), flush=True)


def _as_before(state: Any) -> None:
    """Images as [N, C, H, W], and an optimiser that goes from tensor to tensor."""
    import torch

    state.memory_format = torch.contiguous_format
    for module in (state.generator, state.discriminator):
        for parameter in module.parameters():
            parameter.data = parameter.data.contiguous()
    for optimizer in (state.optimizer_g, state.optimizer_d):
        for group in optimizer.param_groups:
            group["fused"], group["foreach"] = False, False


def _use_grouped_convolutions() -> None:
    """Puts the published formulation in the place of ``modulated_conv2d``."""
    import torch
    import torch.nn.functional as F

    from segan.train.networks.stylegan2 import generator
    from segan.train.networks.stylegan2.layers import modulated_conv2d
    from segan.train.networks.stylegan2.resample import filter2d

    def grouped(
        x: torch.Tensor,
        weight: torch.Tensor,
        styles: torch.Tensor,
        *,
        demodulate: bool = True,
        fir_up: torch.Tensor | None = None,
    ) -> torch.Tensor:
        n, _, height, width = x.shape
        out, into, size, _ = weight.shape
        own = weight[None] * styles[:, None, :, None, None]  # [N, O, I, k, k]
        if demodulate:
            own = own * (own.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8).rsqrt()
        x = x.reshape(1, n * into, height, width)
        if fir_up is None:
            y = F.conv2d(x, own.reshape(n * out, into, size, size), padding=size // 2, groups=n)
            return y.reshape(n, out, height, width)
        flipped = own.transpose(1, 2).reshape(n * into, out, size, size)
        y = F.conv_transpose2d(x, flipped, stride=2, groups=n)
        y = y.reshape(n, out, *y.shape[2:])
        return filter2d(y, fir_up, padding=fir_up.shape[-1] // 2 - 1, gain=4.0)

    _check_equal(modulated_conv2d, grouped)
    vars(generator)["modulated_conv2d"] = grouped


def _check_equal(mine: Any, theirs: Any) -> None:
    """Both formulations give the same result, or the comparison would mean nothing."""
    import torch

    from segan.train.networks.stylegan2.resample import fir_kernel

    torch.manual_seed(0)
    x, weight, styles = torch.randn(3, 4, 5, 5), torch.randn(6, 4, 3, 3), torch.randn(3, 4)
    for up in (None, fir_kernel()):
        a, b = (f(x, weight, styles, fir_up=up) for f in (mine, theirs))
        error = float((a - b).abs().max())
        assert error < 1e-4 * math.sqrt(float(a.square().mean())), error


def main() -> None:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--preset", default="paper", choices=["tiny", "paper", "auto"])
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--variants", default="grouped,plain,fp32,bf16")
    parser.add_argument("--quick", action="store_true", help="three steps stand for the sixteen")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--worker", choices=VARIANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options, options.worker)
        return
    variants = options.variants.split(",")
    unknown = set(variants) - set(VARIANTS)
    if unknown:
        parser.error(f"no variant {sorted(unknown)[0]!r}; expected some of {', '.join(VARIANTS)}")
    given = [argument for argument in sys.argv[1:] if argument != "--json"]
    workers = {}
    for variant in variants:
        args = [sys.executable, __file__, *given, "--worker", variant]
        process = subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            sys.exit(f"{variant} did not start; its message is above.")
        workers[variant] = process
    answers: dict[str, list[dict[str, Any]]] = {variant: [] for variant in variants}
    for _ in range(options.rounds):
        for variant, process in workers.items():
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            answers[variant].append(json.loads(process.stdout.readline()))
    for process in workers.values():
        process.communicate()
    rows = [_row(variant, answers[variant], answers[variants[0]]) for variant in variants]
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    print(
        f"preset {options.preset}, {options.resolution}², batch {options.batch_size}, "
        f"{options.threads} threads, {options.rounds} rounds of {CYCLE} steps"
        f"{' (told from three)' if options.quick else ''}"
    )
    print(f"variant   images/s  ratio to {variants[0]}  peak MiB  D / R1 / G / path lengths, share")
    for row in rows:
        shares = " ".join(f"{share:4.0%}" for share in row["phases"].values())
        print(
            f"{row['variant']:8}  {row['images_per_s']:8.2f}  {row['ratio']:8.2f}  "
            f"{row['peak_mib']:8.0f}  {shares}"
        )


def _row(variant: str, mine: list[dict[str, Any]], base: list[dict[str, Any]]) -> dict[str, Any]:
    """The medians over the rounds of one variant."""
    phases = mine[-1]["phases"]
    total = sum(phases.values())
    return {
        "variant": variant,
        "images_per_s": statistics.median(answer["images_per_s"] for answer in mine),
        "ratio": statistics.median(
            a["images_per_s"] / b["images_per_s"] for a, b in zip(mine, base, strict=True)
        ),
        "peak_mib": max(answer["peak_mib"] for answer in mine),
        "phases": {
            name: phases.get(name, 0.0) / total
            for name in ("discriminator", "r1", "generator", "path_length")
        },
    }


if __name__ == "__main__":
    main()
