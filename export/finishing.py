"""Verifies a bundle's draft and gives it its name; needs no PyTorch."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from segan.export.carry_over import NOTHING, CarriedOver, carry_over, check_zip_kept
from segan.export.reference import Reference
from segan.export.verify import VerifyResult, verify_bundle
from segan.runtime.bundle.manifest import Manifest
from segan.runtime.bundle.writer import BundleDraft, zip_path
from segan.runtime.errors import VerifyError


@dataclass(frozen=True, kw_only=True)
class ExportResult:
    """What was written.

    Attributes:
        path: the bundle, a folder.
        zip_path: the bundle as one file; None if that was not requested.
        manifest: as written.
        sizes: bytes of each file but the manifest.
        verification: of the fp32 graphs; the manifest has those of all precisions.
        seconds: wall time of the whole export.
        refused: error of a requested int8 graph that missed a limit, and was left out; else None.
        carried: names and directions of the replaced bundle, which the new one has, too.
    """

    path: Path
    zip_path: Path | None
    manifest: Manifest
    sizes: dict[str, int]
    verification: VerifyResult
    seconds: float
    refused: VerifyError | None = None
    carried: CarriedOver = NOTHING


def verify_draft(
    draft: BundleDraft,
    manifest: Manifest,
    reference: Reference,
    tolerance: float,
    step: Callable[[str], None],
) -> tuple[Manifest, VerifyResult]:
    """Verify the fp32 graphs of a draft, and add the record to its manifest.

    Args:
        draft: the bundle.
        manifest: the draft's manifest.
        reference: the generator's images; its files are removed.
        tolerance: largest difference of a pixel, images in [-1, 1].
        step: called with a short description before each step.

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
    refused: VerifyError | None = None,
) -> ExportResult:
    """Give a verified draft its name, and what the replaced bundle had.

    Args:
        draft: the bundle, with all its files.
        out: the bundle's path.
        manifest: the draft's manifest.
        verification: of the fp32 graphs.
        zip: also write it as one file, NAME.segan.zip.
        start: ``time.perf_counter`` when the export began.
        refused: see ``ExportResult``.

    Raises:
        ConfigError: another process is changing the replaced bundle.
        ExportError: see ``carry_over``.
        OutputError: it cannot be written, or names or directions would be lost.
    """
    with draft.replacing() as old:
        manifest, carried = carry_over(draft, out, manifest, old)
        if zip:
            check_zip_kept(zip_path(out), draft)
        sizes = {name: (draft.path / name).stat().st_size for name in draft.files}
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
        carried=carried,
    )
