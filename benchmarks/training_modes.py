"""Training speed and peak memory of every mode and kind, over whole cycles of 16 steps.

A cycle holds one R1 step and four path length steps, so it is what a run really costs. Each
variant has a process of its own (its peak memory is its own), and the rounds of all variants take
turns. Data is random; nothing is written. Run from the repository root:
``python benchmarks/training_modes.py --preset tiny --resolution 32``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

#: Steps after which every regulariser has had its turn.
CYCLE = 16

VARIANTS = [(0, "eigen")] + [(mode, kind) for mode in (1, 2, 3) for kind in ("eigen", "diagonal")]


def worker(preset_name: str, resolution: int, mode: int, kind: str) -> None:
    """Runs one cycle for each line on stdin; answers with seconds and peak memory."""
    import msgspec
    import torch

    from segan.train.loop.step import TrainingState
    from segan.train.runs.config import TrainConfig
    from segan.train.runs.presets import preset

    values = msgspec.to_builtins(preset(preset_name, resolution=resolution))
    values["subspace"] |= {"mode": mode, "kind": kind}
    config = msgspec.convert(values, TrainConfig)
    state = TrainingState(config, torch.device("cpu"))
    random = torch.Generator().manual_seed(0)
    real = torch.rand(config.batch_size, 3, resolution, resolution, generator=random) * 2 - 1
    for _ in range(2):
        state.train_step(real, None, None, state.step_random())
    parameters = sum(p.numel() for p in state.generator.parameters())
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        for _ in range(CYCLE):
            state.train_step(real, None, None, state.step_random())
        seconds = time.perf_counter() - start
        answer = {
            "kimg_per_h": CYCLE * config.batch_size / seconds * 3.6,
            "peak_mib": _peak_mib(),
            "parameters": parameters,
        }
        print(json.dumps(answer), flush=True)


def _peak_mib() -> float:
    """The most memory that this process has held, in MiB (Linux)."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def main() -> None:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--preset", default="tiny", choices=["tiny", "paper", "auto"])
    parser.add_argument("--resolution", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--worker", nargs=2, metavar=("MODE", "KIND"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        mode, kind = options.worker
        worker(options.preset, options.resolution, int(mode), kind)
        return
    shared = ["--preset", options.preset, "--resolution", str(options.resolution)]
    workers = {}
    for mode, kind in VARIANTS:
        args = [sys.executable, __file__, *shared, "--worker", str(mode), kind]
        process = subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        process.stdout.readline()
        workers[mode, kind] = process
    answers: dict[tuple[int, str], list[dict[str, Any]]] = {key: [] for key in workers}
    for _ in range(options.rounds):
        for key, process in workers.items():
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            answers[key].append(json.loads(process.stdout.readline()))
    rows = []
    for key, process in workers.items():
        process.communicate()
        found = answers[key]
        rows.append(
            {
                "mode": key[0],
                "subspace": key[1],
                "parameters": found[-1]["parameters"],
                "kimg_per_h": statistics.median(answer["kimg_per_h"] for answer in found),
                "ratio_to_mode_0": statistics.median(
                    mine["kimg_per_h"] / base["kimg_per_h"]
                    for mine, base in zip(found, answers[0, "eigen"], strict=True)
                ),
                "peak_mib": max(answer["peak_mib"] for answer in found),
            }
        )
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    print(f"preset {options.preset}, {options.resolution}², {options.rounds} rounds of 16 steps")
    print("mode  subspace  G parameters  kimg/h  of mode 0  peak MiB")
    for row in rows:
        print(
            f"{row['mode']:4}  {row['subspace']:8}  {row['parameters']:12,}  "
            f"{row['kimg_per_h']:6.0f}  {row['ratio_to_mode_0']:9.2f}  {row['peak_mib']:8.0f}"
        )


if __name__ == "__main__":
    main()
