"""The interface between export and the families of networks.

Everything above this package works with a generator and its ``GeneratorGraphs``. Only
``graphs_of`` knows which families exist.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import nn

from segan.export.graphs.lowering import Lowering
from segan.export.graphs.stylegan2.family import StyleGAN2Graphs
from segan.runtime.backends.session import Precision
from segan.train.networks.family import Generator


class GeneratorGraphs(Protocol):
    """The networks of one generator as modules that ``to_onnx`` can write.

    Each call returns a new module, since ``to_onnx`` uses its module up. Input and output names
    and shapes are those of docs/reference/bundle.md.

    Attributes:
        activation_bound: largest magnitude of a feature map in the fp16 and bf16 graphs.
    """

    activation_bound: float

    def mapping(self) -> nn.Module:
        """Return z [N, z_dim] (, c [N, c_dim]) → w [N, w_dim]."""
        ...

    def offsets(self) -> nn.Module:
        """Return w, psi (, coords) → ws [N, num_sites, w_dim] (, shifts)."""
        ...

    def synthesis(
        self, lowering: Mapping[str, Lowering], precision: Precision = "fp32"
    ) -> nn.Module:
        """Return ws (, shifts) (, noise) → image [N, img_channels, R, R].

        Args:
            lowering: form of each upsampling site, by name.
            precision: of the arithmetic. ``int8`` returns the fp32 module that
                ``equalize_channels`` and quantisation start from.
        """
        ...

    def equalize_channels(
        self, synthesis: nn.Module, maxima: Mapping[str, NDArray[np.float32]]
    ) -> None:
        """Move channel scales between activations and weights of an ``int8`` module, in place.

        Args:
            synthesis: returned by ``synthesis(lowering, "int8")``.
            maxima: the largest magnitude of each input channel, [I], by the name of the
                convolution's node in the exported graph.
        """
        ...

    def timed_site(self, name: str, form: Lowering) -> nn.Module:
        """Return one upsampling site for timing: scale [N, 1], w [N, w_dim] → y [N, channels]."""
        ...


def graphs_of(generator: Generator) -> GeneratorGraphs:
    """Return the graphs of a generator.

    Args:
        generator: on the CPU, float32, in evaluation mode; not changed.
    """
    return _FAMILIES[generator.network.family](generator)


_FAMILIES: dict[str, Callable[[Generator], GeneratorGraphs]] = {"stylegan2": StyleGAN2Graphs}
