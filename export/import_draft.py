"""The half of an import that needs PyTorch, in a process of its own.

PyTorch, the generator and what its export leaves behind take half a gigabyte, which verification
of large images needs too; so the process that reads the file and writes the graphs has ended when
the one that runs them begins.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from segan.export.reference import Reference
from segan.runtime.bundle.manifest import Manifest
from segan.runtime.errors import ExportError
from segan.runtime.machine.worker import Step, Worker, serve

if TYPE_CHECKING:
    from segan.export.graphs.stylegan2.lowering import Lowering

#: Batches that verification runs: large images need much memory each.
_BATCHES = {1024: (1, 2), 512: (1, 2), 256: (1, 3)}


class DraftRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to import.

    Attributes:
        file: the checkpoint.
        folder: of the bundle in the making; takes its files.
        scratch: a folder that takes the reference images.
        name: of the bundle, for people.
        layout: see ``load_foreign``.
        lowering: see ``ExportConfig``.
        tolerance: see ``ExportConfig``; only checked.
    """

    file: str
    folder: str
    scratch: str
    name: str
    layout: str | None
    lowering: str | None
    tolerance: float


@dataclass(frozen=True, kw_only=True)
class DraftedImport:
    """What the process found and wrote.

    Attributes:
        layout: of the file.
        container: how the file was written.
        parameters: learned numbers of the generator.
        notes: what a user should know.
        manifest: as it stands in the folder, with all the files.
        reference: the generator's images.
    """

    layout: str
    container: str
    parameters: int
    notes: tuple[str, ...]
    manifest: Manifest
    reference: Reference


def draft_import(request: DraftRequest, step: Step) -> DraftedImport:
    """Reads a foreign file, and writes the bundle's files and reference images.

    Args:
        request: what to import.
        step: called with a few words before each step.

    Raises:
        CheckpointError: see ``load_foreign``.
        ConfigError, VerifyError, OutputError: see ``draft_bundle``.
        ExportError: the same, or the process was ended, as for lack of memory.
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

    lowering: Lowering | None = request.lowering  # type: ignore[assignment]  # it is checked
    config = ExportConfig(lowering=lowering, tolerance=request.tolerance)
    imported = load_foreign(request.file, request.layout)
    generator = imported.generator
    config = replace(
        config,
        batch_sizes=_BATCHES.get(generator.network.resolution, config.batch_sizes),
        provenance=imported.provenance,
    )
    with frugal_memory():
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


if __name__ == "__main__":
    serve(DraftRequest, _draft)
