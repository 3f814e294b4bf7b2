"""TensorRT engines of a bundle, verified against the generator."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from segan.runtime.backends.choose import precisions_of, why_not
from segan.runtime.backends.tensorrt.bundle import EngineFile, build_engines
from segan.runtime.bundle.manifest import Verification, encode_manifest
from segan.runtime.bundle.reader import MANIFEST, check_same_generator, open_bundle
from segan.runtime.bundle.writer import changing
from segan.runtime.errors import BackendError, VerifyError
from segan.runtime.files.atomic import write_atomic

if TYPE_CHECKING:
    from segan.train.networks.family import Generator


@dataclass(frozen=True, kw_only=True)
class EnginesResult:
    """The engines of a bundle, and their verification.

    Attributes:
        files: one engine for each graph and precision.
        records: what verification measured, one for each precision; empty if it did not run.
        unverified: why the engines were not verified; None if they were.
    """

    files: tuple[EngineFile, ...]
    records: tuple[Verification, ...]
    unverified: str | None


def add_engines(
    generator: Generator,
    path: Path,
    *,
    tolerance: float,
    batch_sizes: Sequence[int],
    capabilities: Sequence[str] = (),
    on_progress: Callable[[str, float, str], None] | None = None,
    on_step: Callable[[str], None] | None = None,
) -> EnginesResult:
    """Build the engines of a bundle, and verify them if they run on this machine.

    Args:
        generator: the generator that the bundle was exported from.
        path: the bundle's folder.
        tolerance: see ``verify_engines``.
        batch_sizes: see ``verify_engines``.
        capabilities: see ``choose_target``.
        on_progress: see ``build_engines``.
        on_step: see ``verify_engines``.

    Raises:
        BackendError: see ``build_engines``. The bundle itself stays as it is.
        VerifyError: see ``verify_engines``.
        OutputError: see ``build_engines``.
    """
    try:
        files = build_engines(path, capabilities=capabilities, on_progress=on_progress)
    except BackendError as error:
        kept = f"The bundle {path} is written and verified, without engines."
        error.remedy = f"{error.remedy} {kept}".strip()
        raise
    problem = "they were built ahead of time" if capabilities else why_not("tensorrt")
    if problem is not None:
        return EnginesResult(files=files, records=(), unverified=str(problem))
    records = verify_engines(
        generator, path, tolerance=tolerance, batch_sizes=batch_sizes, on_step=on_step
    )
    return EnginesResult(files=files, records=records, unverified=None)


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
        tolerance: largest allowed difference of a pixel in fp32, images in [-1, 1]. Other
            precisions have the tolerance that their ONNX graph was verified with.
        batch_sizes: batch sizes to run.
        on_step: called with a few words before each case.

    Returns:
        A record for each precision, as it is stored in the manifest.

    Raises:
        VerifyError: the images differ by more; the bundle stays unchanged.
        BackendError: the engines do not run.
        BundleError: another generator was written there meanwhile.
        OutputError: the manifest cannot be written.
    """
    from segan.export.reference import fresh_seeds, make_reference
    from segan.export.verify import verify_bundle

    step = on_step or (lambda _: None)
    bundle = open_bundle(path)
    manifest = bundle.manifest
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
                on_case=partial(_tell_case, step, precision),
            )
            if not result.passed or result.psnr_db < least.get(precision, 0.0):
                raise VerifyError(
                    f"the images of the {precision} engines differ from the checkpoint's by up to "
                    f"{result.max_error:.2g}, PSNR {result.psnr_db:.1f} dB",
                    field="max_error",
                    value=result.max_error,
                    expected=f"at most the tolerance, {result.record.tolerance:g}",
                    remedy="The bundle is written and verified on the CPU. Do not use "
                    "`backend tensorrt` with it on this machine.",
                )
            records.append(result.record)
    measured = {(record.backend, record.precision) for record in records}
    with changing(path):
        # Read again: a slider may have got a name in these minutes.
        now = open_bundle(path)
        check_same_generator(bundle, now)
        manifest = now.manifest
        kept = [r for r in manifest.verification if (r.backend, r.precision) not in measured]
        changed = msgspec.structs.replace(manifest, verification=(*kept, *records))
        write_atomic(path / MANIFEST, encode_manifest(changed))
    return tuple(records)


def _tell_case(step: Callable[[str], None], precision: str, case: str) -> None:
    step(f"verifying the {precision} engines: {case}")
