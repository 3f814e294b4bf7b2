"""``import_model``: from another project's checkpoint to a verified bundle."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segan.export.exporter import ExportConfig, ExportResult, export_bundle
from segan.export.foreign import LAYOUTS, ForeignModel, open_foreign
from segan.export.import_ada import read_ada
from segan.export.import_rosinality import read_rosinality
from segan.export.import_segan_pytorch import read_segan_pytorch
from segan.export.imported_model import ImportedModel, build_generator
from segan.export.lowering import Lowering
from segan.export.precision import ReducedPrecision
from segan.runtime.errors import ConfigError
from segan.train.checkpoint import load_generator, resolve_checkpoint
from segan.train.generator import Generator

_READERS: Mapping[str, Callable[[ForeignModel], ImportedModel]] = {
    "ada": read_ada,
    "rosinality": read_rosinality,
    "segan-pytorch": read_segan_pytorch,
}

#: What people call the layouts.
TITLES = {
    "ada": "StyleGAN2-ADA (PyTorch)",
    "rosinality": "rosinality/stylegan2-pytorch",
    "segan-pytorch": "curefate/SEGan_Pytorch",
    "segan": "segan",
}

#: Batches that verification runs: large images need much memory each.
_BATCHES = {1024: (1, 2), 512: (1, 2), 256: (1, 3)}


@dataclass(frozen=True, kw_only=True)
class ImportConfig:
    """How to import.

    Attributes:
        layout: of tensors whose container does not tell; None recognises it.
        name: of the bundle, for people; None takes the file's.
        lowering: see ``ExportConfig``.
        tolerance: see ``ExportConfig``.
        precisions: see ``ExportConfig``.
        zip: see ``ExportConfig``.

    Raises:
        ConfigError: an unknown layout.
    """

    layout: str | None = None
    name: str | None = None
    lowering: Lowering | None = None
    tolerance: float = 1e-3
    precisions: tuple[ReducedPrecision, ...] = ()
    zip: bool = False

    def __post_init__(self) -> None:
        if self.layout is not None and self.layout not in LAYOUTS:
            raise ConfigError(f"layout is {self.layout!r}; expected one of {', '.join(LAYOUTS)}.")


@dataclass(frozen=True, kw_only=True)
class ImportResult:
    """What was imported.

    Attributes:
        layout: of the file; ``segan`` for a checkpoint of segan's own.
        container: how the file was written.
        parameters: learned numbers of the generator, as the bundle holds them.
        notes: what a user should know, one sentence each.
        export: the bundle, and what its verification measured.
        seconds: wall time of it all.
    """

    layout: str
    container: str
    parameters: int
    notes: tuple[str, ...]
    export: ExportResult
    seconds: float


@dataclass(frozen=True, kw_only=True)
class ImportedGenerator:
    """A foreign generator in memory.

    Attributes:
        generator: on the CPU, in evaluation mode.
        layout: of the file.
        container: how the file was written.
        notes: what a user should know.
        provenance: what the manifest says of the file.
    """

    generator: Generator
    layout: str
    container: str
    notes: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)


def load_foreign(path: Path | str, layout: str | None = None) -> ImportedGenerator:
    """Reads another project's generator; nothing in the file is executed.

    Args:
        path: the file.
        layout: see ``ImportConfig``.

    Raises:
        CheckpointError: not a StyleGAN2 generator that segan knows; damaged; hostile.
    """
    path = Path(path)
    with open_foreign(path, layout) as foreign:
        model = _READERS[foreign.layout](foreign)
        generator = build_generator(model)
        source = {
            "file": path.name,
            "sha256": foreign.sha256,
            "bytes": foreign.size,
            "layout": foreign.layout,
            "container": foreign.container,
            "weights": foreign.weights,
            # Row of the original's W+ for each site, so that its latents and cutoffs fit.
            "ws_rows": model.ws_rows,
            "num_ws": max(model.ws_rows) + 1,
            "notes": model.notes,
        }
        return ImportedGenerator(
            generator=generator,
            layout=foreign.layout,
            container=foreign.container,
            notes=tuple(model.notes),
            provenance={"imported": source},
        )


def import_model(
    path: Path | str,
    out: Path | str,
    config: ImportConfig | None = None,
    *,
    on_step: Callable[[str], None] | None = None,
) -> ImportResult:
    """Writes another project's generator as a verified bundle.

    Args:
        path: the checkpoint: a file of a known layout, or a run or checkpoint folder of segan's.
        out: the bundle's folder, NAME.segan; a bundle that stands there is replaced at the end.
        config: None takes the defaults.
        on_step: called with a few words before each step.

    Raises:
        CheckpointError: see ``load_foreign``.
        ConfigError, ExportError, VerifyError, OutputError: see ``export_bundle``.
    """
    start = time.perf_counter()
    config, path, out = config or ImportConfig(), Path(path), Path(out)
    step = on_step or (lambda _: None)
    common: dict[str, Any] = {
        "lowering": config.lowering,
        "tolerance": config.tolerance,
        "precisions": config.precisions,
        "zip": config.zip,
    }
    step(f"reading {path.name}")
    if path.is_dir():
        loaded = load_generator(resolve_checkpoint(path))
        exported = export_bundle(
            loaded, out, ExportConfig(name=config.name, **common), on_step=on_step
        )
        return ImportResult(
            layout="segan",
            container="safetensors",
            parameters=_count(loaded.generator),
            notes=(),
            export=exported,
            seconds=time.perf_counter() - start,
        )
    imported = load_foreign(path, config.layout)
    generator = imported.generator
    exported = export_bundle(
        generator,
        out,
        ExportConfig(
            name=config.name or path.stem,
            batch_sizes=_BATCHES.get(generator.network.resolution, (1, 3, 8)),
            provenance=imported.provenance,
            **common,
        ),
        on_step=on_step,
    )
    return ImportResult(
        layout=imported.layout,
        container=imported.container,
        parameters=_count(generator),
        notes=imported.notes,
        export=exported,
        seconds=time.perf_counter() - start,
    )


def _count(generator: Generator) -> int:
    return sum(value.numel() for value in generator.parameters())
