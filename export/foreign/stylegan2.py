"""A foreign StyleGAN2 in segan's names, and the ``Generator`` that is built from it.

Each reader in ``layouts`` translates names, and states what differs: gains, filters, clamps. The
result is the network that training builds, with the file's numbers, so that export needs nothing
special for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch

from segan.export.foreign.limits import (
    FEATURES_OF_FILE,
    MAX_CLASSES,
    MAX_FILTER_TAPS,
    MAX_MAPPING_LAYERS,
    MAX_WIDTH,
    MIN_FEATURES,
    exceeded,
)
from segan.export.foreign.tensors import DAMAGED
from segan.runtime.bundle.layout import MAX_RESOLUTION, Architecture, build_sites
from segan.runtime.errors import CheckpointError, ConfigError
from segan.train.networks.config import NetworkConfig, SubspaceConfig
from segan.train.networks.stylegan2.generator import (
    MAPPING_LR_MULTIPLIER,
    Generator,
    MappingNetwork,
)
from segan.train.networks.stylegan2.layers import FullyConnected
from segan.train.networks.stylegan2.resample import fir_kernel

#: Number of latents whose mean is taken for w̄ if a file has none.
W_AVG_SAMPLES = 16_384

#: Note for such a file.
NO_MEAN = f"the file has no mean of w; it was computed from {W_AVG_SAMPLES} latents (seed 0)."


class ImportedNetwork(
    NetworkConfig, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=False
):
    """Shapes of a network whose channels are listed instead of computed.

    Attributes:
        layer_channels: channels of each layer, from 4² up.
    """

    layer_channels: tuple[int, ...] = ()

    def channels(self, resolution: int) -> int:
        """Return the channels of the feature maps at ``resolution``."""
        return self.layer_channels[resolution.bit_length() - 3]


@dataclass(kw_only=True)
class ImportedModel:
    """A translated generator.

    Attributes:
        network: shapes.
        subspace: where and how subspaces act.
        state: tensors by the names of ``Generator.state_dict``. ``w_avg`` is computed if missing.
        settings: attributes that differ, by module name: ``weight_gain``, ``bias_gain``, ``clamp``,
            ``fir``.
        mean_rows: w̄ for each row of the original's W+, [num_ws, w_dim], where the rows differ.
        ws_rows: for each site, the row of the original's W+ (its ``ws`` or ``latent``).
        notes: what a user should know, one sentence each.
    """

    network: ImportedNetwork
    subspace: SubspaceConfig
    state: dict[str, torch.Tensor]
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    mean_rows: torch.Tensor | None = None
    ws_rows: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def build_generator(model: ImportedModel) -> Generator:
    """Return the generator with the file's numbers, on the CPU, in evaluation mode.

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
                f"{name} is {given}", expected=f"shape {list(value.shape)}", remedy=DAMAGED
            )
    # assign: the tensors are used as they are, so that a large model is in memory once.
    generator.load_state_dict({name: model.state[name] for name in expected}, assign=True)
    for module in generator.modules():
        if "fir" in module._buffers:
            module.fir = fir_kernel()
    for path, values in model.settings.items():
        module = generator.get_submodule(path)
        for name, value in values.items():
            setattr(module, name, value)
    if model.mean_rows is not None:
        # One mean for each site: truncation broadcasts it over the batch like a single one.
        generator.w_avg = model.mean_rows[model.ws_rows]
    generator.eval().requires_grad_(False)
    if needs_mean:
        generator.w_avg.copy_(mean_latent(generator))
    return generator


def _fit_mapping(mapping: MappingNetwork, state: Mapping[str, torch.Tensor]) -> None:
    """Give the mapping network's layers the widths of the file, where they differ from w_dim."""
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


def make_network(file_bytes: int, **values: Any) -> ImportedNetwork:
    """Return the shapes of a network.

    Args:
        file_bytes: size of its file.
        **values: the fields of ``NetworkConfig``.

    Raises:
        CheckpointError: a value that ``NetworkConfig`` does not accept, or beyond a bound.
    """
    try:
        network = ImportedNetwork(**values)
    except ConfigError as error:
        raise CheckpointError(
            f"the generator's {error.field} is {error.value}",
            field=error.field,
            value=error.value,
            expected=error.expected,
            remedy=DAMAGED,
        ) from None
    bounds = (
        ("layers of the mapping network", network.mapping_layers, MAX_MAPPING_LAYERS),
        ("dimensions of z (z_dim)", network.z_dim, MAX_WIDTH),
        ("dimensions of w (w_dim)", network.w_dim, MAX_WIDTH),
        ("classes (c_dim)", network.c_dim, MAX_CLASSES),
    )
    for what, given, allowed in bounds:
        if given > allowed:
            raise exceeded(what, given, allowed, DAMAGED)
    most = max(MIN_FEATURES, int(FEATURES_OF_FILE * file_bytes))
    for layer, channels in enumerate(network.layer_channels):
        side = 4 << layer
        if channels * side**2 > most:
            what = f"values for the feature maps of {channels:,} channels at {side} x {side}"
            raise exceeded(what, channels * side**2, most, DAMAGED)
    return network


def check_layers(count: int) -> None:
    """Raise CheckpointError unless a number of layers, from 4² up, is of a resolution in range."""
    if not 2 <= count <= MAX_RESOLUTION.bit_length() - 2:
        raise CheckpointError(
            f"the generator has {count} layers, for images of 2^{count + 1} pixels a side",
            expected=f"images of 8 to {MAX_RESOLUTION} pixels a side",
        )


def mean_latent(generator: Generator) -> torch.Tensor:
    """Return the mean of w over a fixed stream of latents: [w_dim]."""
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
                c = torch.zeros(part, network.c_dim)
                c[torch.arange(part), torch.from_numpy(classes)] = 1
            total += generator.mapping(z, c).double().sum(dim=0)
    return (total / W_AVG_SAMPLES).float()


def drawn_noise(number: int, resolution: int) -> torch.Tensor:
    """Return constant noise [r, r] for a site without any in the file: the same every time."""
    seed = np.random.SeedSequence((number, resolution))
    random = np.random.RandomState(np.random.MT19937(seed))
    return torch.from_numpy(random.randn(resolution, resolution).astype(np.float32))


def normalised_filter(kernel: torch.Tensor, gain: float) -> torch.Tensor:
    """Return a resampling filter as a two-dimensional kernel without its gain.

    Args:
        kernel: [T, T], or [T] for a separable filter.
        gain: gain that the file's kernel includes.

    Raises:
        CheckpointError: the kernel is not square, or has more than MAX_FILTER_TAPS taps.
    """
    if len(set(kernel.shape)) != 1 or kernel.ndim > 2 or not 1 <= len(kernel) <= MAX_FILTER_TAPS:
        raise CheckpointError(
            f"a resampling filter has shape {list(kernel.shape)}",
            expected=f"1 to {MAX_FILTER_TAPS} taps, or a square of them",
            remedy=DAMAGED,
        )
    if kernel.ndim == 1:
        kernel = torch.outer(kernel, kernel)
    return even_filter(kernel / gain)


def even_filter(kernel: torch.Tensor) -> torch.Tensor:
    """Return the filter padded to an even number of taps, at least 4, which one padding fits.

    StyleGAN2 pads (T + 1) // 2 - 1 pixels before and (T - 2) // 2 after a filter of T taps. Zeros
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


def shared_rows(resolution: int, architecture: Architecture) -> list[int]:
    """Return the row of the original's W+ for each site: to_rgb shares the next convolution's."""
    rows: list[int] = []
    convolutions = 0
    for site in build_sites(resolution, architecture):
        rows.append(convolutions)
        convolutions += site.kind != "rgb"
    return rows
