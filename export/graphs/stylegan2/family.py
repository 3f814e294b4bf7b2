"""StyleGAN2's side of ``segan.export.graphs.family.GeneratorGraphs``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from segan.export.graphs.lowering import Lowering
from segan.export.graphs.stylegan2.equalize import equalize_channels
from segan.export.graphs.stylegan2.graphs import (
    FP32,
    ConvolutionSite,
    MappingGraph,
    OffsetsGraph,
    SynthesisGraph,
)
from segan.export.graphs.stylegan2.half import ACTIVATION_BOUND, DTYPES, parts_of
from segan.runtime.backends.session import Precision
from segan.train.networks.stylegan2.generator import Generator, SynthesisSite


class StyleGAN2Graphs:
    """The graphs of a StyleGAN2 generator; see ``segan.export.graphs.family.GeneratorGraphs``."""

    activation_bound = ACTIVATION_BOUND

    def __init__(self, generator: Generator) -> None:
        self._generator = generator

    def mapping(self) -> nn.Module:
        """See ``GeneratorGraphs``."""
        return MappingGraph(self._generator)

    def offsets(self) -> nn.Module:
        """See ``GeneratorGraphs``."""
        return OffsetsGraph(self._generator)

    def synthesis(
        self, lowering: Mapping[str, Lowering], precision: Precision = "fp32"
    ) -> nn.Module:
        """See ``GeneratorGraphs``."""
        # Quantisation starts from the scaled arithmetic of the half-precision graphs, in fp32.
        parts = FP32 if precision == "fp32" else parts_of(DTYPES.get(precision, torch.float32))
        return SynthesisGraph(self._generator, lowering, parts)

    def equalize_channels(
        self, synthesis: nn.Module, maxima: Mapping[str, NDArray[np.float32]]
    ) -> None:
        """See ``GeneratorGraphs``."""
        equalize_channels(synthesis, maxima)

    def timed_site(self, name: str, form: Lowering) -> nn.Module:
        """See ``GeneratorGraphs``."""
        site = cast(SynthesisSite, self._generator.synthesis.get_submodule(f"blocks.{name}"))
        return TimedSite(site, form)


class TimedSite(nn.Module):
    """One upsampling site that makes its own input and reduces its output.

    Little is copied between the host and a GPU, so the time is that of the site.
    """

    x: torch.Tensor

    def __init__(self, site: SynthesisSite, form: Lowering) -> None:
        super().__init__()
        self.site = ConvolutionSite(site, form, 1.0)
        random = torch.Generator().manual_seed(0)
        size = site.resolution // 2
        shape = (1, site.weight.shape[1], size, size)
        self.register_buffer("x", torch.randn(shape, generator=random))

    def forward(self, scale: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        """Return y [N, channels] for scale [N, 1] of the feature map and w [N, w_dim]."""
        y: torch.Tensor = self.site(self.x * scale.view(-1, 1, 1, 1), w, None)
        return y.amax(dim=(2, 3))
