"""From files and reference images to a bundle under its name. PyTorch is not needed for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from segan.export.reference import Reference
from segan.export.verify import VerifyResult, verify_bundle
from segan.runtime.bundle.manifest import Manifest
from segan.runtime.bundle.writer import BundleDraft, zip_path


@dataclass(frozen=True, kw_only=True)
class ExportResult:
    """What was written.

    Attributes:
        path: the bundle, a folder.
        zip_path: the same as one file; None when it was not asked for.
        manifest: as written.
        sizes: bytes of each file but the manifest.
        verification: what verification of the fp32 graphs measured; the manifest has it all.
        seconds: wall time of it all.
        refused: why there is no int8 graph although it was asked for.
    """

    path: Path
    zip_path: Path | None
    manifest: Manifest
    sizes: dict[str, int]
    verification: VerifyResult
    seconds: float
    refused: str | None = None


def verify_draft(
    draft: BundleDraft,
    manifest: Manifest,
    reference: Reference,
    tolerance: float,
    step: Callable[[str], None],
) -> tuple[Manifest, VerifyResult]:
    """Verifies the fp32 graphs of a draft; the record is added to its manifest.

    Args:
        draft: the bundle.
        manifest: as it stands in ``draft``.
        reference: the generator's images, whose files are used up.
        tolerance: largest difference of a pixel, images in [-1, 1].
        step: called with a few words before each step.

    Raises:
        VerifyError: the bundle's images differ by more than the tolerance.
        BackendError: the backend failed.
        OutputError: the manifest cannot be written.
    """
    verification = verify_bundle(
        reference,
        draft.path,
        tolerance=tolerance,
        on_case=lambda case: step(f"verifying: {case}"),
    )
    verification.check()
    manifest = msgspec.structs.replace(manifest, verification=(verification.record,))
    draft.write_manifest(manifest)
    return manifest, verification


def commit_draft(
    draft: BundleDraft,
    out: Path,
    manifest: Manifest,
    verification: VerifyResult,
    *,
    zip: bool,
    start: float,
    refused: str | None = None,
) -> ExportResult:
    """Puts a verified draft in its place.

    Args:
        draft: the bundle, whose files are all there.
        out: where it shall stand.
        manifest: as it stands in ``draft``.
        verification: of the fp32 graphs.
        zip: also write it as one file, NAME.segan.zip.
        start: ``time.perf_counter`` when the export began.
        refused: why there is no int8 graph although it was asked for.

    Raises:
        OutputError: it cannot be written.
    """
    sizes = {name: (draft.path / name).stat().st_size for name in draft.files}
    if zip:
        draft.check_zip()
    draft.commit()
    if zip:
        draft.write_zip()
    return ExportResult(
        path=out,
        zip_path=zip_path(out) if zip else None,
        manifest=manifest,
        sizes=sizes,
        verification=verification,
        seconds=time.perf_counter() - start,
        refused=refused,
    )
