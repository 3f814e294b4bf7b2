"""How fast metrics run against the bare session, and what memory they take, in one run.

Each round measures in turn the bundle's images alone (``generate_batches``, batch 64, from seeds to
bytes, as in ``segan generate``) and ``fd_faces`` of as many seeds. The ratios of the rates and of
the processor's time are taken within a round; only the first depends on the load of other
processes. Memory is the peak of a separate process for each of two n.

Run from the repository root: ``python benchmarks/metrics_rate.py BUNDLE [--network FOLDER]``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path


def rates(options: argparse.Namespace) -> None:
    """Print the rates of each round and their ratios."""
    import torch

    from segan.runtime.generate.generator import load
    from segan.train.measure.models.model import ImageOptions
    from segan.train.measure.models.open import Compute, open_model
    from segan.train.measure.quality.context import MetricContext
    from segan.train.measure.quality.detectors import DetectorSet
    from segan.train.measure.quality.registry import parse_metric

    n = options.images
    metric = parse_metric(f"fd_faces{n}")
    given = {} if options.network is None else {"faces": options.network}
    compute = Compute(backend=options.backend, threads=options.threads)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    model = open_model(options.bundle, ImageOptions(batch_size=options.batch), compute)
    detectors = DetectorSet(torch.device("cpu"), model.resolution, given)  # type: ignore[arg-type]
    ratios, cpu_ratios, found = [], [], []
    with load(options.bundle, options.backend, threads=options.threads) as bare:
        for number in range(options.rounds + 1):
            start, cpu = time.perf_counter(), time.process_time()
            for _ in bare.generate_batches(range(n), batch_size=options.batch):
                pass
            alone, alone_cpu = n / (time.perf_counter() - start), time.process_time() - cpu
            context = MetricContext(model, detectors)
            start, cpu = time.perf_counter(), time.process_time()
            metric.check(context)
            context.prepare(metric.requests(resample=False))
            value = metric.compute(context).value
            scored, scored_cpu = n / (time.perf_counter() - start), time.process_time() - cpu
            if not number:
                continue  # the first round loads and allocates
            ratios.append(scored / alone)
            cpu_ratios.append(alone_cpu / scored_cpu)
            found.append(value)
            print(
                f"round {number}: bare {alone:.0f} images/s, fd_faces{n} {scored:.0f} images/s, "
                f"ratio {ratios[-1]:.2f}; "
                f"CPU time {alone_cpu / n * 1e3:.3f} and {scored_cpu / n * 1e3:.3f} ms an image, "
                f"ratio {cpu_ratios[-1]:.2f}",
                flush=True,
            )
    print(
        f"median ratio {statistics.median(ratios):.3f}, of CPU time "
        f"{statistics.median(cpu_ratios):.3f}; value {found[0]:.6g}, all equal: "
        f"{len(set(found)) == 1}"
    )


def memory(options: argparse.Namespace) -> None:
    """Print the peak memory of a process at two values of n."""
    for n in (options.images, 10 * options.images):
        command = [sys.executable, __file__, str(options.bundle), "--backend", options.backend]
        command += ["--images", str(n), "--batch", str(options.batch), "--worker"]
        if options.network is not None:
            command += ["--network", str(options.network)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        print(f"n {n}: peak {json.loads(done.stdout)['peak'] / 2**20:.0f} MiB", flush=True)


def worker(options: argparse.Namespace) -> None:
    """Compute one score, and print the peak memory of the process."""
    import torch

    from segan.runtime.machine.memory import peak_memory
    from segan.train.measure.models.model import ImageOptions
    from segan.train.measure.models.open import Compute, open_model
    from segan.train.measure.quality.context import MetricContext
    from segan.train.measure.quality.detectors import DetectorSet
    from segan.train.measure.quality.registry import parse_metric

    given = {} if options.network is None else {"faces": options.network}
    compute = Compute(backend=options.backend)
    model = open_model(options.bundle, ImageOptions(batch_size=options.batch), compute)
    detectors = DetectorSet(torch.device("cpu"), model.resolution, given)  # type: ignore[arg-type]
    metric = parse_metric(f"fd_faces{options.images}")
    context = MetricContext(model, detectors)
    context.prepare(metric.requests(resample=False))
    metric.compute(context)
    print(json.dumps({"peak": peak_memory()}))


def main() -> None:
    """Read the arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--network", type=Path, help="an attribute network; else the shipped one")
    parser.add_argument("--backend", default="cpu")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, help="of the backend; default: physical cores")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options)
        return
    rates(options)
    memory(options)


if __name__ == "__main__":
    main()
