"""Verification of a bundle's fp16, bf16 and int8 graphs: their images against the fp32 graph's.

The fp32 graph has been compared with the PyTorch generator before. A half-precision graph runs
with every result rounded (see ``segan.export.precisions.rounding``), which is what a GPU computes,
and fp16 also as the CPU session runs it. An int8 graph runs on the CPU session, and on OpenVINO
where that is installed. A PSNR over all pixels can hide one failed image, a shift of its
brightness, or a grey image where the contrast was low, so each of these has a limit of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segan.export.memory import release_memory
from segan.export.precisions.rounding import with_explicit_rounding
from segan.export.verify import psnr_db
from segan.runtime.backends.choose import open_session, why_not
from segan.runtime.backends.session import Precision, SessionConfig
from segan.runtime.bundle.classes import one_hot
from segan.runtime.bundle.graph_files import read_graph
from segan.runtime.bundle.manifest import Manifest, Verification
from segan.runtime.bundle.reader import Bundle, open_bundle
from segan.runtime.errors import VerifyError
from segan.runtime.files.arrays import npy_values
from segan.runtime.generate.generator import Generator, load
from segan.runtime.latents.draws import sample_coords, sample_noise, sample_z

Array = NDArray[np.float32]

#: Backend that a record names where every result was rounded on the CPU.
EMULATED = "emulated"

#: One step of a pixel's 8 bits, images in [-1, 1].
_GREY_LEVEL = 1 / 127.5


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits that a graph of reduced precision must keep, images in [-1, 1].

    Attributes:
        psnr_db: least PSNR over all images.
        image_psnr_db: least PSNR of each image.
        error: largest difference of a pixel.
        shift: largest difference of the mean of an image's channel.
    """

    psnr_db: float
    image_psnr_db: float
    error: float
    shift: float


LIMITS: dict[str, Limits] = {
    "fp16": Limits(psnr_db=45, image_psnr_db=35, error=0.25, shift=_GREY_LEVEL),
    # 8 bits where fp16 has 11: errors are 8 times as large, 18 dB.
    "bf16": Limits(psnr_db=35, image_psnr_db=25, error=0.5, shift=8 * _GREY_LEVEL),
    # Activations have few levels, so single pixels at edges may differ visibly.
    "int8": Limits(psnr_db=35, image_psnr_db=28, error=1.0, shift=8 * _GREY_LEVEL),
}

#: (name, share of the seeds, sliders, noise). Sliders are sampled (None), or each is at one of its
#: ends times this factor, low or high by the image's seed.
_CASES = (
    ("psi 1, coords sampled, noise const", 2, None, "const"),
    ("psi 1, sliders at their ends, noise random", 1, 1.0, "random"),
    ("psi 1, sliders 1.5 times past their ends, noise const", 1, 1.5, "const"),
)
_SHARES = sum(share for _, share, _, _ in _CASES)


@dataclass(frozen=True, kw_only=True)
class ReducedResult:
    """What was measured of one graph on one backend.

    Attributes:
        record: the figures, as the manifest states them.
        failure: the missed limit, with its worst seed; None where all limits are kept.
    """

    record: Verification
    failure: VerifyError | None

    def check(self) -> None:
        """Raise ``failure``, if there is one."""
        if self.failure is not None:
            raise self.failure


def reduced_seed_count(resolution: int) -> int:
    """Return how many images are compared: 64 up to 64², fewer above, 4 at 1024²."""
    return max(4, min(64, 64 * 64 // resolution))


def verify_reduced(
    path: Path,
    precision: Precision,
    *,
    seeds: Sequence[int],
    on_step: Callable[[str], None] | None = None,
) -> list[ReducedResult]:
    """Compare a graph of reduced precision of a bundle with its fp32 graph.

    Args:
        path: the bundle.
        precision: which of its graphs.
        seeds: one for each image.
        on_step: called with a few words before each run.

    Returns:
        A result for each way of running the graph, also where a limit is missed.

    Raises:
        BundleError: the bundle cannot be opened.
        BackendError: the backend failed.
    """
    step = on_step or (lambda _: None)
    bundle = open_bundle(path)
    step("computing the fp32 images")
    with load(path, "cpu", precision="fp32", low_memory=True) as reference:
        batches = styled_batches(reference, seeds)
        expected = [reference.synthesize(b.ws, b.shifts, b.noise) for b in batches]
    results = []
    backends = {"fp16": ["cpu"], "int8": ["cpu", "openvino"]}.get(precision, [])
    for backend in backends:
        if why_not(backend) is not None:
            continue
        step(f"verifying {precision} on {backend}")
        with load(path, backend, precision=precision, low_memory=True) as reduced:
            found = [reduced.synthesize(b.ws, b.shifts, b.noise) for b in batches]
        results.append(_compare(batches, expected, found, precision, backend))
        release_memory()
    if precision == "int8":
        return results
    step(f"verifying {precision}, each result rounded")
    found = _run_rounded(bundle, batches, precision)
    results.append(_compare(batches, expected, found, precision, EMULATED))
    release_memory()
    return results


@dataclass(kw_only=True)
class StyledBatch:
    """The inputs of one batch.

    ``ws`` [N, num_sites, w_dim] and ``shifts`` are computed by the fp32 graphs from the rest.
    """

    case: str
    seeds: Sequence[int]
    z: Array
    labels: Array | None
    coords: Array | None
    noise: Array | None
    ws: Array = field(default_factory=lambda: np.empty(0, np.float32))
    shifts: Array | None = None

    def feeds(self) -> dict[str, Array]:
        """Return the inputs of the synthesis graph by name."""
        given = {"ws": self.ws, "shifts": self.shifts, "noise": self.noise}
        return {name: value for name, value in given.items() if value is not None}


def styled_batches(reference: Generator, seeds: Sequence[int]) -> list[StyledBatch]:
    """Return the inputs of the synthesis graph for comparison and calibration.

    Args:
        reference: the bundle.
        seeds: one for each image.
    """
    manifest = reference.manifest
    size = max(1, min(8, 8 * 128 // manifest.resolution))
    constant = None
    if manifest.noise is not None:
        data = reference.bundle.read(manifest.noise)
        constant = npy_values(data, manifest.noise).astype(np.float32)[None]
    batches = [*_batches(manifest, seeds, size, constant)]
    for batch in batches:
        w = reference.map(batch.z, batch.labels)
        batch.ws, batch.shifts = reference.style(w, 1.0, batch.coords)
    return batches


def _batches(
    manifest: Manifest, seeds: Sequence[int], size: int, constant: Array | None
) -> Iterator[StyledBatch]:
    first = 0
    for number, (name, share, ends, noise) in enumerate(_CASES):
        last = number == len(_CASES) - 1
        count = len(seeds) - first if last else max(1, len(seeds) * share // _SHARES)
        case, first = seeds[first : first + count], first + count
        for at in range(0, len(case), size):
            given = case[at : at + size]
            drawn = constant
            if noise == "random" and constant is not None:
                drawn = sample_noise(given, constant.shape[1])
            yield _batch(manifest, name, given, ends, drawn)


def _batch(
    manifest: Manifest, case: str, seeds: Sequence[int], ends: float | None, noise: Array | None
) -> StyledBatch:
    coords = None
    if manifest.num_subspaces:
        coords = sample_coords(seeds, manifest.subspaces, manifest.coords_dim)
        if ends is not None:
            high = np.random.RandomState(seeds[0]).random_sample(coords.shape) < 0.5
            for number, row in enumerate(manifest.subspaces):
                side = np.where(high[:, number, : row.dims], row.high, row.low)
                coords[:, number, : row.dims] = ends * side
    labels = None
    if manifest.c_dim:
        labels = one_hot([s % manifest.c_dim for s in seeds], manifest.c_dim)
    z = sample_z(seeds, manifest.z_dim)
    return StyledBatch(case=case, seeds=seeds, z=z, labels=labels, coords=coords, noise=noise)


def _run_rounded(
    bundle: Bundle, batches: Sequence[StyledBatch], precision: Precision
) -> list[Array]:
    """Return the images of a half-precision graph with every result rounded."""
    model = with_explicit_rounding(read_graph(bundle, "synthesis", precision))
    found = []
    config = SessionConfig(low_memory=True)
    with open_session(model, "cpu", name=f"{precision} synthesis", config=config) as session:
        del model
        for batch in batches:
            found.append(session.run(batch.feeds())["image"])
    return found


def _compare(
    batches: Sequence[StyledBatch],
    expected: Sequence[Array],
    found: Sequence[Array],
    precision: Precision,
    backend: str,
) -> ReducedResult:
    limits, name = LIMITS[precision], f"the {precision} graph ({backend})"
    cases: dict[str, float] = {}
    squares: list[float] = []
    failures: list[tuple[float, VerifyError]] = []
    for batch, wanted, got in zip(batches, expected, found, strict=True):
        for seed, reference, image in zip(batch.seeds, wanted, got, strict=True):
            difference = image.astype(np.float64) - reference
            mse = float(np.square(difference).mean())
            squares.append(mse)
            error = float(np.abs(difference).max())
            # numpy's maximum keeps not-a-number.
            cases[batch.case] = float(np.maximum(cases.get(batch.case, 0.0), error))
            miss = _missed(reference, image, difference, limits)
            if miss is not None:
                where = f"{name} is wrong at seed {seed} ({batch.case}): {miss.problem}"
                size = mse if math.isfinite(mse) else math.inf
                failures.append((size, _failure(where, miss, precision)))
    psnr = psnr_db(float(np.mean(squares)))
    if not failures and not psnr >= limits.psnr_db:
        seeds = [seed for batch in batches for seed in batch.seeds]
        worst = seeds[int(np.argmax(squares))]
        problem = (
            f"{name} has a PSNR of {psnr:.1f} dB over {len(seeds)} images (seed {worst} is worst)"
        )
        miss = _Miss("psnr_db", psnr, problem, f"{limits.psnr_db:g} dB or more")
        failures.append((0.0, _failure(problem, miss, precision)))
    record = Verification(
        backend=backend,
        precision=precision,
        max_error=float(np.max([*cases.values()])),
        psnr_db=round(psnr, 2),
        tolerance=limits.error,
        batch_sizes=tuple(sorted({len(batch.seeds) for batch in batches})),
        seeds=tuple(seed for batch in batches for seed in batch.seeds),
        cases=cases,
        min_psnr_db=limits.psnr_db,
        worst_psnr_db=round(min(map(psnr_db, squares)), 2),
    )
    worst_failure = max(failures, key=lambda entry: entry[0])[1] if failures else None
    return ReducedResult(record=record, failure=worst_failure)


class _Miss(NamedTuple):
    """A limit that one image misses: what was measured, and what was expected."""

    field: str
    value: float
    problem: str
    expected: str


def _failure(problem: str, miss: _Miss, precision: str) -> VerifyError:
    return VerifyError(
        problem,
        field=miss.field,
        value=miss.value,
        expected=miss.expected,
        remedy=f"Nothing was written. Export without `{precision}`.",
    )


def _missed(
    reference: Array, image: Array, difference: NDArray[np.float64], limits: Limits
) -> _Miss | None:
    """Return the first limit that an image [C, H, W] misses, or None."""
    if not np.isfinite(image).all():
        return _Miss("image", math.nan, "values are not finite", "finite values")
    psnr = psnr_db(float(np.square(difference).mean()))
    if psnr < limits.image_psnr_db:
        expected = f"{limits.image_psnr_db:g} dB or more"
        return _Miss("image_psnr_db", psnr, f"PSNR {psnr:.1f} dB", expected)
    error = float(np.abs(difference).max())
    if error > limits.error:
        return _Miss("error", error, f"a pixel differs by {error:.3f}", f"at most {limits.error:g}")
    shift = float(np.abs(difference.mean((1, 2))).max())
    if shift > limits.shift:
        problem = f"the mean of a channel differs by {shift:.4f}"
        return _Miss("shift", shift, problem, f"at most {limits.shift:.4f}")
    before, after = float(reference.std()), float(image.std())
    if abs(after - before) > 0.1 * before + _GREY_LEVEL:
        problem = f"the standard deviation is {after:.4f}, so the image is grey or saturated"
        return _Miss("deviation", after, problem, f"about {before:.4f}")
    return None
