"""Another project's checkpoint as a generator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segan.export.foreign.container import open_foreign

if TYPE_CHECKING:
    from segan.train.networks.stylegan2.generator import Generator

#: What people call the layouts.
TITLES = {
    "ada": "StyleGAN2-ADA (PyTorch)",
    "rosinality": "rosinality/stylegan2-pytorch",
    "segan-pytorch": "curefate/SEGan_Pytorch",
    "segan": "segan",
}


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
    from segan.export.foreign.build import build_generator
    from segan.export.foreign.layouts.ada import read_ada
    from segan.export.foreign.layouts.rosinality import read_rosinality
    from segan.export.foreign.layouts.segan_pytorch import read_segan_pytorch

    readers = {
        "ada": read_ada,
        "rosinality": read_rosinality,
        "segan-pytorch": read_segan_pytorch,
    }
    path = Path(path)
    with open_foreign(path, layout) as foreign:
        model = readers[foreign.layout](foreign)
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
