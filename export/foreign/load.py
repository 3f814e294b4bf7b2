"""``load_foreign``: loads another project's checkpoint as a generator."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segan.export.foreign.container import open_foreign
from segan.export.foreign.model import ForeignModel
from segan.runtime.errors import ConfigError

if TYPE_CHECKING:
    from segan.train.networks.family import Generator

#: Display names of the layouts.
TITLES = {
    "ada": "StyleGAN2-ADA (PyTorch)",
    "rosinality": "rosinality/stylegan2-pytorch",
    "segan-pytorch": "curefate/SEGan_Pytorch",
    "segan": "segan",
}


@dataclass(frozen=True, kw_only=True)
class ImportedGenerator:
    """Another project's generator in memory.

    Attributes:
        generator: on the CPU, float32, in evaluation mode.
        layout: layout of the file: ``ada``, ``rosinality`` or ``segan-pytorch``.
        container: file format, such as ``pickle`` or ``safetensors``.
        notes: what differs from the original file, one sentence each.
        provenance: the file's entry in a manifest's provenance.
    """

    generator: Generator
    layout: str
    container: str
    notes: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)


def load_foreign(
    path: Path | str, layout: str | None = None, *, conv_clamp: float | None = None
) -> ImportedGenerator:
    """Load another project's generator. Nothing in the file is executed.

        generator = load_foreign("ffhq.pkl").generator

    Args:
        path: a checkpoint file of StyleGAN2-ADA (PyTorch), rosinality/stylegan2-pytorch or
            curefate/SEGan_Pytorch.
        layout: expected layout; None recognises it from the tensors' names.
        conv_clamp: bound on the convolutions' outputs of StyleGAN2-ADA, for files that do not
            state it, such as state dictionaries; None takes the file's, or none.

    Raises:
        CheckpointError: the file is missing, damaged or hostile, or not a StyleGAN2 generator of a
            known layout.
    """
    from segan.export.foreign.layouts.ada import read_ada
    from segan.export.foreign.layouts.rosinality import read_rosinality
    from segan.export.foreign.layouts.segan_pytorch import read_segan_pytorch
    from segan.export.foreign.stylegan2 import build_generator

    readers = {
        "ada": read_ada,
        "rosinality": read_rosinality,
        "segan-pytorch": read_segan_pytorch,
    }
    path = Path(path)
    with open_foreign(path, layout) as foreign:
        if conv_clamp is not None:
            state_clamp(foreign, conv_clamp)
        model = readers[foreign.layout](foreign)
        generator = build_generator(model)
        source = {
            "file": path.name,
            "sha256": foreign.sha256,
            "bytes": foreign.size,
            "layout": foreign.layout,
            "container": foreign.container,
            "weights": foreign.weights,
            # Row of the original's W+ for each site, so that its latents and cutoffs can be used.
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


def state_clamp(model: ForeignModel, conv_clamp: float) -> None:
    """Set the clamp that a file does not state.

    Raises:
        ConfigError: the layout has no clamp, or the file states one, or it is not more than 0.
    """
    stated = any("conv_clamp" in held for held in model.settings.values())
    expected = ""
    if model.layout != "ada":
        expected = f"none, since the {model.layout} layout has no clamp"
    elif stated:
        expected = "none, since the file states its own"
    elif not (math.isfinite(conv_clamp) and conv_clamp > 0):
        expected = "more than 0, such as 256"
    if expected:
        raise ConfigError(field="conv_clamp", value=conv_clamp, expected=expected)
    model.settings.setdefault("", {})["conv_clamp"] = conv_clamp
