"""Verification: a bundle's images against the PyTorch generator's, through the runtime itself.

Both sides get the same latents, coordinates, labels, psi and noise: see ``segan.export.reference``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segan.export.bundle_images import FOUND, compute_images
from segan.export.reference import Reference
from segan.runtime.backends.choose import candidates
from segan.runtime.bundle.manifest import Manifest, Verification
from segan.runtime.bundle.reader import open_bundle
from segan.runtime.errors import VerifyError

#: Mean square errors below this are told as this, since 0 has no PSNR: 200 dB.
_SMALLEST_MSE = 4e-20

#: From feature maps of this size on, the bundle gets a process of its own.
_OWN_PROCESS_BYTES = 16 << 20


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


def verify_bundle(
    reference: Reference,
    path: Path,
    *,
    tolerance: float = 1e-4,
    backend: str = "cpu",
    precision: str = "fp32",
    on_case: Callable[[str], None] | None = None,
) -> VerifyResult:
    """Compares a bundle with the generator that it was made from.

    Large images are computed in a process of their own that saves memory, and with it leaves out
    ONNX Runtime's optimisations of memory layout; small ones as ``load`` runs them.

    Args:
        reference: the generator's images, whose files are used up.
        path: the bundle, as exported: with directions added it makes other images.
        tolerance: the largest difference of a pixel that is allowed, images in [-1, 1].
        backend: of the runtime.
        precision: that the backend computes in.
        on_case: called with each case's name before it is compared.

    Returns:
        The figures, also when they miss the tolerance: see ``VerifyResult.check``.

    Raises:
        VerifyError: the bundle takes other inputs than the generator, as with directions added.
        BundleError: the bundle cannot be opened.
        BackendError: the backend failed.
    """
    start = time.perf_counter()
    manifest = open_bundle(path).manifest
    _check_inputs(reference.manifest, manifest)
    errors: dict[str, float] = {}
    squares, pixels = 0.0, 0
    computed = compute_images(
        reference.folder,
        [batch.name for batch in reference.batches],
        path,
        backend,
        precision,
        own_process=reference.map_bytes >= _OWN_PROCESS_BYTES,
    )
    for batch in reference.batches:
        case = str(batch.case)
        if on_case is not None and case not in errors:
            on_case(case)
        next(computed)
        file = reference.folder / f"{batch.name}{FOUND}"
        difference = np.load(file, allow_pickle=False)
        difference -= reference.expected(batch)
        file.unlink()
        # Not a number stays so in numpy's maximum, and fails the comparison.
        worst = np.maximum(errors.get(case, 0.0), np.abs(difference).max())
        errors[case] = float(worst)
        squares += float(np.square(difference, dtype=np.float64).sum())
        pixels += difference.size
    assert next(computed, None) is None, "as many as there are batches"
    mse = max(squares / pixels, _SMALLEST_MSE)
    # Asked last: the answer brings the backend's libraries into the memory.
    backend = candidates(backend, precision, manifest.graphs.synthesis)[0].backend
    record = Verification(
        backend=backend,
        precision=precision,
        max_error=float(np.max(list(errors.values()))),
        psnr_db=round(10 * math.log10(4 / mse), 2) if math.isfinite(mse) else 0.0,
        tolerance=tolerance,
        batch_sizes=reference.batch_sizes,
        seeds=reference.seeds,
        cases=errors,
    )
    return VerifyResult(record=record, seconds=time.perf_counter() - start)


def _check_inputs(expected: Manifest, found: Manifest) -> None:
    """Raises VerifyError unless the bundle takes what the generator was given."""
    for name in ("resolution", "z_dim", "c_dim", "coords_dim", "sites", "subspaces"):
        if getattr(found, name) != getattr(expected, name):
            hint = (
                " Its subspaces are not the generator's: directions were added. Verify a bundle "
                "before they are."
                if name in ("coords_dim", "subspaces")
                else ""
            )
            raise VerifyError(
                f"the bundle's {name} differ from those of the generator that it is compared "
                f"with.{hint}"
            )
