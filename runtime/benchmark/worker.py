"""A process of ``segan benchmark``: one row's graphs, or one ceiling, timed a round at a time.

It reads a task, then commands, as JSON lines on stdin, and answers each with a JSON line on stdout:
``{"ok": …}``, or ``{"problem": "why"}`` for what the backend refuses. A process of its own makes
peak memory a row's own, and keeps the others going when a library takes its process down.
"""

from __future__ import annotations

import json
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Literal

import msgspec
import numpy as np

from segan.runtime.backends.graphs import BundleGraphs, open_graphs
from segan.runtime.backends.pixels import to_uint8
from segan.runtime.backends.session import Precision, SessionConfig
from segan.runtime.bundle.manifest import Manifest
from segan.runtime.bundle.reader import open_bundle
from segan.runtime.errors import SeganError
from segan.runtime.latents.draws import sample_coords, sample_z
from segan.runtime.latents.inputs import GraphInputs
from segan.runtime.machine.cores import usable_cores
from segan.runtime.machine.memory import peak_memory

#: The images that errors are measured on; whole numbers from 0.
COMPARED_SEEDS = tuple(range(8))

#: Mean square errors below this are told as this, since 0 has no PSNR: 200 dB.
_SMALLEST_MSE = 4e-20


class Task(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a process measures.

    Attributes:
        kind: a bundle's ``row``, a ``ceiling``, or the ``reference`` images.
        backend: what computes.
        precision: of the computation.
        graph: precision of the graph that is read.
        bundle: its path.
        batch: images at once.
        threads: CPU threads; None for the cores.
        throughput: several threads call at once.
        reference: file with the images to compare with; the reference writes it.
    """

    kind: Literal["row", "ceiling", "reference"]
    backend: str
    precision: Precision
    graph: Precision = "fp32"
    bundle: str = ""
    batch: int = 1
    threads: int | None = None
    throughput: bool = False
    reference: str = ""

    @property
    def config(self) -> SessionConfig:
        """How the backend computes."""
        return SessionConfig(
            precision=self.precision, threads=self.threads, throughput=self.throughput
        )


def graph_inputs(manifest: Manifest, seeds: Sequence[int]) -> GraphInputs:
    """What the images of seeds are computed from: psi 1, sampled coordinates, constant noise."""
    labels = coords = None
    if manifest.c_dim:
        labels = np.eye(manifest.c_dim, dtype=np.float32)[[n % manifest.c_dim for n in seeds]]
    if manifest.num_subspaces:
        coords = sample_coords(seeds, manifest.subspaces, manifest.coords_dim)
    return GraphInputs(z=sample_z(seeds, manifest.z_dim), labels=labels, coords=coords)


def float_images(graphs: BundleGraphs, batch: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The compared images before they become bytes, in batches of ``batch`` at most.

    Returns:
        [N, C, H, W] float32, nominally in [-1, 1].
    """
    parts = []
    for first in range(0, len(COMPARED_SEEDS), batch):
        inputs = graph_inputs(graphs.manifest, COMPARED_SEEDS[first : first + batch])
        w = graphs.run("mapping", {"z": inputs.z, "c": inputs.labels})["w"]
        ws, shifts = graphs.style(w, inputs.psi, inputs.coords)
        parts.append(graphs.synthesize(ws, shifts, None))
    return np.concatenate(parts)


class Row:
    """A bundle on one backend, in one precision, with one batch size."""

    def __init__(self, task: Task) -> None:
        """Loads the graphs and runs them twice; raises SeganError."""
        start = time.perf_counter()
        self._graphs = open_graphs(
            open_bundle(task.bundle), task.backend, task.precision, task.config
        )
        self._load_s = time.perf_counter() - start
        self._task = task
        self._inputs = graph_inputs(self._graphs.manifest, range(task.batch))
        self._callers = (task.threads or usable_cores()) if task.throughput else 1
        start = time.perf_counter()
        self._images = self._graphs.images(self._inputs)
        self._first_s = time.perf_counter() - start
        self._graphs.images(self._inputs)

    def ready(self) -> dict[str, Any]:
        """How long loading and the first batch took, and the memory that they needed."""
        return {
            "load_s": self._load_s,
            "first_batch_s": self._first_s,
            "callers": self._callers,
            "peak_bytes": peak_memory(),
        }

    def round(self, seconds: float) -> dict[str, Any]:
        """The rate of a stream of batches, then the times of single batches."""
        if self._callers > 1:
            return self._round_of_callers(seconds)
        start = time.perf_counter()
        images = 0
        for batch in self._graphs.stream(self._until(start + seconds)):
            images += len(batch)
        rate = images / (time.perf_counter() - start)
        return {"images_per_s": rate, "latencies_s": self._time_batches(seconds / 2)}

    def _until(self, end: float) -> Iterator[GraphInputs]:
        """The same batch until the time is over, at least once."""
        yield self._inputs
        while time.perf_counter() < end:
            yield self._inputs

    def _time_batches(self, seconds: float) -> list[float]:
        end, times = time.perf_counter() + seconds, list[float]()
        while not times or time.perf_counter() < end:
            start = time.perf_counter()
            self._graphs.images(self._inputs)
            times.append(time.perf_counter() - start)
        return times

    def _round_of_callers(self, seconds: float) -> dict[str, Any]:
        """The rate of several threads that call side by side, and the times of their batches."""
        times: list[float] = []
        problems: list[SeganError] = []

        def call() -> None:
            try:
                times.extend(self._time_batches(seconds))
            except SeganError as error:
                problems.append(error)

        start = time.perf_counter()
        threads = [threading.Thread(target=call) for _ in range(self._callers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if problems:
            raise problems[0]
        elapsed = time.perf_counter() - start
        return {"images_per_s": len(times) * self._task.batch / elapsed, "latencies_s": times}

    def finish(self) -> dict[str, Any]:
        """Peak memory, and how far the images are from the reference's."""
        # Before the comparison, which holds more than a row needs.
        found: dict[str, Any] = {"peak_bytes": peak_memory()}
        if not self._task.reference:
            return found
        with open(self._task.reference, "rb") as file:
            expected = np.load(file, allow_pickle=False)
        difference = float_images(self._graphs, self._task.batch).astype(np.float64) - expected
        mse = max(float(np.square(difference).mean()), _SMALLEST_MSE)
        timed = self._images[: len(expected)].astype(int)
        apart = np.abs(timed - to_uint8(expected)[: len(timed)])
        finite = math.isfinite(mse)
        return found | {
            "max_error": float(np.abs(difference).max()) if finite else None,
            "psnr_db": 10 * math.log10(4 / mse) if finite else None,
            "max_error_uint8": int(apart.max()),
        }


class Ceiling:
    """A large convolution on one backend, in one precision."""

    def __init__(self, task: Task) -> None:
        """Loads and tries the shapes; raises BackendError."""
        from segan.runtime.benchmark.ceiling import ConvolutionCeiling

        self._ceiling = ConvolutionCeiling(task.backend, task.graph, task.config)

    def ready(self) -> dict[str, Any]:
        """The shape that was fastest."""
        return {"shape": str(self._ceiling.shape), "peak_bytes": peak_memory()}

    def round(self, seconds: float) -> dict[str, Any]:
        """Its rate."""
        return {"flop_per_s": self._ceiling.measure(seconds)}

    def finish(self) -> dict[str, Any]:
        """Nothing more."""
        return {}


def write_reference(task: Task) -> None:
    """Writes the images to compare with; raises SeganError."""
    graphs = open_graphs(open_bundle(task.bundle), task.backend, task.precision, task.config)
    images = float_images(graphs, len(COMPARED_SEEDS))
    with Path(task.reference).open("xb") as file:
        np.save(file, images, allow_pickle=False)


def main() -> None:
    """Answers the lines on stdin until they end."""
    # What a library prints goes to stderr, so that it cannot come between the answers.
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    lines = iter(sys.stdin.buffer)
    task = msgspec.json.decode(next(lines), type=Task)
    contestant: Row | Ceiling | None = None

    def start() -> dict[str, Any]:
        nonlocal contestant
        if task.kind == "reference":
            write_reference(task)
            return {}
        contestant = Row(task) if task.kind == "row" else Ceiling(task)
        return contestant.ready()

    if not _answer(out, start):
        return
    for line in lines:
        assert contestant is not None, "the reference takes no commands"
        seconds = json.loads(line)["seconds"]
        measure = partial(contestant.round, seconds) if seconds else contestant.finish
        if not _answer(out, measure):
            return


def _answer(out: BinaryIO, compute: Callable[[], dict[str, Any]]) -> bool:
    """Writes the result or what went wrong; whether it went well."""
    found: dict[str, Any]
    try:
        found = {"ok": compute()}
    except SeganError as error:
        found = {"problem": str(error)}
    except MemoryError:
        found = {"problem": "memory ran out. Use a smaller batch size."}
    out.write(json.dumps(found).encode() + b"\n")
    return "ok" in found


if __name__ == "__main__":
    main()
