"""Start-up times of the commands, and what share of the bare session's rate a batch keeps.

    python benchmarks/commands.py faces.segan

Start-up: whole processes, median of several. Batch: ``generate_batch`` writing PNG files against
the same session running the same batches on prepared inputs and writing nothing, taking turns in
one process, so that both meet the same load.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from segan.runtime.backends.pixels import to_uint8
from segan.runtime.batch.pipeline import generate_batch
from segan.runtime.batch.plan import BatchRequest
from segan.runtime.generate.generator import Generator, load
from segan.runtime.latents.draws import sample_coords, sample_z
from segan.runtime.latents.options import GenerationOptions


def command_seconds(args: list[str], rounds: int, folder: Path) -> float:
    """Median wall seconds of a whole segan process, after one that warms the file cache."""
    seconds = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "segan.cli.main", *args],
            cwd=folder,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])


def bare_rate(generator: Generator, count: int, batch: int) -> float:
    """Images a second of the three graphs alone, from prepared latents to uint8, nothing kept."""
    manifest = generator.manifest
    z = sample_z(range(batch), manifest.z_dim)
    coords = sample_coords(range(batch), manifest.subspaces, manifest.coords_dim)
    start = time.perf_counter()
    for _ in range(count // batch):
        ws, shifts = generator.style(generator.map(z), 1.0, coords)
        to_uint8(generator.synthesize(ws, shifts))
    return count / (time.perf_counter() - start)


def batch_rate(generator: Generator, count: int, batch: int) -> float:
    """Images a second of the whole pipeline: seeds to PNG files."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        options = GenerationOptions(batch_size=batch)
        request = BatchRequest(seeds=range(count), options=options)
        generate_batch(generator, request, Path(folder))
        return count / (time.perf_counter() - start)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--backend", default="cpu")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--count", type=int, default=512)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-start-up", action="store_true", help="only batch against bare")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    bundle = str(options.bundle.resolve())
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start_up = {
            "segan --help": ["--help"],
            "segan sweep --help": ["sweep", "--help"],
            "cold segan sweep": ["sweep", bundle, "--layer", "3", "--dim", "5"],
        }
        for label, args in () if options.no_start_up else start_up.items():
            found[f"{label} (s)"] = command_seconds(args, options.rounds, folder)
    generator = load(bundle, options.backend, precision=options.precision)
    found["backend"] = f"{generator.backend}, {generator.precision}"
    bare_rate(generator, options.batch * 4, options.batch)
    rounds = [
        (
            bare_rate(generator, options.count, options.batch),
            batch_rate(generator, options.count, options.batch),
        )
        for _ in range(options.rounds)
    ]
    found["bare session (images/s)"] = statistics.median(bare for bare, _ in rounds)
    found["batch to PNG (images/s)"] = statistics.median(batch for _, batch in rounds)
    found["batch / bare"] = statistics.median(batch / bare for bare, batch in rounds)
    if options.json:
        print(json.dumps(found, indent=2))
        return
    for label, value in found.items():
        print(f"{label:26} {value if isinstance(value, str) else format(value, '.3g')}")


if __name__ == "__main__":
    main()
