"""Verification: a bundle's images against the PyTorch generator's, through the runtime itself.

Both sides get the same latents, coordinates, labels, psi and noise; the generator computes with
its own ``forward``, which shares no code with the exported graphs' foldings and lowerings.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from segan.runtime.bundle import open_bundle
from segan.runtime.errors import VerifyError
from segan.runtime.generator import Generator as BundleGenerator
from segan.runtime.generator import load
from segan.runtime.latents import psi_row, sample_coords, sample_noise, sample_z
from segan.runtime.manifest import Manifest, Verification
from segan.train.generator import Generator

Array = NDArray[np.float32]

#: Mean square errors below this are told as this, since 0 has no PSNR: 200 dB.
_SMALLEST_MSE = 4e-20

#: Bytes of feature maps that the PyTorch generator may make at once.
_REFERENCE_BYTES = 1 << 30


@dataclass(frozen=True, kw_only=True)
class Case:
    """One way of asking for images.

    Attributes:
        psi: truncation strength.
        cutoff: last resolution that psi acts on; None for all.
        noise: ``const``, ``random`` or ``none``.
        coords: ``sampled``, ``moved`` (sampled, plus a value for every slider) or ``zero``.
    """

    psi: float
    cutoff: int | None
    noise: str
    coords: str

    def __str__(self) -> str:
        cutoff = "" if self.cutoff is None else f" to {self.cutoff}"
        return f"psi {self.psi:g}{cutoff}, coords {self.coords}, noise {self.noise}"


@dataclass(frozen=True, kw_only=True)
class VerifyResult:
    """What verification measured.

    Attributes:
        record: the figures, as the manifest states them.
        seconds: wall time.
    """

    record: Verification
    seconds: float

    @property
    def max_error(self) -> float:
        """Largest absolute difference of a pixel, images in [-1, 1]."""
        return self.record.max_error

    @property
    def psnr_db(self) -> float:
        """Peak signal-to-noise ratio in dB, peak to peak 2."""
        return self.record.psnr_db

    @property
    def passed(self) -> bool:
        """Whether every error is a number within the tolerance."""
        return self.max_error <= self.record.tolerance

    def check(self) -> None:
        """Raises VerifyError unless ``passed``, naming the worst case."""
        if self.passed:
            return
        worst = max(self.record.cases, key=lambda case: _order(self.record.cases[case]))
        raise VerifyError(
            f"the bundle's images differ from the checkpoint's by up to {self.max_error:.2g} "
            f"({worst}); the tolerance is {self.record.tolerance:g}. Nothing was written. "
            "Try --lowering transposed, or pass a --tolerance that you can accept."
        )


def _order(error: float) -> float:
    """Not a number is worst of all."""
    return math.inf if math.isnan(error) else error


def verification_cases(resolution: int) -> tuple[Case, ...]:
    """The cases that are compared, each with every batch size."""
    middle = max(8, resolution // 4)
    return (
        Case(psi=1.0, cutoff=None, noise="const", coords="sampled"),
        Case(psi=0.7, cutoff=None, noise="random", coords="moved"),
        Case(psi=0.7, cutoff=middle, noise="none", coords="moved"),
        Case(psi=0.5, cutoff=None, noise="const", coords="zero"),
    )


def fresh_seeds(count: int, weights_sha256: str) -> list[int]:
    """Seeds that nobody chose: drawn from the checkpoint's hash, so that they can be repeated."""
    digest = hashlib.sha256(f"verify {weights_sha256}".encode()).digest()
    random = np.random.RandomState(np.random.MT19937(np.random.SeedSequence([*digest])))
    return [int(seed) for seed in random.randint(0, 2**32, size=count, dtype=np.uint64)]


def verify_bundle(
    generator: Generator,
    path: Path,
    *,
    seeds: Sequence[int],
    tolerance: float = 1e-4,
    batch_sizes: Sequence[int] = (1, 3, 8),
    backend: str = "cpu",
    precision: str = "fp32",
    on_case: Callable[[str], None] | None = None,
) -> VerifyResult:
    """Compares a bundle with the generator that it was made from.

    Args:
        generator: on the CPU, float32, in evaluation mode.
        path: the bundle.
        seeds: one for each image of the batches, Σ batch_sizes of them.
        tolerance: the largest difference of a pixel that is allowed, images in [-1, 1].
        batch_sizes: each is run on images of its own.
        backend: of the runtime.
        precision: that the backend computes in.
        on_case: called with each case's name before it runs.

    Returns:
        The figures, also when they miss the tolerance: see ``VerifyResult.check``.

    Raises:
        VerifyError: the generator's own images are not finite numbers.
        BundleError: the bundle cannot be opened.
        BackendError: the backend failed.
    """
    start = time.perf_counter()
    assert len(seeds) == sum(batch_sizes), "one seed for each image"
    errors: dict[str, float] = {}
    squares, pixels = 0.0, 0
    manifest = open_bundle(path).manifest
    cases = verification_cases(manifest.resolution)
    # The generator's images first: what each side needs to compute is never needed at once.
    expected: dict[tuple[str, int], Array] = {}
    for case in cases:
        for number, batch in enumerate(_split(seeds, batch_sizes)):
            inputs = _inputs(manifest, case, batch, _constant(generator))
            expected[str(case), number] = _run_generator(generator, inputs)
    with load(path, backend, precision=precision, low_memory=True) as bundle:
        for case in cases:
            if on_case is not None:
                on_case(str(case))
            worst = 0.0
            for number, batch in enumerate(_split(seeds, batch_sizes)):
                inputs = _inputs(manifest, case, batch, _constant(generator))
                difference = _run_bundle(bundle, inputs) - expected.pop((str(case), number))
                # Not a number stays so in numpy's maximum, and fails the comparison.
                worst = float(np.maximum(worst, np.abs(difference).max()))
                squares += float(np.square(difference, dtype=np.float64).sum())
                pixels += difference.size
            errors[str(case)] = worst
        used = bundle.backend
    mse = max(squares / pixels, _SMALLEST_MSE)
    record = Verification(
        backend=used,
        precision=precision,
        max_error=float(np.max(list(errors.values()))),
        psnr_db=round(10 * math.log10(4 / mse), 2) if math.isfinite(mse) else 0.0,
        tolerance=tolerance,
        batch_sizes=tuple(batch_sizes),
        seeds=tuple(seeds),
        cases=errors,
    )
    return VerifyResult(record=record, seconds=time.perf_counter() - start)


def _split(seeds: Sequence[int], batch_sizes: Sequence[int]) -> Iterator[Sequence[int]]:
    first = 0
    for size in batch_sizes:
        yield seeds[first : first + size]
        first += size


def _constant(generator: Generator) -> Array:
    return generator.synthesis.noise_const().detach().numpy()


@dataclass(frozen=True, kw_only=True)
class _Inputs:
    """The inputs of one batch, for both sides."""

    z: Array
    labels: Array | None
    psi: Array
    coords: Array | None
    noise: Array


def _inputs(manifest: Manifest, case: Case, seeds: Sequence[int], constant: Array) -> _Inputs:
    n = len(seeds)
    psi = np.repeat(psi_row(manifest.sites, case.psi, case.cutoff)[None], n, axis=0)
    coords = None
    if manifest.num_subspaces:
        coords = sample_coords(seeds, manifest.subspaces, manifest.coords_dim)
        if case.coords == "zero":
            coords = np.zeros_like(coords)
        coords = coords * psi[:, [row.site for row in manifest.subspaces], None]
        if case.coords == "moved":
            # A value for every slider, in the sweeps' range, its own in every image.
            unit = np.random.RandomState(seeds[0]).random_sample(coords.shape)
            for number, row in enumerate(manifest.subspaces):
                moves = row.low + (row.high - row.low) * unit[:, number, : row.dims]
                coords[:, number, : row.dims] += moves.astype(np.float32)
    labels = None
    if manifest.c_dim:
        classes = [seed % manifest.c_dim for seed in seeds]
        labels = np.eye(manifest.c_dim, dtype=np.float32)[classes]
    noise = constant
    if case.noise != "const":
        random = case.noise == "random"
        noise = sample_noise(seeds, constant.shape[1]) if random else np.zeros_like(constant)
    z = sample_z(seeds, manifest.z_dim)
    return _Inputs(z=z, labels=labels, psi=psi, coords=coords, noise=noise)


def _run_bundle(bundle: BundleGenerator, inputs: _Inputs) -> Array:
    w = bundle.map(inputs.z, inputs.labels)
    ws, shifts = bundle.style(w, inputs.psi, inputs.coords)
    return bundle.synthesize(ws, shifts, inputs.noise)


def _run_generator(generator: Generator, inputs: _Inputs) -> Array:
    """The generator's images, in parts small enough for the memory; images do not mix."""
    network = generator.network
    largest = max(network.channels(site.resolution) * site.resolution**2 for site in network.sites)
    part = max(1, _REFERENCE_BYTES // (largest * 4 * 6))
    images = []
    for first in range(0, len(inputs.z), part):

        def cut(value: Array | None, first: int = first) -> torch.Tensor | None:
            if value is None:
                return None
            return torch.from_numpy(value if len(value) == 1 else value[first : first + part])

        with torch.inference_mode():
            z = torch.from_numpy(inputs.z[first : first + part])
            psi = torch.from_numpy(inputs.psi[first : first + part])
            image = generator(
                z, cut(inputs.labels), cut(inputs.coords), psi=psi, noise=cut(inputs.noise)
            )
        images.append(image.numpy())
    found = np.concatenate(images)
    if not np.isfinite(found).all():
        raise VerifyError(
            "the checkpoint's own images hold values that are not finite: the training diverged. "
            "Export an earlier checkpoint of the run."
        )
    return found
