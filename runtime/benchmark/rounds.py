"""Measuring a bundle on every backend, in every precision and batch size, with its ceilings.

Each row has its own process, and so has each ceiling, the large convolution of a backend and a
precision. Their rounds alternate, so that a busy moment of the machine affects all of them. Rows
that do not fit in memory together run one set after the other.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segan.runtime.backends.choose import Choice
from segan.runtime.backends.registry import BACKENDS
from segan.runtime.benchmark.ceiling import measure_device_copy, measure_host_copy
from segan.runtime.benchmark.cost import count_macs
from segan.runtime.benchmark.plan import (
    BenchmarkConfig,
    BenchmarkResult,
    CeilingResult,
    NotRun,
    RowResult,
    plan,
)
from segan.runtime.benchmark.worker import Finish, FinishedRow, LoadedRow, Round, RowRound, Task
from segan.runtime.bundle.graph_files import read_graph
from segan.runtime.bundle.reader import open_bundle
from segan.runtime.errors import BackendError, SeganError
from segan.runtime.machine.hardware import describe_memory
from segan.runtime.machine.memory import used_device_memory
from segan.runtime.machine.worker import Worker

#: Share of the main memory that is left to other processes.
_MEMORY_KEPT = 0.1

#: Length of a ceiling's round, as a share of a row's.
_CEILING_SHARE = 0.5


def start_worker() -> Worker:
    """Start a process that measures one row or ceiling."""
    return Worker("segan.runtime.benchmark.worker", task="measured it", failure=BackendError)


def run_benchmark(
    path: Path,
    config: BenchmarkConfig,
    *,
    on_start: Callable[[int], None] = lambda steps: None,
    on_step: Callable[[], None] = lambda: None,
) -> BenchmarkResult:
    """Measure everything that is requested and works here.

    Args:
        path: a bundle.
        config: the request.
        on_start: called with an estimate of the number of steps.
        on_step: called after each step.

    Returns:
        The result. What failed is in ``not_run``, with the reason; ``rows`` may be empty.

    Raises:
        BundleError: the bundle is missing or damaged.
        ConfigError: no requested backend computes one of the requested precisions.
    """
    bundle = open_bundle(path)
    graphs = bundle.manifest.graphs.synthesis
    choices, not_run = plan(config, tuple(graphs))
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    result = BenchmarkResult(
        bundle=bundle.path,
        name=bundle.manifest.name,
        resolution=bundle.manifest.resolution,
        macs=count_macs(read_graph(bundle, "synthesis"), bundle.manifest),
        rows=[],
        not_run=not_run,
        ceilings=[],
        host_copy=None,
        device_copy=None,
        reference_problem=None,
        load_1min=load,
    )
    if not choices:
        return result
    contestants = len(choices) * (len(config.batches) + 1)
    on_start(1 + contestants * (1 + config.rounds) + len(choices) * len(config.batches))
    with tempfile.TemporaryDirectory(prefix="segan-benchmark-") as folder:
        run = _Run(result, config, Path(folder) / "reference.npy", on_step)
        run.measure(choices, {name: len(bundle.read(file)) for name, file in graphs.items()})
    return result


@dataclass(kw_only=True)
class _Contestant:
    """A row that is being measured."""

    choice: Choice
    batch: int
    worker: Worker
    loaded: LoadedRow
    device_bytes: int | None
    rates: list[float]
    latencies_s: list[float]


class _Run:
    """One measurement, which fills in a result."""

    def __init__(
        self,
        result: BenchmarkResult,
        config: BenchmarkConfig,
        reference: Path,
        on_step: Callable[[], None],
    ) -> None:
        self._result, self._config = result, config
        self._reference, self._on_step = reference, on_step
        # Peak bytes of a row by batch size, to estimate what further rows need.
        self._peaks: dict[int, int] = {}

    def measure(self, choices: Sequence[Choice], sizes: dict[str, int]) -> None:
        """Measure the ceilings, the reference, then the rows."""
        with contextlib.ExitStack() as stack:
            self._measure_copies(choices)
            ceilings = {id(choice): self._start_ceiling(choice, stack) for choice in choices}
            self._write_reference()
            # The large batches last: their memory is estimated from the small ones.
            pending = [
                (choice, batch) for batch in sorted(set(self._config.batches)) for choice in choices
            ]
            alone: list[tuple[Choice, int]] = []
            while pending or alone:
                with contextlib.ExitStack() as processes:
                    if pending:
                        rows = self._start_rows(pending, alone, processes)
                    else:
                        rows = self._start_rows([alone.pop(0)], [], processes)
                    self._run_rounds(rows, ceilings)
                    self._finish(rows, sizes)
        flops = {
            (ceiling.choice.backend, ceiling.choice.precision): ceiling.flop_per_s
            for ceiling in self._result.ceilings
        }
        order = {id(choice): number for number, choice in enumerate(choices)}
        self._result.rows.sort(key=lambda row: (order[id(row.choice)], row.batch))
        for row in self._result.rows:
            row.ceiling = flops[row.choice.backend, row.choice.precision]

    def _measure_copies(self, choices: Sequence[Choice]) -> None:
        with contextlib.suppress(MemoryError):
            self._result.host_copy = measure_host_copy()
        if any(BACKENDS[choice.backend].on_gpu for choice in choices):
            with contextlib.suppress(BackendError):
                self._result.device_copy = measure_device_copy()
        self._on_step()

    def _task(self, kind: Any, choice: Choice, **own: Any) -> Task:
        return Task(
            kind=kind,
            backend=choice.backend,
            precision=choice.precision,
            graph=choice.graph,
            threads=self._config.threads,
            **own,
        )

    def _start_ceiling(
        self, choice: Choice, stack: contextlib.ExitStack
    ) -> tuple[CeilingResult, Worker]:
        ceiling = CeilingResult(choice=choice, rates=[])
        self._result.ceilings.append(ceiling)
        worker = stack.enter_context(start_worker())
        try:
            ceiling.shape = worker.ask(self._task("ceiling", choice), str)
        except SeganError as error:
            ceiling.problem = str(error)
        self._on_step()
        return ceiling, worker

    def _write_reference(self) -> None:
        task = Task(
            kind="reference",
            backend="cpu",
            precision="fp32",
            bundle=str(self._result.bundle),
            threads=self._config.threads,
            reference=str(self._reference),
        )
        try:
            with start_worker() as worker:
                worker.ask(task, type(None))
        except SeganError as error:
            self._result.reference_problem = str(error)

    def _start_rows(
        self,
        pending: list[tuple[Choice, int]],
        alone: list[tuple[Choice, int]],
        stack: contextlib.ExitStack,
    ) -> list[_Contestant]:
        """Start as many rows of ``pending`` as fit in memory, and remove them from it.

        Rows that fail on a GPU together with other rows are added to ``alone``, to be tried alone.
        """
        running: list[_Contestant] = []
        while pending:
            choice, batch = pending[0]
            if running and not self._fits(batch):
                break
            del pending[0]
            on_gpu = BACKENDS[choice.backend].on_gpu
            before = used_device_memory() if on_gpu else None
            reference = "" if self._result.reference_problem else str(self._reference)
            task = self._task(
                "row",
                choice,
                bundle=str(self._result.bundle),
                batch=batch,
                throughput=self._config.throughput,
                reference=reference,
            )
            worker = stack.enter_context(start_worker())
            try:
                loaded = worker.ask(task, LoadedRow)
            except SeganError as error:
                worker.close()
                if on_gpu and running:
                    alone.append((choice, batch))
                else:
                    self._give_up(choice, batch, str(error))
                continue
            after = used_device_memory() if on_gpu else None
            used = None if before is None or after is None else max(0, after - before)
            self._peaks[batch] = max(self._peaks.get(batch, 0), loaded.peak_bytes or 0)
            running.append(
                _Contestant(
                    choice=choice,
                    batch=batch,
                    worker=worker,
                    loaded=loaded,
                    device_bytes=used,
                    rates=[],
                    latencies_s=[],
                )
            )
            self._on_step()
        return running

    def _fits(self, batch: int) -> bool:
        """Return whether another row of this batch size fits in memory now."""
        memory = describe_memory()
        if memory["available"] is None or memory["total"] is None:
            return True
        need = max((peak * max(1.0, batch / size) for size, peak in self._peaks.items()), default=0)
        return memory["available"] - need > _MEMORY_KEPT * memory["total"]

    def _run_rounds(
        self,
        rows: list[_Contestant],
        ceilings: dict[int, tuple[CeilingResult, Worker]],
    ) -> None:
        """Run all rounds: each ceiling of these rows, and each row, in a rotating order."""
        for number in range(self._config.rounds):
            for ceiling, worker in ceilings.values():
                used = any(row.choice is ceiling.choice for row in rows)
                if ceiling.problem is None and used:
                    self._run_ceiling(ceiling, worker)
            turn = number % max(1, len(rows))
            for row in rows[turn:] + rows[:turn]:
                try:
                    found = row.worker.ask(Round(self._config.seconds), RowRound)
                except SeganError as error:
                    self._give_up(row.choice, row.batch, str(error))
                    rows.remove(row)
                    continue
                row.rates.append(found.images_per_s)
                row.latencies_s += found.latencies_s
                self._on_step()

    def _run_ceiling(self, ceiling: CeilingResult, worker: Worker) -> None:
        try:
            rate = worker.ask(Round(self._config.seconds * _CEILING_SHARE), float)
        except SeganError as error:
            ceiling.problem, ceiling.rates = str(error), []
            return
        ceiling.rates.append(rate)
        self._on_step()

    def _finish(self, rows: list[_Contestant], sizes: dict[str, int]) -> None:
        for row in rows:
            try:
                found = row.worker.ask(Finish(), FinishedRow)
            except SeganError as error:
                self._give_up(row.choice, row.batch, str(error))
                continue
            self._result.rows.append(
                RowResult(
                    choice=row.choice,
                    batch=row.batch,
                    callers=row.loaded.callers,
                    load_s=row.loaded.load_s,
                    first_batch_s=row.loaded.first_batch_s,
                    rates=row.rates,
                    latencies_s=row.latencies_s,
                    peak_bytes=found.peak_bytes,
                    device_bytes=row.device_bytes,
                    file_bytes=sizes[row.choice.graph],
                    max_error=found.max_error,
                    psnr_db=found.psnr_db,
                    max_error_uint8=found.max_error_uint8,
                    ceiling=None,
                    macs=self._result.macs,
                )
            )
            self._on_step()

    def _give_up(self, choice: Choice, batch: int, problem: str) -> None:
        """Record what cannot run; batch sizes with the same reason together."""
        for number, known in enumerate(self._result.not_run):
            same = (known.backend, known.precision, known.problem)
            if same == (choice.backend, choice.precision, problem):
                batches = (*known.batches, batch)
                self._result.not_run[number] = NotRun(
                    backend=known.backend,
                    precision=known.precision,
                    batches=batches,
                    problem=problem,
                )
                return
        self._result.not_run.append(
            NotRun(
                backend=choice.backend,
                precision=choice.precision,
                batches=(batch,),
                problem=problem,
            )
        )
