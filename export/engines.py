"""Verification of a bundle's TensorRT engines against the generator."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from segan.runtime.backends.choose import precisions_of, why_not
from segan.runtime.bundle.manifest import Verification, encode_manifest
from segan.runtime.bundle.reader import MANIFEST, open_bundle
from segan.runtime.errors import VerifyError
from segan.runtime.files.atomic import write_atomic

if TYPE_CHECKING:
    from segan.train.networks.stylegan2.generator import Generator


def why_unverified(capabilities: Sequence[str] = ()) -> str | None:
    """Return why engines that were built for these cannot be verified here; None where they can."""
    if capabilities:
        return "they were built ahead of time"
    problem = why_not("tensorrt")
    return None if problem is None else str(problem)


def verify_engines(
    generator: Generator,
    path: Path,
    *,
    tolerance: float,
    batch_sizes: Sequence[int],
    on_step: Callable[[str], None] | None = None,
) -> tuple[Verification, ...]:
    """Compare the images of a bundle's engines with the generator's; record it in the manifest.

    Args:
        generator: on the CPU, float32, in evaluation mode.
        path: the bundle's folder.
        tolerance: of fp32. Other precisions have the tolerance that the bundle's graph of that
            precision was verified with.
        batch_sizes: to run.
        on_step: called with a few words before each case.

    Returns:
        A record for each precision, as it is stored in the manifest.

    Raises:
        VerifyError: the images differ by more; the bundle stays unchanged.
        BackendError: the engines do not run.
        OutputError: the manifest cannot be written.
    """
    from segan.export.reference import fresh_seeds, make_reference
    from segan.export.verify import verify_bundle

    step = on_step or (lambda _: None)
    manifest = open_bundle(path).manifest
    allowed, least = {"fp32": tolerance}, dict[str, float]()
    for record in manifest.verification:
        allowed.setdefault(record.precision, record.tolerance)
        # An engine must reach the same PSNR as the half-precision graph that it is built from.
        least.setdefault(record.precision, getattr(record, "min_psnr_db", None) or 0.0)
    seeds = fresh_seeds(sum(batch_sizes), str(manifest.provenance.get("weights_sha256", "")))
    records = []
    precisions = precisions_of("tensorrt", manifest.graphs.synthesis)
    with tempfile.TemporaryDirectory() as folder:
        reference = make_reference(
            generator, manifest, Path(folder), seeds=seeds, batch_sizes=batch_sizes
        )
        for precision in precisions:
            result = verify_bundle(
                reference,
                path,
                tolerance=allowed.get(precision, tolerance),
                backend="tensorrt",
                precision=precision,
                on_case=_case_teller(step, precision),
            )
            if not result.passed or result.psnr_db < least.get(precision, 0.0):
                raise VerifyError(
                    f"the {precision} engines' images differ from the checkpoint's by up to "
                    f"{result.max_error:.2g}, PSNR {result.psnr_db:.1f} dB; the tolerance is "
                    f"{result.record.tolerance:g}",
                    field="tolerance",
                    value=result.record.tolerance,
                    remedy="The bundle is written and verified on the CPU; do not use the backend "
                    "tensorrt with it here.",
                )
            records.append(result.record)
    kept = [
        record
        for record in manifest.verification
        if (record.backend, record.precision) not in {(r.backend, r.precision) for r in records}
    ]
    changed = msgspec.structs.replace(manifest, verification=(*kept, *records))
    write_atomic(path / MANIFEST, encode_manifest(changed))
    return tuple(records)


def _case_teller(step: Callable[[str], None], precision: str) -> Callable[[str], None]:
    return lambda case: step(f"verifying the {precision} engines: {case}")
