"""A foreign generator in segan's own words, and how it becomes a ``Generator``.

Each reader (``import_ada`` and its neighbours) translates names and states what differs: gains,
filters, clamps. The network that results is the one that training makes and export knows, with
the file's numbers in it, so that graphs, verification and everything behind them stay one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch

from segan.export.foreign.container import ForeignModel
from segan.export.foreign.inert.objects import TensorRecord
from segan.runtime.errors import CheckpointError, ConfigError
from segan.train.networks.config import NetworkConfig, SubspaceConfig
from segan.train.networks.stylegan2.generator import (
    MAPPING_LR_MULTIPLIER,
    Generator,
    MappingNetwork,
)
from segan.train.networks.stylegan2.layers import FullyConnected
from segan.train.networks.stylegan2.resample import fir_kernel

#: Latents whose mean stands for w̄ when a file states none.
W_AVG_SAMPLES = 16_384


class ImportedNetwork(
    NetworkConfig, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=False
):
    """Shapes of a network whose channels follow no formula.

    Attributes:
        layer_channels: channels of each layer, from 4² up.
    """

    layer_channels: tuple[int, ...] = ()

    def channels(self, resolution: int) -> int:
        """Channels of the feature maps at ``resolution``."""
        return self.layer_channels[resolution.bit_length() - 3]


@dataclass(kw_only=True)
class ImportedModel:
    """What a reader makes of a file.

    Attributes:
        network: shapes.
        subspace: where and how subspaces act.
        state: tensors by the names of ``Generator.state_dict``; without ``w_avg`` it is computed.
        settings: what else differs, by module name: ``weight_gain``, ``bias_gain``, ``clamp``,
            ``fir``.
        ws_rows: for each site, the row of the original's W+ (its ``ws`` or ``latent``).
        notes: what a user should know, one sentence each.
    """

    network: ImportedNetwork
    subspace: SubspaceConfig
    state: dict[str, torch.Tensor]
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    ws_rows: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Tensors:
    """The tensors of a file, by name, each taken once; tells what is missing and what is left."""

    def __init__(self, model: ForeignModel) -> None:
        self._records, self._layout = model.tensors, model.layout
        self._taken: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._records

    def names(self) -> list[str]:
        """All names, in the file's order."""
        return list(self._records)

    def shape(self, name: str, rank: int) -> tuple[int, ...]:
        """The shape of a tensor of ``rank`` dimensions. Raises: CheckpointError."""
        shape = self._record(name).shape
        if len(shape) != rank or 0 in shape:
            raise CheckpointError(
                f"{name} has shape {list(shape)}; the {self._layout} layout has {rank} dimensions "
                "there, none of them 0. The file is damaged, or of another network."
            )
        return shape

    def take(self, name: str, shape: tuple[int, ...] | None = None) -> torch.Tensor:
        """A tensor in float32, reshaped when ``shape`` is given. Raises: CheckpointError."""
        record = self._record(name)
        if shape is not None and math.prod(record.shape) != math.prod(shape):
            raise CheckpointError(
                f"{name} has shape {list(record.shape)}; expected {list(shape)}. The file is "
                "damaged, or of another network."
            )
        self._taken.add(name)
        found = torch.from_numpy(record.read())
        return found if shape is None else found.reshape(shape)

    def skip(self, name: str) -> None:
        """Marks a tensor that a network of segan does not need."""
        self._taken.add(name)

    def check_all_taken(self) -> None:
        """Raises CheckpointError when the file holds more than the layout."""
        left = [name for name in self._records if name not in self._taken]
        if left:
            raise CheckpointError(
                f"the generator holds {len(left)} tensors that the {self._layout} layout does not "
                f"have, such as {', '.join(name[:60] for name in left[:3])}. It is a variant that "
                "segan does not know; images would differ."
            )

    def _record(self, name: str) -> TensorRecord:
        if name not in self._records:
            raise CheckpointError(
                f"{name} is missing from the generator; the {self._layout} layout has it. The "
                "file is cut short, or of another network."
            )
        return self._records[name]


def build_generator(model: ImportedModel) -> Generator:
    """The generator with the file's numbers, on the CPU, in evaluation mode.

    Raises:
        CheckpointError: a tensor is missing or has the wrong shape.
    """
    with torch.device("meta"):
        generator = Generator(model.network, model.subspace)
        _fit_mapping(generator.mapping, model.state)
    needs_mean = "w_avg" not in model.state
    if needs_mean:
        model.state["w_avg"] = torch.zeros(model.network.w_dim)
    expected = generator.state_dict()
    for name, value in expected.items():
        found = model.state.get(name)
        if found is None or found.shape != value.shape:
            given = "missing" if found is None else f"of shape {list(found.shape)}"
            raise CheckpointError(
                f"{name} is {given}; expected {list(value.shape)}. The file is damaged, or of "
                "another network."
            )
    # Assigned, not copied: a large model stays in the memory once.
    generator.load_state_dict({name: model.state[name] for name in expected}, assign=True)
    for module in generator.modules():
        if "fir" in module._buffers:
            module.fir = fir_kernel()
    for path, values in model.settings.items():
        module = generator.get_submodule(path)
        for name, value in values.items():
            setattr(module, name, value)
    generator.eval().requires_grad_(False)
    if needs_mean:
        generator.w_avg.copy_(mean_latent(generator))
    return generator


def _fit_mapping(mapping: MappingNetwork, state: Mapping[str, torch.Tensor]) -> None:
    """Gives the mapping network's layers the file's widths, where they are not w_dim."""
    for name, layer in list(mapping.named_children()):
        weight = state.get(f"mapping.{name}.weight")
        if weight is None or weight.ndim != 2 or weight.shape == cast(Any, layer).weight.shape:
            continue
        out, into = weight.shape
        if name == "embed":
            mapping.embed = FullyConnected(into, out)
        else:
            fitted = FullyConnected(
                into, out, activation="lrelu", lr_multiplier=MAPPING_LR_MULTIPLIER
            )
            setattr(mapping, name, fitted)


def check_chain(widths: list[tuple[int, int]], w_dim: int) -> None:
    """Raises CheckpointError unless the mapping's layers (in, out) fit each other and w_dim."""
    for number, (_, out) in enumerate(widths):
        following = widths[number + 1][0] if number + 1 < len(widths) else w_dim
        if out != following:
            raise CheckpointError(
                f"layer {number} of the mapping network makes {out} values, the next takes "
                f"{following}: the file is damaged."
            )


def make_network(**values: Any) -> ImportedNetwork:
    """The shapes; a value that segan cannot use is an error of the file.

    Raises:
        CheckpointError: see ``NetworkConfig``.
    """
    try:
        return ImportedNetwork(**values)
    except ConfigError as error:
        raise CheckpointError(f"segan cannot take this generator: {error}") from None


def mean_latent(generator: Generator) -> torch.Tensor:
    """The mean of the mapping network's w over a fixed stream of latents: [w_dim]."""
    network = generator.network
    random = np.random.RandomState(0)
    total = torch.zeros(network.w_dim, dtype=torch.float64)
    part = 1024
    with torch.inference_mode():
        for _ in range(W_AVG_SAMPLES // part):
            z = torch.from_numpy(random.randn(part, network.z_dim).astype(np.float32))
            c = None
            if network.c_dim:
                classes = random.randint(0, network.c_dim, size=part)
                c = torch.eye(network.c_dim)[torch.from_numpy(classes)]
            total += generator.mapping(z, c).double().sum(dim=0)
    return (total / W_AVG_SAMPLES).float()


def drawn_noise(number: int, resolution: int) -> torch.Tensor:
    """A constant noise image for a site whose file has none: [r, r], the same every time."""
    seed = np.random.SeedSequence((number, resolution))
    random = np.random.RandomState(np.random.MT19937(seed))
    return torch.from_numpy(random.randn(resolution, resolution).astype(np.float32))


def normalised_filter(kernel: torch.Tensor, gain: float) -> torch.Tensor:
    """A file's resampling filter as a two-dimensional kernel, without its gain.

    Args:
        kernel: [T, T], or [T] for a separable one.
        gain: what the file's kernel sums to over what the filter sums to.

    Raises:
        CheckpointError: another shape, or more taps than a filter can have.
    """
    if kernel.ndim == 1:
        kernel = torch.outer(kernel, kernel)
    if kernel.ndim != 2 or kernel.shape[0] != kernel.shape[1] or not 1 <= len(kernel) <= 32:
        raise CheckpointError(
            f"a resampling filter has shape {list(kernel.shape)}; expected a square of 1 to 32 "
            "taps. The file is damaged."
        )
    return even_filter(kernel / gain)


def even_filter(kernel: torch.Tensor) -> torch.Tensor:
    """The same filter with an even number of taps, at least 4, so that one padding fits all.

    StyleGAN2 pads (T + 1) // 2 - 1 pixels before and (T - 2) // 2 after a filter of T taps; zeros
    around the kernel, which is flipped when it is applied, give the same pixels.
    """
    taps = len(kernel)
    size = max(4, taps + taps % 2)
    before = (taps + 1) // 2 - 1
    trailing = size // 2 - 1 - before
    leading = size - taps - trailing
    out = kernel.new_zeros(size, size)
    out[leading : leading + taps, leading : leading + taps] = kernel
    return out
