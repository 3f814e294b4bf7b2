"""What ``segan benchmark`` measures: the request, what can run here, and the results."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np

from segan.runtime.backends.choose import (
    Choice,
    candidates,
    check_backend,
    check_precision,
    precisions_of,
    why_not,
)
from segan.runtime.backends.registry import BACKENDS
from segan.runtime.backends.session import Precision
from segan.runtime.errors import BackendError, ConfigError

#: Largest batch that can be asked for.
MAX_BATCH = 4096


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig:
    """What to measure, and for how long.

    Attributes:
        backends: names; None for all.
        precisions: names; None for all.
        batches: images at once.
        seconds: of a row's round; timing single batches takes half of that in addition.
        rounds: of each row.
        threads: CPU threads; None for the physical cores.
        throughput: as many threads call at once.

    Raises:
        ConfigError: a name that does not exist, or a number out of its range.
    """

    backends: tuple[str, ...] | None = None
    precisions: tuple[str, ...] | None = None
    batches: tuple[int, ...] = (1, 16)
    seconds: float = 2.0
    rounds: int = 5
    threads: int | None = None
    throughput: bool = False

    def __post_init__(self) -> None:
        _check_names("backends", self.backends, check_backend, tuple(BACKENDS))
        _check_names("precisions", self.precisions, check_precision, get_args(Precision))
        if not self.batches:
            raise ConfigError(field="batches", value=(), expected="one size or more, such as 1,16")
        for batch in self.batches:
            if not 1 <= batch <= MAX_BATCH:
                raise ConfigError(
                    f"`batches` contains the size {batch}",
                    field="batches",
                    value=batch,
                    expected=f"1 to {MAX_BATCH}",
                )
        if not 0 < self.seconds <= 3600:
            raise ConfigError(
                field="seconds", value=self.seconds, expected="more than 0 and at most 3600"
            )
        if not 1 <= self.rounds <= 1000:
            raise ConfigError(field="rounds", value=self.rounds, expected="1 to 1000")
        if self.threads is not None and self.threads < 1:
            raise ConfigError(field="threads", value=self.threads, expected="1 or more")


def _check_names(
    field: str,
    names: tuple[str, ...] | None,
    check: Callable[[str], str],
    known: tuple[str, ...],
) -> None:
    """Raise ConfigError for an unknown name, for ``auto``, and for an empty tuple."""
    if names is None:
        return
    expected = f"one or more of {', '.join(known)}"
    if not names:
        raise ConfigError(
            f"`{field}` is empty",
            field=field,
            value=names,
            expected=expected,
            remedy=f"Leave `{field}` out for all.",
        )
    for name in names:
        if check(name) == "auto":
            raise ConfigError(field=field, value=name, expected=expected)


@dataclass(kw_only=True)
class RowResult:
    """What was measured of one backend, precision and batch size.

    Attributes:
        choice: backend and precision.
        batch: images at once.
        callers: threads that called at once.
        load_s: seconds to open the bundle, import the backend's library and load the graphs.
        first_batch_s: seconds of the first batch.
        rates: images a second of each round.
        latencies_s: seconds of each single batch, from latents to bytes.
        peak_bytes: peak main memory of the process; None where it is not reported.
        device_bytes: GPU memory that loading and the first batches took; None without a GPU.
        file_bytes: size of the synthesis graph.
        max_error: largest difference of a pixel from the reference, images in [-1, 1]; None when
            there is no reference, or for images that are not finite.
        psnr_db: peak signal-to-noise ratio, peak to peak 2.
        max_error_uint8: largest difference of the timed images' bytes.
        ceiling: FLOP/s of large convolutions; None where they do not run.
        macs: multiply-adds of an image; None where the graph does not show them.
    """

    choice: Choice
    batch: int
    callers: int
    load_s: float
    first_batch_s: float
    rates: list[float]
    latencies_s: list[float]
    peak_bytes: int | None
    device_bytes: int | None
    file_bytes: int
    max_error: float | None
    psnr_db: float | None
    max_error_uint8: int | None
    ceiling: float | None
    macs: int | None

    @property
    def images_per_s(self) -> float:
        """Median of the rounds."""
        return statistics.median(self.rates)

    @property
    def bound(self) -> float | None:
        """Images a second at the ceiling."""
        if self.ceiling is None or self.macs is None:
            return None
        return self.ceiling / (2 * self.macs)

    @property
    def of_ceiling(self) -> float | None:
        """``images_per_s`` as a share of ``bound``."""
        return None if self.bound is None else self.images_per_s / self.bound

    def percentile_ms(self, percent: float) -> float:
        """Return a percentile of the batches' milliseconds."""
        return float(np.percentile(self.latencies_s, percent)) * 1000


@dataclass(frozen=True, kw_only=True)
class NotRun:
    """A backend and a precision without a row, for all or some batch sizes.

    Attributes:
        backend: its name.
        precision: its name.
        batches: the batch sizes without a row.
        problem: the reason.
    """

    backend: str
    precision: str
    batches: tuple[int, ...]
    problem: str


@dataclass(kw_only=True)
class CeilingResult:
    """A large convolution on one backend, in one precision.

    Attributes:
        choice: backend and precision.
        rates: FLOP/s of each round, two for each multiply-add.
        shape: of the convolution, as text.
        problem: why there is no rate, or None.
    """

    choice: Choice
    rates: list[float]
    shape: str | None = None
    problem: str | None = None

    @property
    def flop_per_s(self) -> float | None:
        """Median of the rounds; None without rounds."""
        return statistics.median(self.rates) if self.rates else None


@dataclass(kw_only=True)
class BenchmarkResult:
    """The whole result.

    Attributes:
        bundle: path of the bundle.
        name: from its manifest.
        resolution: height and width of an image.
        macs: multiply-adds of an image; None where the graph does not show them.
        rows: what ran, in the order of backends, precisions and batch sizes.
        not_run: what did not run, with the reasons.
        ceilings: of each backend and precision that ran.
        host_copy: bytes a second of one thread's copies in main memory; None for lack of memory.
        device_copy: bytes a second of copies within a GPU; None without a GPU.
        reference_problem: why errors are unknown, or None.
        load_1min: load average before the measurement; None where the system does not report it.
    """

    bundle: Path
    name: str
    resolution: int
    macs: int | None
    rows: list[RowResult]
    not_run: list[NotRun]
    ceilings: list[CeilingResult]
    host_copy: float | None
    device_copy: float | None
    reference_problem: str | None
    load_1min: float | None


def plan(config: BenchmarkConfig, graphs: Sequence[str]) -> tuple[list[Choice], list[NotRun]]:
    """Return what can run here, and what cannot.

    Args:
        config: the request.
        graphs: precisions of the bundle's synthesis graphs.

    Raises:
        ConfigError: no requested backend computes one of the requested precisions.
    """
    choices: list[Choice] = []
    not_run: list[NotRun] = []
    backends = tuple(dict.fromkeys(config.backends or BACKENDS))
    misfits: dict[tuple[str, str], ConfigError] = {}
    for backend in backends:
        for precision in dict.fromkeys(config.precisions or _known(backend)):
            try:
                choices += candidates(backend, precision, graphs)
                continue
            except ConfigError as error:
                misfits[backend, precision] = error
                # The reason why a backend does not work at all comes first.
                problem = str(why_not(backend) or _lacking(backend, precision, graphs))
            except BackendError as error:
                problem = str(error)
            not_run.append(
                NotRun(
                    backend=backend,
                    precision=precision,
                    batches=config.batches,
                    problem=problem,
                )
            )
    for precision in config.precisions or ():
        if all((backend, precision) in misfits for backend in backends):
            # The error of a backend that lacks only the graph says how to write it.
            able = [backend for backend in backends if precision in _known(backend)]
            raise misfits[(able or backends)[0], precision]
    return choices, not_run


def _known(backend: str) -> tuple[Precision, ...]:
    """Return the precisions that a backend supports, independent of the bundle."""
    return precisions_of(backend, get_args(Precision))


def _lacking(backend: str, precision: str, graphs: Sequence[str]) -> str:
    """Return why this backend has no such row with this bundle."""
    if precision not in _known(backend):
        return "the backend does not support it"
    return (
        f"the bundle has no {precision} graph (it has {', '.join(graphs)}). "
        f"Write it with 'segan export --{precision}', or 'segan import' likewise."
    )
