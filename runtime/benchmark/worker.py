"""A worker of ``segan benchmark``: one row's graphs, or one ceiling, timed a round at a time.

It receives a ``Task``, then a ``Round`` for each round, and at the end of a row a
``Finish``. A separate worker gives each row its own peak memory.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from segan.runtime.backends.graphs import BundleGraphs, open_graphs
from segan.runtime.backends.pixels import to_uint8
from segan.runtime.backends.session import Precision, SessionConfig
from segan.runtime.benchmark.ceiling import ConvolutionCeiling
from segan.runtime.bundle.classes import one_hot
from segan.runtime.bundle.manifest import Manifest
from segan.runtime.bundle.reader import open_bundle
from segan.runtime.errors import BackendError, SeganError
from segan.runtime.latents.draws import sample_coords, sample_z
from segan.runtime.latents.inputs import GraphInputs
from segan.runtime.machine.cores import usable_cores
from segan.runtime.machine.memory import peak_memory
from segan.runtime.machine.worker import Step, serve

#: Seeds of the images that errors are measured on.
COMPARED_SEEDS = tuple(range(8))

#: Lower bound of the mean square error, which is a PSNR of 200 dB; an error of 0 has none.
_SMALLEST_MSE = 4e-20


class Task(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag=True):
    """What a worker measures.

    Attributes:
        kind: a bundle's ``row``, a ``ceiling``, or the ``reference`` images.
        backend: its name.
        precision: of the computation.
        graph: precision of the graph that is read.
        bundle: its path.
        batch: images at once.
        threads: CPU threads; None for the cores.
        throughput: whether several threads call at once.
        reference: file of the images to compare with, which the reference task writes.
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
        """The settings of the backend."""
        return SessionConfig(
            precision=self.precision, threads=self.threads, throughput=self.throughput
        )


class Round(msgspec.Struct, frozen=True, tag=True):
    """Measure for this many seconds."""

    seconds: float


class Finish(msgspec.Struct, frozen=True, tag=True):
    """Compare a row's images with the reference."""


class LoadedRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row that is ready to be timed.

    Attributes:
        load_s: seconds to open the bundle and load its graphs.
        first_batch_s: seconds of the first batch.
        callers: threads that call at once.
        peak_bytes: most main memory so far; None where the system does not report it.
    """

    load_s: float
    first_batch_s: float
    callers: int
    peak_bytes: int | None


class RowRound(msgspec.Struct, frozen=True, kw_only=True):
    """A round of a row: its rate, and the seconds of single batches."""

    images_per_s: float
    latencies_s: list[float]


class FinishedRow(msgspec.Struct, frozen=True, kw_only=True):
    """Peak memory and distance from the reference; see ``RowResult`` for the fields."""

    peak_bytes: int | None
    max_error: float | None = None
    psnr_db: float | None = None
    max_error_uint8: int | None = None


def graph_inputs(manifest: Manifest, seeds: Sequence[int]) -> GraphInputs:
    """Return the inputs of seeds: psi 1, sampled coordinates, constant noise."""
    labels = coords = None
    if manifest.c_dim:
        labels = one_hot([n % manifest.c_dim for n in seeds], manifest.c_dim)
    if manifest.num_subspaces:
        coords = sample_coords(seeds, manifest.subspaces, manifest.coords_dim)
    return GraphInputs(z=sample_z(seeds, manifest.z_dim), labels=labels, coords=coords)


def float_images(graphs: BundleGraphs, batch: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Compute the compared images as floats, in batches of at most ``batch``.

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
        """Load the graphs and run them twice. Raises: SeganError."""
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

    def loaded(self) -> LoadedRow:
        """Return the times of loading and of the first batch, and their memory."""
        return LoadedRow(
            load_s=self._load_s,
            first_batch_s=self._first_s,
            callers=self._callers,
            peak_bytes=peak_memory(),
        )

    def round(self, seconds: float) -> RowRound:
        """Measure the rate of a stream of batches, then the times of single batches."""
        if self._callers > 1:
            return self._round_of_callers(seconds)
        start = time.perf_counter()
        images = 0
        for batch in self._graphs.stream(self._until(start + seconds)):
            images += len(batch)
        rate = images / (time.perf_counter() - start)
        return RowRound(images_per_s=rate, latencies_s=self._time_batches(seconds / 2))

    def _until(self, end: float) -> Iterator[GraphInputs]:
        """Yield the same batch until the time is over, at least once."""
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

    def _round_of_callers(self, seconds: float) -> RowRound:
        """Measure the rate of several threads that call at once, and their batches' times."""
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
        return RowRound(images_per_s=len(times) * self._task.batch / elapsed, latencies_s=times)

    def finish(self) -> FinishedRow:
        """Return the peak memory, and the distance of the images from the reference."""
        # Before the comparison, which needs more memory than a row.
        peak = peak_memory()
        if not self._task.reference:
            return FinishedRow(peak_bytes=peak)
        with open(self._task.reference, "rb") as file:
            expected = np.load(file, allow_pickle=False)
        difference = float_images(self._graphs, self._task.batch).astype(np.float64) - expected
        mse = max(float(np.square(difference).mean()), _SMALLEST_MSE)
        timed = self._images[: len(expected)].astype(int)
        apart = np.abs(timed - to_uint8(expected)[: len(timed)])
        finite = math.isfinite(mse)
        return FinishedRow(
            peak_bytes=peak,
            max_error=float(np.abs(difference).max()) if finite else None,
            psnr_db=10 * math.log10(4 / mse) if finite else None,
            max_error_uint8=int(apart.max()),
        )


def write_reference(task: Task) -> None:
    """Write the images to compare with. Raises: SeganError."""
    graphs = open_graphs(open_bundle(task.bundle), task.backend, task.precision, task.config)
    images = float_images(graphs, len(COMPARED_SEEDS))
    with Path(task.reference).open("xb") as file:
        np.save(file, images, allow_pickle=False)


class Measurement:
    """What one worker measures; called with each request."""

    def __init__(self) -> None:
        self._row: Row | None = None
        self._ceiling: ConvolutionCeiling | None = None

    def __call__(self, request: Task | Round | Finish, step: Step) -> Any:
        """Compute the answer to a request.

        Returns:
            ``LoadedRow``, ``RowRound`` and ``FinishedRow`` of a row; of a ceiling the convolution
            that was fastest, as text, and FLOP/s; None of the reference.

        Raises:
            SeganError: the backend does not compute it, or memory ran out.
        """
        try:
            return self._answer(request)
        except MemoryError:
            raise BackendError("memory ran out", remedy="Use a smaller batch size.") from None

    def _answer(self, request: Task | Round | Finish) -> Any:
        if isinstance(request, Task):
            return self._load(request)
        if self._ceiling is not None:
            assert isinstance(request, Round), "a ceiling has nothing to finish"
            return self._ceiling.measure(request.seconds)
        assert self._row is not None, "the reference is requested only once"
        return (
            self._row.round(request.seconds) if isinstance(request, Round) else self._row.finish()
        )

    def _load(self, task: Task) -> LoadedRow | str | None:
        if task.kind == "reference":
            write_reference(task)
            return None
        if task.kind == "ceiling":
            self._ceiling = ConvolutionCeiling(task.backend, task.graph, task.config)
            return str(self._ceiling.shape)
        self._row = Row(task)
        return self._row.loaded()


if __name__ == "__main__":
    serve(Task | Round | Finish, Measurement())
