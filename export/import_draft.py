"""The part of an import that needs PyTorch, in a separate process.

PyTorch, the generator and the exporter hold half a gigabyte, which verification of large images
needs too. So the process that reads the file and writes the graphs ends before the graphs are run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from segan.export.reference import Reference
from segan.runtime.bundle.manifest import Manifest
from segan.runtime.errors import ExportError, VerifyError
from segan.runtime.machine.worker import Step, Worker, serve

if TYPE_CHECKING:
    from segan.export.graphs.lowering import Lowering

#: Batch sizes of verification by resolution: large images need much memory each.
_BATCHES = {1024: (1, 2), 512: (1, 2), 256: (1, 3)}


class DraftRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The argument of the process.

    Attributes:
        file: the checkpoint.
        folder: folder of the bundle's draft, which receives its files.
        scratch: folder for the reference images.
        name: display name of the bundle.
        layout: see ``load_foreign``.
        lowering: see ``ExportConfig``.
        tolerance: see ``ExportConfig``; only checked here.
        conv_clamp: see ``load_foreign``.
    """

    file: str
    folder: str
    scratch: str
    name: str
    layout: str | None
    lowering: str | None
    tolerance: float
    conv_clamp: float | None = None


@dataclass(frozen=True, kw_only=True)
class DraftedImport:
    """The answer of the process; the first four fields are those of ``ImportResult``.

    Attributes:
        layout: layout of the file.
        container: file format.
        parameters: number of parameters of the generator.
        notes: what differs from the original file.
        manifest: as written to the folder, with all files.
        reference: the generator's images.
    """

    layout: str
    container: str
    parameters: int
    notes: tuple[str, ...]
    manifest: Manifest
    reference: Reference


def draft_import(request: DraftRequest, step: Step) -> DraftedImport:
    """Read a foreign file, and write the bundle's files and the reference images.

    Args:
        request: what to import.
        step: called with a few words before each step.

    Raises:
        CheckpointError: see ``load_foreign``.
        ConfigError, VerifyError, OutputError: see ``draft_bundle``.
        ExportError: see ``draft_bundle``; or the process was ended, for example for lack of memory.
    """
    task = "read the file and wrote the graphs"
    with Worker(__name__, task=task, failure=ExportError) as worker:
        return worker.ask(request, DraftedImport, on_step=step)


def _draft(request: DraftRequest, step: Step) -> DraftedImport:
    """The work of the process; see ``draft_import``."""
    from segan.export.exporter import ExportConfig, draft_bundle
    from segan.export.foreign.load import load_foreign
    from segan.export.memory import frugal_memory
    from segan.runtime.bundle.writer import BundleFiles

    lowering: Lowering | None = request.lowering  # type: ignore[assignment]  # checked there
    config = ExportConfig(lowering=lowering, tolerance=request.tolerance)
    imported = load_foreign(request.file, request.layout, conv_clamp=request.conv_clamp)
    generator = imported.generator
    config = replace(
        config,
        batch_sizes=_BATCHES.get(generator.network.resolution, config.batch_sizes),
        provenance=imported.provenance,
    )
    with frugal_memory(), _of_a_file(request.file):
        manifest, reference = draft_bundle(
            generator,
            BundleFiles(Path(request.folder)),
            Path(request.scratch),
            config,
            request.name,
            step,
        )
    return DraftedImport(
        layout=imported.layout,
        container=imported.container,
        parameters=sum(value.numel() for value in generator.parameters()),
        notes=imported.notes,
        manifest=manifest,
        reference=reference,
    )


@contextlib.contextmanager
def _of_a_file(path: str) -> Iterator[None]:
    """Say of a file, not of a run's checkpoint, that its images are not finite."""
    try:
        yield
    except VerifyError as error:
        if error.field != "checkpoint":
            raise
        raise VerifyError(
            f"{path}: the images of its generator hold values that are not finite, though its "
            "weights are",
            field="path",
            value=path,
            remedy="The weights are too large to compute with: that network's training diverged, "
            "or the file is damaged. Take another file of that project.",
        ) from None


if __name__ == "__main__":
    serve(DraftRequest, _draft)
