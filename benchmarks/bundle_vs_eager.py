"""Images a second and peak memory: bundles on ONNX Runtime against the PyTorch generator, eager.

Each contestant runs in a process of its own, so that peak memory is its own; their rounds take
turns, so that a busy moment of the machine meets all of them. Everything from latents to float
images is timed: mapping, truncation and subspaces, synthesis with constant noise. Weights are
random. Run from the repository root: ``python benchmarks/bundle_vs_eager.py``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from segan.runtime.cores import usable_cores

#: Name → (network, images in a batch).
SETTINGS: dict[str, tuple[dict[str, Any], int]] = {
    "64": ({"resolution": 64}, 16),
    "256": (
        {
            "resolution": 256,
            "z_dim": 512,
            "w_dim": 512,
            "channel_base": 16384,
            "channel_max": 512,
        },
        4,
    ),
}
LOWERINGS: tuple[Any, ...] = ("transposed", "subpixel", "folded")
EAGER = "pytorch eager"


# A worker: makes its contestant, then times a round for every line that it reads.


def worker(contestant: str, setting: str, bundle: str, threads: int, seconds: float) -> None:
    """Answers every line on stdin with images a second, and the end of it with peak memory."""
    network, batch = SETTINGS[setting]
    run = _eager(network, batch, threads) if contestant == EAGER else _open(bundle, batch, threads)
    run()
    run()
    print("ready", flush=True)
    for _ in sys.stdin:
        start, count = time.perf_counter(), 0
        while time.perf_counter() - start < seconds or not count:
            run()
            count += batch
        rate = count / (time.perf_counter() - start)
        print(json.dumps({"images_per_s": rate, "peak_mib": _peak_mib()}), flush=True)


def _peak_mib() -> float:
    """The most memory that this process has held, in MiB."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not getrusage: that starts from the memory of the process that forked this one.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def _inputs(batch: int, z_dim: int, coords: tuple[int, int]) -> tuple[Any, Any]:
    random = np.random.RandomState(0)
    z = random.standard_normal((batch, z_dim)).astype(np.float32)
    return z, random.uniform(-1, 1, (batch, *coords)).astype(np.float32)


def _eager(network: dict[str, Any], batch: int, threads: int) -> Callable[[], object]:
    import torch

    torch.set_num_threads(threads)
    generator = _build(network)
    z, coords = _inputs(batch, generator.network.z_dim, generator.coords_shape)
    noise = generator.synthesis.noise_const()
    given = torch.from_numpy(z), None, torch.from_numpy(coords)

    def run() -> object:
        with torch.inference_mode():
            return generator(*given, psi=0.7, noise=noise)

    return run


def _build(network: dict[str, Any]) -> Any:
    import torch

    from segan.train.config import NetworkConfig, SubspaceConfig
    from segan.train.generator import Generator

    torch.manual_seed(0)
    return Generator(NetworkConfig(**network), SubspaceConfig(mode=2)).eval()


def _open(bundle: str, batch: int, threads: int) -> Callable[[], object]:
    from segan.runtime import load

    generator = load(bundle, "cpu", threads=threads)
    manifest = generator.manifest
    z, coords = _inputs(batch, manifest.z_dim, (manifest.num_subspaces, manifest.coords_dim))

    def run() -> object:
        return generator.synthesize(*generator.style(generator.map(z), 0.7, coords))

    return run


# The run.


class Contestant:
    """One worker process."""

    def __init__(self, name: str, setting: str, bundle: Path, options: argparse.Namespace) -> None:
        self.name, self.rates = name, list[float]()
        self.peak_mib = 0.0
        command = [sys.executable, __file__, "--worker", name, "--setting", setting]
        command += ["--bundle", str(bundle), "--threads", str(options.threads)]
        command += ["--seconds", str(options.seconds)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._expect()

    def _expect(self) -> str:
        line = cast(IO[str], self._process.stdout).readline()
        if not line:
            raise SystemExit(f"{self.name}: the worker ended with {self._process.wait()}")
        return line

    def round(self) -> None:
        """Times one round."""
        stdin = cast(IO[str], self._process.stdin)
        stdin.write("go\n")
        stdin.flush()
        found = json.loads(self._expect())
        self.rates.append(found["images_per_s"])
        self.peak_mib = found["peak_mib"]

    def close(self) -> None:
        """Ends the process."""
        cast(IO[str], self._process.stdin).close()
        self._process.wait()
        cast(IO[str], self._process.stdout).close()


def measure(setting: str, options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """The rows of one setting: median rates of interleaved rounds, and ratios round by round."""
    from segan.export import ExportConfig, export_bundle

    network, batch = SETTINGS[setting]
    generator = _build(network)
    bundles = {EAGER: Path("-")}
    for form in LOWERINGS:
        bundles[f"onnxruntime {form}"] = folder / f"{setting}-{form}.segan"
        config = ExportConfig(lowering=form, batch_sizes=(1,))
        export_bundle(generator, bundles[f"onnxruntime {form}"], config)
    del generator
    running = [Contestant(name, setting, path, options) for name, path in bundles.items()]
    try:
        for number in range(options.rounds):
            # Another order in every round: nobody always follows the same one.
            turn = number % len(running)
            for contestant in running[turn:] + running[:turn]:
                contestant.round()
    finally:
        for contestant in running:
            contestant.close()
    eager = running[0]
    rows = []
    for contestant in running:
        pairs = zip(contestant.rates, eager.rates, strict=True)
        rows.append(
            {
                "setting": f"{setting}²",
                "batch": batch,
                "what": contestant.name,
                "images_per_s": round(statistics.median(contestant.rates), 2),
                "slowest": round(min(contestant.rates), 2),
                "fastest": round(max(contestant.rates), 2),
                "ratio_to_eager": round(statistics.median(own / base for own, base in pairs), 3),
                "peak_mib": round(contestant.peak_mib, 1),
            }
        )
    return rows


def main() -> None:
    """Prints a table, or with ``--json`` ``{"machine": …, "rows": […]}``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--rounds", type=int, default=9, help="rounds of each (default 9)")
    parser.add_argument("--seconds", type=float, default=3.0, help="of a round (default 3)")
    parser.add_argument("--threads", type=int, default=usable_cores(), help="default: cores")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--setting", help=argparse.SUPPRESS)
    parser.add_argument("--bundle", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options.worker, options.setting, options.bundle, options.threads, options.seconds)
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for setting in options.settings:
            rows += measure(setting, options, Path(folder))
    machine = {
        "machine": platform.machine(),
        "system": platform.system(),
        "cores": usable_cores(),
        "threads": options.threads,
        "load_1min": round(os.getloadavg()[0], 2),
        "rounds": options.rounds,
        "seconds": options.seconds,
    }
    if options.json:
        print(json.dumps({"machine": machine, "rows": rows}, indent=2))
        return
    print(f"{'':>5} {'batch':>5} {'what':<24} {'images/s':>9} {'ratio':>6} {'peak MiB':>9}")
    for row in rows:
        print(
            f"{row['setting']:>5} {row['batch']:>5} {row['what']:<24} {row['images_per_s']:>9.2f}"
            f" {row['ratio_to_eager']:>6.2f} {row['peak_mib']:>9.0f}"
        )


if __name__ == "__main__":
    main()
