"""Verification of a bundle's fp16, bf16 and int8 graphs: their images against the fp32 graph's.

The fp32 graph was compared with the PyTorch generator before. A half-precision graph runs with
every result rounded (see ``segan.export.precisions.rounding``), which is what a GPU computes, and
fp16 also as the CPU session runs it; an int8 graph runs on the CPU session, and on OpenVINO where
that works. One number over all pixels can hide a failure of one image, a shift of its brightness,
or a grey picture where little was to be seen: those are looked for by themselves.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segan.export.memory import release_memory
from segan.export.precisions.rounding import with_explicit_rounding
from segan.runtime.backends.choose import open_session, why_not
from segan.runtime.backends.session import Precision, SessionConfig
from segan.runtime.bundle.manifest import Manifest, Verification
from segan.runtime.bundle.reader import Bundle, open_bundle
from segan.runtime.errors import VerifyError
from segan.runtime.generate.generator import Generator, load
from segan.runtime.latents.draws import sample_coords, sample_noise, sample_z

Array = NDArray[np.float32]

#: Named as the backend of a record whose results were rounded one by one.
EMULATED = "emulated"

#: One step of a pixel's 8 bits, images in [-1, 1].
_GREY_LEVEL = 1 / 127.5

#: Mean square errors below this are told as this, since 0 has no PSNR: 200 dB.
_SMALLEST_MSE = 4e-20


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a graph of reduced precision must hold, images in [-1, 1].

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
    # Few levels for each activation: edges may differ visibly in single pixels.
    "int8": Limits(psnr_db=35, image_psnr_db=28, error=1.0, shift=8 * _GREY_LEVEL),
}

#: (name, share of the seeds, sliders, noise). Sliders are drawn as usual, or each stands at one of
#: its ends times a factor, low or high by the image's seed.
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
        problem: what is wrong with it, a sentence; None where every limit holds.
    """

    record: Verification
    problem: str | None

    def check(self) -> None:
        """Raises VerifyError where a limit does not hold, naming the worst seed."""
        if self.problem is not None:
            name, where = self.record.precision, self.record.backend
            raise VerifyError(
                f"the {name} graph ({where}) {self.problem} Nothing was written. Export without "
                f"--{name}."
            )


def reduced_seed_count(resolution: int) -> int:
    """How many images are compared: 64 up to 64², fewer where each costs more, 4 at 1024²."""
    return max(4, min(64, 64 * 64 // resolution))


def verify_reduced(
    path: Path,
    precision: Precision,
    *,
    seeds: Sequence[int],
    on_step: Callable[[str], None] | None = None,
) -> list[ReducedResult]:
    """Compares a graph of reduced precision of a bundle with its fp32 graph.

    Args:
        path: the bundle.
        precision: which of its graphs.
        seeds: one for each image.
        on_step: called with a few words before each run.

    Returns:
        A result for each way of running it, also when a limit does not hold.

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
class Batch:
    """The inputs of one batch; the fp32 graphs fill in ``ws`` [N, num_sites, w_dim], ``shifts``."""

    case: str
    seeds: Sequence[int]
    z: Array
    labels: Array | None
    coords: Array | None
    noise: Array | None
    ws: Array = field(default_factory=lambda: np.empty(0, np.float32))
    shifts: Array | None = None

    def feeds(self) -> dict[str, Array]:
        """The inputs of the synthesis graph by name."""
        given = {"ws": self.ws, "shifts": self.shifts, "noise": self.noise}
        return {name: value for name, value in given.items() if value is not None}


def styled_batches(reference: Generator, seeds: Sequence[int]) -> list[Batch]:
    """The inputs of the synthesis graph that are compared, and that calibration is done on.

    Args:
        reference: the bundle.
        seeds: one for each image.
    """
    manifest = reference.manifest
    size = max(1, min(8, 8 * 128 // manifest.resolution))
    constant = None
    if manifest.noise is not None:
        data = reference.bundle.read(manifest.noise)
        constant = np.load(io.BytesIO(data), allow_pickle=False)[None]
    batches = [*_batches(manifest, seeds, size, constant)]
    for batch in batches:
        w = reference.map(batch.z, batch.labels)
        batch.ws, batch.shifts = reference.style(w, 1.0, batch.coords)
    return batches


def _batches(
    manifest: Manifest, seeds: Sequence[int], size: int, constant: Array | None
) -> Iterator[Batch]:
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
) -> Batch:
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
        labels = np.eye(manifest.c_dim, dtype=np.float32)[[s % manifest.c_dim for s in seeds]]
    z = sample_z(seeds, manifest.z_dim)
    return Batch(case=case, seeds=seeds, z=z, labels=labels, coords=coords, noise=noise)


def _run_rounded(bundle: Bundle, batches: Sequence[Batch], precision: Precision) -> list[Array]:
    """The images of a half-precision graph whose results are rounded one by one."""
    manifest = bundle.manifest
    model = with_explicit_rounding(bundle.read(manifest.graphs.synthesis[precision]))
    found = []
    config = SessionConfig(low_memory=True)
    with open_session(model, "cpu", name=f"{precision} synthesis", config=config) as session:
        del model
        for batch in batches:
            found.append(session.run(batch.feeds())["image"])
    return found


def _compare(
    batches: Sequence[Batch],
    expected: Sequence[Array],
    found: Sequence[Array],
    precision: Precision,
    backend: str,
) -> ReducedResult:
    limits = LIMITS[precision]
    cases: dict[str, float] = {}
    squares: list[float] = []
    problems: list[tuple[float, str]] = []
    for batch, wanted, got in zip(batches, expected, found, strict=True):
        for seed, reference, image in zip(batch.seeds, wanted, got, strict=True):
            difference = image.astype(np.float64) - reference
            mse = float(np.square(difference).mean())
            squares.append(mse)
            error = float(np.abs(difference).max())
            # Not a number stays so in numpy's maximum.
            cases[batch.case] = float(np.maximum(cases.get(batch.case, 0.0), error))
            wrong = _wrong(reference, image, difference, limits)
            if wrong is not None:
                where = f"is wrong at seed {seed} ({batch.case}): {wrong}."
                problems.append((mse if math.isfinite(mse) else math.inf, where))
    total = float(np.mean(squares))
    if not problems and not _psnr(total) >= limits.psnr_db:
        worst = int(np.argmax(squares))
        seeds = [seed for batch in batches for seed in batch.seeds]
        problems.append(
            (
                total,
                f"has a PSNR of {_psnr(total):.1f} dB over {len(seeds)} images; expected "
                f"{limits.psnr_db:g} dB or more. Worst is seed {seeds[worst]}.",
            )
        )
    record = Verification(
        backend=backend,
        precision=precision,
        max_error=float(np.max([*cases.values()])),
        psnr_db=round(_psnr(total), 2),
        tolerance=limits.error,
        batch_sizes=tuple(sorted({len(batch.seeds) for batch in batches})),
        seeds=tuple(seed for batch in batches for seed in batch.seeds),
        cases=cases,
        min_psnr_db=limits.psnr_db,
        worst_psnr_db=round(min(map(_psnr, squares)), 2),
    )
    return ReducedResult(record=record, problem=max(problems)[1] if problems else None)


def _psnr(mse: float) -> float:
    """In dB, peak to peak 2; 0 for what is no number."""
    return 10 * math.log10(4 / max(mse, _SMALLEST_MSE)) if math.isfinite(mse) else 0.0


def _wrong(
    reference: Array, image: Array, difference: NDArray[np.float64], limits: Limits
) -> str | None:
    """What is wrong with one image [C, H, W], or None."""
    if not np.isfinite(image).all():
        return "it holds values that are not finite"
    psnr = _psnr(float(np.square(difference).mean()))
    if psnr < limits.image_psnr_db:
        return f"PSNR {psnr:.1f} dB; expected {limits.image_psnr_db:g} dB or more"
    error = float(np.abs(difference).max())
    if error > limits.error:
        return f"a pixel differs by {error:.3f}; expected {limits.error:g} at most"
    shift = float(np.abs(difference.mean((1, 2))).max())
    if shift > limits.shift:
        return f"a channel's mean is off by {shift:.4f}; expected {limits.shift:.4f} at most"
    before, after = float(reference.std()), float(image.std())
    if abs(after - before) > 0.1 * before + _GREY_LEVEL:
        return f"its standard deviation is {after:.4f} instead of {before:.4f}: grey or saturated"
    return None
