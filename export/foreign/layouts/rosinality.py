"""rosinality/stylegan2-pytorch in segan's names.

Weights carry equalised learning rates and their leading batch dimension [1, O, I, k, k]; resampling
kernels include their gain of 4; noise images are buffers of the network.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from segan.export.foreign.limits import MAX_MAPPING_LAYERS, exceeded
from segan.export.foreign.model import ForeignModel
from segan.export.foreign.stylegan2 import (
    NO_MEAN,
    ImportedModel,
    check_layers,
    drawn_noise,
    make_network,
    normalised_filter,
    shared_rows,
)
from segan.export.foreign.tensors import DAMAGED, Tensors, finite
from segan.export.graphs.lowering import UP_GAIN
from segan.runtime.errors import CheckpointError
from segan.train.networks.config import SubspaceConfig


class PublishedReader:
    """Reader of what rosinality's layout and the layouts derived from it share.

    Args:
        model: the file.
        modulation: the layout's name of the style's affine layer.
    """

    def __init__(self, model: ForeignModel, modulation: str) -> None:
        self.tensors, self.modulation = Tensors(model), modulation
        self.state: dict[str, Any] = {}
        self.changes: dict[str, dict[str, Any]] = {}
        self.notes = list(model.notes)
        self._w_dim = self._layers = 0

    def numbers(self, prefix: str, suffix: str, *, first: int) -> list[int]:
        """Return N of all tensors ``{prefix}.N.{suffix}``, which must count from ``first``."""
        pattern = re.compile(rf"{re.escape(prefix)}\.(\d{{1,3}})\.{re.escape(suffix)}")
        matches = (pattern.fullmatch(name) for name in self.tensors.names())
        found = sorted(int(match[1]) for match in matches if match)
        if not found or found != list(range(first, first + len(found))):
            raise CheckpointError(
                f"the numbers of {prefix} are {found}",
                expected=f"{first}, {first + 1} and so on",
                remedy=DAMAGED,
            )
        return found

    def mapping(self, prefix: str) -> int:
        """Read the layers ``{prefix}.1`` and on; return w_dim."""
        tensors, numbers = self.tensors, self.numbers(prefix, "weight", first=1)
        self._w_dim = w_dim = tensors.shape(f"{prefix}.1.weight", 2)[0]
        self._layers = len(numbers)
        if self._layers > MAX_MAPPING_LAYERS:
            raise exceeded("layers of the mapping network", self._layers, MAX_MAPPING_LAYERS)
        for number in numbers:
            if tensors.shape(f"{prefix}.{number}.weight", 2) != (w_dim, w_dim):
                raise CheckpointError(
                    f"{prefix}.{number}.weight has another shape than layer 1",
                    expected=f"[{w_dim}, {w_dim}]",
                    remedy=DAMAGED,
                )
            for part in ("weight", "bias"):
                value = tensors.take(f"{prefix}.{number}.{part}")
                self.state[f"mapping.fc{number - 1}.{part}"] = value
        return w_dim

    def const(self, name: str) -> None:
        """Read the constant input, [1, C, 4, 4]."""
        shape = self.tensors.shape(name, 4)
        self.state["synthesis.blocks.b4.const"] = self.tensors.take(name, shape[1:])

    def channels(self, source: str) -> int:
        """Return the output channels of a site."""
        return self.tensors.shape(f"{source}.conv.weight", 5)[1]

    def site(self, source: str, target: str, noise: Any) -> None:
        """Read a convolution with its noise image [r, r], strength, bias and filter."""
        tensors = self.tensors
        self._modulated(source, target)
        channels = self.channels(source)
        self.state[f"{target}.bias"] = tensors.take(f"{source}.activate.bias", (channels,))
        self.state[f"{target}.noise_strength"] = tensors.take(f"{source}.noise.weight", ())
        self.state[f"{target}.noise_const"] = noise
        if target.endswith("conv0"):
            self._filter(f"{source}.conv.blur.kernel", target)

    def to_rgb(self, source: str, target: str, block: str, *, first: bool) -> None:
        """Read a to_rgb; all but the first have the filter that doubles the image."""
        self._modulated(source, target)
        channels = self.channels(source)
        self.state[f"{target}.bias"] = self.tensors.take(f"{source}.bias", (channels,))
        if not first:
            self._filter(f"{source}.upsample.kernel", block)

    def _modulated(self, source: str, target: str) -> None:
        shape = self.tensors.shape(f"{source}.conv.weight", 5)
        self.state[f"{target}.weight"] = self.tensors.take(f"{source}.conv.weight", shape[1:])
        for part in ("weight", "bias"):
            value = self.tensors.take(f"{source}.conv.{self.modulation}.{part}")
            self.state[f"{target}.affine.{part}"] = value

    def _filter(self, name: str, target: str) -> None:
        if name in self.tensors:
            kernel = normalised_filter(self.tensors.take(name), UP_GAIN)
            self.changes.setdefault(target, {})["fir"] = kernel

    def finish(
        self, to_rgb: str, convolutions: Sequence[str], subspace: SubspaceConfig
    ) -> ImportedModel:
        """Return the translated generator.

        Args:
            to_rgb: name of a to_rgb.
            convolutions: name of the last convolution of each layer, from 4² up.
            subspace: where and how subspaces act.

        Raises:
            CheckpointError: the file holds other tensors too.
        """
        self.tensors.check_all_taken()
        resolution = 4 << (len(convolutions) - 1)
        network = make_network(
            self.tensors.file_bytes,
            resolution=resolution,
            img_channels=self.channels(to_rgb),
            z_dim=self._w_dim,
            w_dim=self._w_dim,
            mapping_layers=self._layers,
            layer_channels=tuple(self.channels(name) for name in convolutions),
        )
        return ImportedModel(
            network=network,
            subspace=subspace,
            state=self.state,
            settings=self.changes,
            ws_rows=shared_rows(resolution, "skip"),
            notes=self.notes,
        )


def read_rosinality(model: ForeignModel) -> ImportedModel:
    """Translate a generator of this layout.

    Raises:
        CheckpointError: a tensor is missing, unknown or of another shape.
    """
    reader = PublishedReader(model, "modulation")
    tensors = reader.tensors
    w_dim = reader.mapping("style")
    doublings = sum(
        re.fullmatch(r"to_rgbs\.\d+\.bias", name) is not None for name in tensors.names()
    )
    check_layers(doublings + 1)
    sources = ["conv1", *(f"convs.{number}" for number in range(2 * doublings))]
    reader.const("input.input")
    has_noise = "noises.noise_0" in tensors
    for number, source in enumerate(sources):
        layer = (number + 1) // 2
        resolution, name = 4 << layer, "conv1" if number % 2 == 0 else "conv0"
        if has_noise:
            noise = tensors.take(f"noises.noise_{number}", (resolution, resolution))
        else:
            noise = drawn_noise(number, resolution)
        reader.site(source, f"synthesis.blocks.b{resolution}.{name}", noise)
    for layer in range(doublings + 1):
        block = f"synthesis.blocks.b{4 << layer}"
        source = f"to_rgbs.{layer - 1}" if layer else "to_rgb1"
        reader.to_rgb(source, f"{block}.to_rgb", block, first=layer == 0)
    rows = shared_rows(4 << doublings, "skip")
    mean_rows = _mean(reader, model, w_dim, max(rows) + 1)
    if not has_noise:
        reader.notes.append("the file has no constant noise; a fixed one was drawn.")
    found = reader.finish("to_rgb1", sources[::2], SubspaceConfig(mode=0))
    found.mean_rows = mean_rows
    return found


def _mean(reader: PublishedReader, model: ForeignModel, w_dim: int, num_ws: int) -> Any:
    """Read the mean of w: one vector, or as e4e and ReStyle write it one for each row of W+.

    Returns:
        The rows, [num_ws, w_dim], where they differ; else None, and the one mean is in the state.
    """
    average = model.latent_avg
    if average is None:
        reader.notes.append(NO_MEAN)
        return None
    fits = average.shape[-1:] == (w_dim,) and math.prod(average.shape[:-1]) <= MAX_MAPPING_LAYERS
    rows = finite("latent_avg", average).reshape(-1, w_dim) if fits else None
    alike = rows is not None and bool((rows == rows[0]).all())
    if rows is None or not (alike or len(rows) == num_ws):
        raise CheckpointError(
            f"latent_avg has shape {list(average.shape)}",
            expected=f"[{w_dim}], or [{num_ws}, {w_dim}] with a row for each of num_ws",
            remedy=DAMAGED,
        )
    reader.state["w_avg"] = rows[0].clone()
    return None if alike else rows
