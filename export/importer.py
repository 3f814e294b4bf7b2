"""``import_model``: writes another project's checkpoint as a verified bundle."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from segan.export.finishing import ExportResult, commit_draft, verify_draft
from segan.export.foreign.load import load_foreign
from segan.export.foreign.model import LAYOUTS
from segan.export.import_draft import DraftRequest, draft_import
from segan.export.memory import frugal_memory
from segan.export.precisions import ReducedPrecision
from segan.runtime.bundle.writer import BundleDraft, check_replaceable, zip_path
from segan.runtime.errors import ConfigError, VerifyError

if TYPE_CHECKING:
    from segan.export.graphs.lowering import Lowering


@dataclass(frozen=True, kw_only=True)
class ImportConfig:
    """Settings of an import.

    Attributes:
        layout: whose names the tensors have, ``ada``, ``rosinality`` or ``segan-pytorch``; None
            recognises the layout from the names.
        name: display name of the bundle; None takes the file's name.
        lowering: see ``ExportConfig``.
        tolerance: see ``ExportConfig``.
        precisions: see ``ExportConfig``.
        zip: see ``ExportConfig``.
        conv_clamp: see ``load_foreign``.

    Raises:
        ConfigError: an unknown layout.
    """

    layout: str | None = None
    name: str | None = None
    lowering: Lowering | None = None
    tolerance: float = 1e-3
    precisions: tuple[ReducedPrecision, ...] = ()
    zip: bool = False
    conv_clamp: float | None = None

    def __post_init__(self) -> None:
        if self.layout is not None and self.layout not in LAYOUTS:
            raise ConfigError(
                field="layout", value=self.layout, expected=f"one of {', '.join(LAYOUTS)}"
            )


@dataclass(frozen=True, kw_only=True)
class ImportResult:
    """An imported generator and its bundle.

    Attributes:
        layout: layout of the file; ``segan`` for a checkpoint of segan's own.
        container: file format, such as ``pickle`` or ``safetensors``.
        parameters: number of parameters of the generator.
        notes: what differs from the original file, one sentence each.
        export: the bundle, and the result of its verification.
        seconds: wall time of the import.
    """

    layout: str
    container: str
    parameters: int
    notes: tuple[str, ...]
    export: ExportResult
    seconds: float


def import_model(
    path: Path | str,
    out: Path | str,
    config: ImportConfig | None = None,
    *,
    overwrite: bool = True,
    on_step: Callable[[str], None] | None = None,
) -> ImportResult:
    """Write another project's generator as a verified bundle.

    The file is read as data: nothing in it is executed, pickles included.

        result = import_model("ffhq.pkl", "ffhq.segan")
        print(result.layout, result.export.verification.max_error)

    Args:
        path: a checkpoint file of StyleGAN2-ADA (PyTorch), rosinality/stylegan2-pytorch or
            curefate/SEGan_Pytorch, or a run or checkpoint folder of segan.
        out: the bundle's folder, NAME.segan. An existing bundle is replaced at the end; its names
            and directions are taken over, see ``carry_over``.
        config: None takes the defaults.
        overwrite: whether an existing bundle may be replaced.
        on_step: called with a few words before each step.

    Raises:
        CheckpointError: see ``load_foreign``.
        ConfigError: see ``export_bundle``.
        ExportError: see ``export_bundle``; or the process that reads the file was ended, for
            example for lack of memory.
        VerifyError: see ``export_bundle``.
        OutputError: see ``export_bundle``.
    """
    start = time.perf_counter()
    config, path, out = config or ImportConfig(), Path(path), Path(out)
    step = on_step or (lambda _: None)
    step(f"reading {path.name}")
    if path.is_dir():
        return _import_own(path, out, config, overwrite, step, start)
    if config.zip:
        check_replaceable(zip_path(out), overwrite=overwrite)
    with frugal_memory(), BundleDraft(out, overwrite=overwrite) as draft:
        with draft.scratch() as scratch:
            request = DraftRequest(
                file=str(path),
                folder=str(draft.path),
                scratch=str(scratch),
                name=config.name or path.stem,
                layout=config.layout,
                lowering=config.lowering,
                tolerance=config.tolerance,
                conv_clamp=config.conv_clamp,
            )
            drafted = draft_import(request, step)
            draft.files.update(drafted.manifest.files)
            manifest, verification = verify_draft(
                draft, drafted.manifest, drafted.reference, config.tolerance, step
            )
        refused: VerifyError | None = None
        if config.precisions:
            from segan.export.precisions.add import add_precisions

            generator = load_foreign(path, config.layout, conv_clamp=config.conv_clamp).generator
            manifest, refused = add_precisions(draft, manifest, generator, config.precisions, step)
        exported = commit_draft(
            draft, out, manifest, verification, zip=config.zip, start=start, refused=refused
        )
    return ImportResult(
        layout=drafted.layout,
        container=drafted.container,
        parameters=drafted.parameters,
        notes=drafted.notes,
        export=exported,
        seconds=time.perf_counter() - start,
    )


def _import_own(
    path: Path,
    out: Path,
    config: ImportConfig,
    overwrite: bool,
    step: Callable[[str], None],
    start: float,
) -> ImportResult:
    """Export a run or checkpoint folder of segan's own."""
    from segan.export.exporter import ExportConfig, export_bundle
    from segan.train.runs.checkpoint import load_generator, resolve_checkpoint

    for field in ("layout", "conv_clamp"):
        if getattr(config, field) is not None:
            raise ConfigError(
                f"`{field}` is for files of other projects, and {path} is a folder of segan",
                field=field,
                value=getattr(config, field),
                remedy="Leave it out.",
            )
    loaded = load_generator(resolve_checkpoint(path))
    settings = ExportConfig(
        name=config.name,
        lowering=config.lowering,
        tolerance=config.tolerance,
        precisions=config.precisions,
        zip=config.zip,
    )
    return ImportResult(
        layout="segan",
        container="safetensors",
        parameters=sum(value.numel() for value in loaded.generator.parameters()),
        notes=(),
        export=export_bundle(loaded, out, settings, overwrite=overwrite, on_step=step),
        seconds=time.perf_counter() - start,
    )
