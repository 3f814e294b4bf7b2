"""curefate/SEGan_Pytorch, the published SEGAN, in segan's names: modes 0 to 3 at every site.

Mode 2 stores its basis as [C, r, r, D] and sums over C, r and r before it multiplies. So it acts as
one number for each dimension of w, the sum, which is computed here in float64.
"""

from __future__ import annotations

from typing import Literal

import torch

from segan.export.foreign.layouts.rosinality import PublishedReader
from segan.export.foreign.model import ForeignModel
from segan.export.foreign.stylegan2 import (
    NO_MEAN,
    ImportedModel,
    check_layers,
    drawn_noise,
)
from segan.export.foreign.tensors import DAMAGED
from segan.runtime.errors import CheckpointError
from segan.train.networks.config import SubspaceConfig

Mode = Literal[0, 1, 2, 3]


def read_segan_pytorch(model: ForeignModel) -> ImportedModel:
    """Translate a generator of this layout.

    Raises:
        CheckpointError: a tensor is missing, unknown or of another shape.
    """
    reader = PublishedReader(model, "modulate")
    w_dim = reader.mapping("Mapping.layer")
    numbers = reader.numbers("Synthesis.blocks", "torgb.bias", first=0)
    check_layers(len(numbers))
    mode = _mode(model)
    reader.const("Synthesis.const.input")
    convolution, subspace = 0, 0
    for number in numbers:
        resolution, source = 4 << number, f"Synthesis.blocks.{number}"
        block = f"synthesis.blocks.b{resolution}"
        names = ["conv0", "conv1"] if number else ["conv1"]
        for name in names:
            noise = drawn_noise(convolution, resolution)
            reader.site(f"{source}.{name}", f"{block}.{name}", noise)
            convolution += 1
        reader.to_rgb(f"{source}.torgb", f"{block}.to_rgb", block, first=number == 0)
        for row, name in enumerate([*names, "to_rgb"]):
            if mode:
                site = f"b{resolution}.{name}"
                _subspace(reader, mode, f"{source}.subspaces.{row}", subspace, site, w_dim)
            subspace += 1
    reader.notes += [
        NO_MEAN,
        "the original draws new noise for every image; 'const' is one fixed draw.",
    ]
    return reader.finish(
        "Synthesis.blocks.0.torgb",
        [f"Synthesis.blocks.{number}.conv1" for number in numbers],
        SubspaceConfig(mode=mode, kind="diagonal"),
    )


def _mode(model: ForeignModel) -> Mode:
    """Return the mode, from the first subspace: its μ is a feature map, a vector, or missing."""
    first = "Synthesis.blocks.0.subspaces.0"
    if f"{first}.L" not in model.tensors:
        return 0
    mean = model.tensors.get(f"{first}.mu")
    if mean is None:
        return 3
    return 1 if len(mean.shape) == 3 else 2


def _subspace(
    reader: PublishedReader, mode: Mode, source: str, number: int, site: str, w_dim: int
) -> None:
    """Read one subspace; its coordinates at 0 give the published images."""
    tensors, target = reader.tensors, f"subspaces.{number}"
    reader.state[f"{target}.importance"] = tensors.take(f"{source}.L", (w_dim,))
    if mode == 3:
        return
    *outer, width = tensors.shape(f"{source}.U", 4)
    if width != w_dim:
        raise CheckpointError(
            f"{source}.U has {width} columns", expected=f"w_dim, {w_dim}", remedy=DAMAGED
        )
    basis = tensors.take(f"{source}.U")
    if mode == 1:
        place = f"synthesis.bases.{site.replace('.', '_')}"
        reader.state[f"{place}.basis"] = basis.reshape(-1, w_dim)
        reader.state[f"{place}.mean"] = tensors.take(f"{source}.mu", tuple(outer))
        return
    scale = basis.sum(dim=(0, 1, 2), dtype=torch.float64)
    reader.state[f"{target}.scale"] = scale.float()
    reader.state[f"{target}.mean"] = tensors.take(f"{source}.mu", (w_dim,))
