"""Verification: a bundle's images, computed by the runtime, against the PyTorch generator's.

Both get the same latents, coordinates, labels, psi and noise: see ``segan.export.reference``.
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

#: Bytes of a feature map from which the bundle runs in a separate process.
_OWN_PROCESS_BYTES = 16 << 20


@dataclass(frozen=True, kw_only=True)
class VerifyResult:
    """Result of a verification.

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
        """Raise VerifyError unless ``passed``, naming the case with the largest error."""
        if self.passed:
            return
        cases = self.record.cases
        worst = max(cases, key=lambda case: math.inf if math.isnan(cases[case]) else cases[case])
        raise VerifyError(
            f"the bundle's images differ from the checkpoint's by up to {self.max_error:.2g} "
            f"({worst})",
            field="max_error",
            value=self.max_error,
            expected=f"at most the tolerance, {self.record.tolerance:g}",
            remedy="Nothing was written. Try `lowering transposed`, or set `tolerance` to a "
            "difference that you can accept.",
        )


def verify_bundle(
    reference: Reference,
    path: Path,
    *,
    tolerance: float = 1e-4,
    backend: str = "cpu",
    precision: str = "fp32",
    on_case: Callable[[str], None] | None = None,
) -> VerifyResult:
    """Compare a bundle with the generator that it was made from.

    Large images are computed in a process of their own with ``low_memory``, which leaves out ONNX
    Runtime's optimisations of memory layout. Small ones are computed in this process.

    Args:
        reference: the generator's images; its files are used up.
        path: the bundle as exported, before directions are added.
        tolerance: largest allowed difference of a pixel, images in [-1, 1].
        backend: backend of the runtime.
        precision: precision of the backend.
        on_case: called with each case's name before it is compared.

    Returns:
        The figures, also where they miss the tolerance: see ``VerifyResult.check``.

    Raises:
        VerifyError: the bundle's inputs are not the generator's: directions were added.
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
        # numpy's maximum keeps not-a-number, which then fails the comparison.
        worst = np.maximum(errors.get(case, 0.0), np.abs(difference).max())
        errors[case] = float(worst)
        squares += float(np.square(difference, dtype=np.float64).sum())
        pixels += difference.size
    assert next(computed, None) is None, "as many as there are batches"
    # Asked last, since the answer loads the backend's libraries into this process.
    backend = candidates(backend, precision, manifest.graphs.synthesis)[0].backend
    record = Verification(
        backend=backend,
        precision=precision,
        max_error=float(np.max(list(errors.values()))),
        psnr_db=round(psnr_db(squares / pixels), 2),
        tolerance=tolerance,
        batch_sizes=reference.batch_sizes,
        seeds=reference.seeds,
        cases=errors,
    )
    return VerifyResult(record=record, seconds=time.perf_counter() - start)


def psnr_db(mse: float) -> float:
    """Return the PSNR in dB of images in [-1, 1], at most 200; 0 if the error is not finite."""
    return 10 * math.log10(4 / max(mse, 4e-20)) if math.isfinite(mse) else 0.0


def _check_inputs(expected: Manifest, found: Manifest) -> None:
    """Raise VerifyError unless the bundle takes the generator's inputs."""
    for name in ("resolution", "z_dim", "c_dim", "coords_dim", "sites", "subspaces"):
        if getattr(found, name) != getattr(expected, name):
            remedy = (
                "Directions were added to the bundle. Verify a bundle before that."
                if name in ("coords_dim", "subspaces")
                else ""
            )
            raise VerifyError(
                f"`{name}` of the bundle differs from the generator's",
                field=name,
                remedy=remedy,
            )
