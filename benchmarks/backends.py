"""Images a second on a processor: a bundle on each backend and precision, PyTorch, the ceilings.

Each contestant runs in a process of its own, so that peak memory is its own; their rounds take
turns, so that a busy moment of the machine meets all of them. Everything from latents to images is
timed: mapping, truncation and subspaces, synthesis with constant noise. Weights are random, with
to_rgb scaled so that images are about as bright as a trained generator's (standard deviation 0.45,
range [-1, 1]): int8's error is relative to that. A ceiling is what large 3 × 3 convolutions reach
on the same backend in the same precision, in images of this network.

Run from the repository root: ``python benchmarks/backends.py``.
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

from segan.runtime.machine.cores import usable_cores

#: Name → (network, batch sizes that are timed).
SETTINGS: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "64": ({"resolution": 64}, (1, 16)),
    "256": (
        {
            "resolution": 256,
            "z_dim": 512,
            "w_dim": 512,
            "channel_base": 16384,
            "channel_max": 512,
        },
        (4,),
    ),
    "1024": (
        {
            "resolution": 1024,
            "z_dim": 512,
            "w_dim": 512,
            "channel_base": 32768,
            "channel_max": 512,
        },
        (1,),
    ),
}
EAGER, COMPILED = "pytorch eager", "pytorch compiled"
CEILING = "ceiling "
CONTESTANTS = (
    EAGER,
    COMPILED,
    "cpu fp32",
    "openvino fp32",
    "openvino bf16",
    "openvino int8",
    f"{CEILING}fp32",
    f"{CEILING}bf16",
    f"{CEILING}int8",
)

#: Standard deviation of the images, as of a generator trained on faces.
BRIGHTNESS = 0.45


# A worker: makes its contestant, then times a round for every line that it reads.


def worker(name: str, setting: str, bundle: str, batch: int, threads: int, seconds: float) -> None:
    """Answers every line on stdin with images a second, and the end of it with peak memory."""
    measure: Callable[[float], float]
    if name.startswith(CEILING):
        measure = _ceiling(name.removeprefix(CEILING), bundle, threads)
    elif name in (EAGER, COMPILED):
        measure = _rate(_pytorch(setting, batch, threads, compiled=name == COMPILED), batch)
    else:
        backend, precision = name.split()
        measure = _rate(_open(bundle, backend, precision, batch, threads), batch)
    measure(0)
    print("ready", flush=True)
    for _ in sys.stdin:
        rate = measure(seconds)
        print(json.dumps({"images_per_s": rate, "peak_mib": _peak_mib()}), flush=True)


def _rate(run: Callable[[], object], batch: int) -> Callable[[float], float]:
    def measure(seconds: float) -> float:
        start, count = time.perf_counter(), 0
        while not count or time.perf_counter() - start < seconds:
            run()
            count += batch
        return count / (time.perf_counter() - start)

    return measure


def _ceiling(precision: Any, bundle: str, threads: int) -> Callable[[float], float]:
    """Images a second if nothing but convolutions cost anything."""
    from segan.runtime.backends.session import Precision, SessionConfig
    from segan.runtime.benchmark.ceiling import ConvolutionCeiling
    from segan.runtime.benchmark.cost import count_macs
    from segan.runtime.bundle.reader import open_bundle

    opened = open_bundle(bundle)
    macs = count_macs(opened.read("synthesis.onnx"), opened.manifest)
    assert macs is not None, "the graph is segan's own"
    graph: Precision = "int8" if precision == "int8" else "fp32"
    config = SessionConfig(precision=precision, threads=threads)
    ceiling = ConvolutionCeiling("openvino", graph, config)
    return lambda seconds: ceiling.measure(seconds) / (2 * macs)


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


def _pytorch(setting: str, batch: int, threads: int, *, compiled: bool) -> Callable[[], object]:
    import torch

    torch.set_num_threads(threads)
    generator = build(setting)
    z, coords = _inputs(batch, generator.network.z_dim, generator.coords_shape)
    noise = generator.synthesis.noise_const()
    given = torch.from_numpy(z), None, torch.from_numpy(coords)
    call = torch.compile(generator) if compiled else generator

    def run() -> object:
        with torch.inference_mode():
            return call(*given, psi=0.7, noise=noise)

    return run


def build(setting: str) -> Any:
    """The generator of a setting: the same random weights every time, in evaluation mode."""
    import torch

    from segan.train.networks.config import NetworkConfig, SubspaceConfig
    from segan.train.networks.stylegan2.generator import Generator

    torch.manual_seed(0)
    network = NetworkConfig(**SETTINGS[setting][0])
    generator = Generator(network, SubspaceConfig(mode=2)).eval().requires_grad_(False)
    z, coords = _inputs(4, network.z_dim, generator.coords_shape)
    noise = generator.synthesis.noise_const()
    with torch.inference_mode():
        images = generator(torch.from_numpy(z), None, torch.from_numpy(coords), noise=noise)
    for block in generator.synthesis.block_list():
        if block.to_rgb is not None:
            block.to_rgb.weight.mul_(BRIGHTNESS / float(images.std()))
    return generator


def _open(
    bundle: str, backend: str, precision: str, batch: int, threads: int
) -> Callable[[], object]:
    from segan.runtime import load

    generator = load(bundle, backend, precision=precision, threads=threads)
    seeds = range(batch)
    return lambda: generator.generate(seeds, psi=0.7, batch_size=batch)


# The run.


class Contestant:
    """One worker process."""

    def __init__(
        self, name: str, setting: str, batch: int, bundle: Path, options: argparse.Namespace
    ) -> None:
        self.name, self.batch, self.rates = name, batch, list[float]()
        self.peak_mib = 0.0
        command = [sys.executable, __file__, "--worker", name, "--setting", setting]
        command += ["--batch", str(batch)]
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

    batches = SETTINGS[setting][1]
    path = folder / f"{setting}.segan"
    config = ExportConfig(batch_sizes=(1,), precisions=("int8",))
    manifest = export_bundle(build(setting), path, config).manifest
    psnr = {
        f"{record.backend} {record.precision}": record.psnr_db for record in manifest.verification
    }
    psnr["openvino bf16"] = _psnr(path, "bf16")
    rows = []
    for batch in batches:
        # torch.compile takes minutes to begin with.
        running = [Contestant(name, setting, batch, path, options) for name in CONTESTANTS]
        try:
            for number in range(options.rounds):
                # Another order in every round, so that no contestant always follows the same one.
                turn = number % len(running)
                for contestant in running[turn:] + running[:turn]:
                    contestant.round()
        finally:
            for contestant in running:
                contestant.close()
        rows += [_row(setting, contestant, running, psnr) for contestant in running]
    return rows


def _psnr(bundle: Path, precision: str) -> float:
    """PSNR in dB of OpenVINO's images of 16 seeds against ONNX Runtime's in fp32."""
    from segan.runtime import load

    images = []
    for backend, kind in (("cpu", "fp32"), ("openvino", precision)):
        with load(bundle, backend, precision=kind) as generator:
            manifest = generator.manifest
            z, coords = _inputs(
                8 if manifest.resolution <= 256 else 2,
                manifest.z_dim,
                (manifest.num_subspaces, manifest.coords_dim),
            )
            images.append(generator.synthesize(*generator.style(generator.map(z), 1.0, coords)))
    return float(10 * np.log10(4 / np.mean(np.square(images[1] - images[0], dtype=np.float64))))


def _row(
    setting: str, contestant: Contestant, running: list[Contestant], psnr: dict[str, float]
) -> dict[str, Any]:
    def ratio(other: str) -> float | None:
        base = next((one.rates for one in running if one.name == other), None)
        if base is None:
            return None
        pairs = zip(contestant.rates, base, strict=True)
        return round(statistics.median(own / theirs for own, theirs in pairs), 3)

    name = contestant.name
    precision = name.split()[-1] if name not in (EAGER, COMPILED) else "fp32"
    return {
        "setting": f"{setting}²",
        "batch": contestant.batch,
        "what": name,
        "images_per_s": round(statistics.median(contestant.rates), 2),
        "slowest": round(min(contestant.rates), 2),
        "fastest": round(max(contestant.rates), 2),
        "batch_ms": round(1000 * contestant.batch / statistics.median(contestant.rates), 2),
        "ratio_to_eager": ratio(EAGER),
        "of_ceiling": ratio(f"{CEILING}{precision}"),
        "peak_mib": round(contestant.peak_mib, 1),
        "psnr_db": psnr.get(name),
    }


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
    parser.add_argument("--batch", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--bundle", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(
            options.worker,
            options.setting,
            options.bundle,
            options.batch,
            options.threads,
            options.seconds,
        )
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
    print("| | batch | images/s | ms a batch | × eager | of ceiling | PSNR, dB | peak MiB |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        shown = {name: "" if value is None else value for name, value in row.items()}
        share = "" if row["of_ceiling"] is None else f"{row['of_ceiling']:.0%}"
        decibel = "" if row["psnr_db"] is None else f"{row['psnr_db']:.1f}"
        print(
            f"| {shown['setting']}, {shown['what']} | {shown['batch']} | {shown['images_per_s']} "
            f"| {shown['batch_ms']} | {shown['ratio_to_eager']} | {share} | {decibel} "
            f"| {shown['peak_mib']:.0f} |"
        )


if __name__ == "__main__":
    main()
