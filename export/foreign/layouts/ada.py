"""StyleGAN2-ADA (PyTorch) and the StyleGAN2 of the StyleGAN3 repository, in segan's names.

Its synthesis has no equalised learning rate on the 3 × 3 weights (demodulation cancels the factor,
except for ε), clamps each layer's output after its gain if ``conv_clamp`` is set, and gives a
to_rgb the ``ws`` row of the next convolution. Blocks that ran in fp16 run in fp32, with the same
clamp.

Source: Karras et al. 2020a, and the layout of its published checkpoints.
"""

from __future__ import annotations

import math
import re
from typing import Any

from segan.export.foreign.limits import MAX_MAPPING_LAYERS, MAX_WIDTH, exceeded
from segan.export.foreign.model import ForeignModel
from segan.export.foreign.stylegan2 import (
    NO_MEAN,
    ImportedModel,
    drawn_noise,
    make_network,
    normalised_filter,
    shared_rows,
)
from segan.export.foreign.tensors import DAMAGED, Tensors
from segan.runtime.bundle.layout import MAX_RESOLUTION, Architecture
from segan.runtime.errors import CheckpointError
from segan.train.networks.config import SubspaceConfig
from segan.train.networks.stylegan2.generator import MAPPING_LR_MULTIPLIER

#: Its names of the architectures → segan's.
_ARCHITECTURES: dict[str, Architecture] = {
    "skip": "skip",
    "resnet": "residual",
    "orig": "original",
}


#: Note for a file of tensors alone, which do not show whether the network clamps.
NO_CLAMP = (
    "the file does not state conv_clamp, so nothing is clamped; if its project trained with one "
    "(StyleGAN2-ADA: 256, wherever it uses fp16), give `conv_clamp 256`."
)

_VARIANT = "It is a variant that segan does not support."


def read_ada(model: ForeignModel) -> ImportedModel:
    """Translate a generator of this layout.

    Raises:
        CheckpointError: a tensor is missing, unknown or of another shape, or segan's networks do
            not have a setting of the file.
    """
    return _Reader(model).read()


class _Reader:
    def __init__(self, model: ForeignModel) -> None:
        self.tensors, self.settings = Tensors(model), model.settings
        self.state: dict[str, Any] = {}
        self.changes: dict[str, dict[str, Any]] = {}
        self.notes = list(model.notes)

    def read(self) -> ImportedModel:
        tensors = self.tensors
        found = {
            int(r) for n in tensors.names() for r in re.findall(r"^synthesis\.b(\d{1,5})\.", n)
        }
        resolution = max(found)
        if found != {4 << n for n in range(resolution.bit_length() - 2)}:
            raise CheckpointError(
                f"the synthesis blocks are {sorted(found)}",
                expected=f"4, 8, and so on to the image's resolution, at most {MAX_RESOLUTION}",
            )
        blocks = sorted(found)
        img_channels = tensors.shape(f"synthesis.b{resolution}.torgb.weight", 4)[0]
        w_dim = tensors.shape("synthesis.b4.conv1.affine.weight", 2)[1]
        architecture = self._architecture(blocks)
        z_dim, c_dim, layers = self._mapping(w_dim)
        network = make_network(
            self.tensors.file_bytes,
            resolution=resolution,
            img_channels=img_channels,
            z_dim=z_dim,
            w_dim=w_dim,
            c_dim=c_dim,
            mapping_layers=layers,
            architecture=architecture,
            layer_channels=tuple(
                tensors.shape(f"synthesis.b{r}.conv1.weight", 4)[0] for r in blocks
            ),
        )
        for r in blocks:
            self._block(r, architecture)
        tensors.check_all_taken()
        if not any("conv_clamp" in held for held in self.settings.values()):
            self.notes.append(NO_CLAMP)
        if any(self._setting(f"synthesis.b{r}", "use_fp16") for r in blocks):
            self.notes.append("blocks that ran in fp16 run in fp32, with the same clamp.")
        return ImportedModel(
            network=network,
            subspace=SubspaceConfig(mode=0),
            state=self.state,
            settings=self.changes,
            ws_rows=shared_rows(resolution, architecture),
            notes=self.notes,
        )

    def _setting(self, path: str, name: str, default: Any = None) -> Any:
        """Return a setting of a module, else of the whole network, else ``default``."""
        for place in (path, ""):
            if name in self.settings.get(place, {}):
                return self.settings[place][name]
        return default

    def _number(self, path: str, name: str, default: float) -> float:
        value = self.settings.get(path, {}).get(name, default)
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise CheckpointError(
                f"{path}.{name} is {str(value)[:40]!r}", expected="a finite number", remedy=DAMAGED
            )
        return float(value)

    def _activation(self, path: str, expected: str) -> None:
        found = self.settings.get(path, {}).get("activation", expected)
        if found != expected:
            raise CheckpointError(
                f"{path} has the activation {str(found)[:40]!r}",
                expected=expected,
                remedy=_VARIANT,
            )

    def _architecture(self, blocks: list[int]) -> Architecture:
        tensors = self.tensors
        if all(f"synthesis.b{r}.torgb.weight" in tensors for r in blocks):
            inferred = "skip"
        elif all(f"synthesis.b{r}.skip.weight" in tensors for r in blocks[1:]):
            inferred = "resnet"
        else:
            inferred = "orig"
        stated = {self._setting(f"synthesis.b{r}", "architecture", inferred) for r in blocks}
        if stated != {inferred}:
            raise CheckpointError(
                f"the architecture is stated as {sorted(map(str, stated))}",
                expected=f"{inferred!r}, which the tensors are of",
                remedy=_VARIANT,
            )
        return _ARCHITECTURES[inferred]

    def _mapping(self, w_dim: int) -> tuple[int, int, int]:
        """Read the mapping network; return z_dim, c_dim and the number of layers."""
        tensors = self.tensors
        layers = sum(
            re.fullmatch(r"mapping\.fc\d+\.weight", n) is not None for n in tensors.names()
        )
        if layers > MAX_MAPPING_LAYERS:
            raise exceeded("layers of the mapping network", layers, MAX_MAPPING_LAYERS)
        widths = []
        for number in range(layers):
            out, into = tensors.shape(f"mapping.fc{number}.weight", 2)
            if max(out, into) > 2 * MAX_WIDTH:  # z and the label's embedding, side by side
                raise exceeded(
                    f"rows or columns of mapping.fc{number}", max(out, into), 2 * MAX_WIDTH
                )
            widths.append((into, out))
            self._dense(f"mapping.fc{number}", f"mapping.fc{number}", MAPPING_LR_MULTIPLIER)
            self._activation(f"mapping.fc{number}", "lrelu")
        _check_widths(widths, w_dim)
        z_dim, c_dim = widths[0][0], 0
        if "mapping.embed.weight" in tensors:
            embedded, c_dim = tensors.shape("mapping.embed.weight", 2)
            z_dim -= embedded
            self._dense("mapping.embed", "mapping.embed", 1.0)
            self._activation("mapping.embed", "linear")
        if z_dim < 1:
            raise CheckpointError(
                "the mapping network takes only labels", expected="a network that also takes z"
            )
        if "mapping.w_avg" in tensors:
            self.state["w_avg"] = tensors.take("mapping.w_avg", (w_dim,))
        else:
            self.notes.append(NO_MEAN)
        return z_dim, c_dim, layers

    def _dense(self, source: str, target: str, lr_multiplier: float) -> None:
        out, into = self.tensors.shape(f"{source}.weight", 2)
        self.state[f"{target}.weight"] = self.tensors.take(f"{source}.weight")
        self.state[f"{target}.bias"] = self.tensors.take(f"{source}.bias", (out,))
        stated = self._setting("", "lr_multiplier") if lr_multiplier != 1.0 else None
        multiplier = lr_multiplier if stated is None else self._stated_number(stated)
        self.changes[target] = {
            "weight_gain": self._number(source, "weight_gain", multiplier / math.sqrt(into)),
            "bias_gain": self._number(source, "bias_gain", multiplier),
        }

    @staticmethod
    def _stated_number(value: Any) -> float:
        """Return a number from safetensors metadata, whose values are texts."""
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise CheckpointError(
                f"the file's metadata has {str(value)[:40]!r}", expected="a finite number"
            )
        return number

    def _clamp(self, path: str) -> float | None:
        value = self._setting(path, "conv_clamp")
        if value is None or value == "None":
            return None
        clamp = self._stated_number(value)
        if clamp <= 0:
            raise CheckpointError(f"{path}.conv_clamp is {clamp}", expected="more than 0")
        return clamp

    def _block(self, resolution: int, architecture: Architecture) -> None:
        tensors, source = self.tensors, f"synthesis.b{resolution}"
        target = f"synthesis.blocks.b{resolution}"
        if resolution == 4:
            self.state[f"{target}.const"] = tensors.take(f"{source}.const")
        else:
            self._site(f"{source}.conv0", f"{target}.conv0", resolution)
            self.changes[f"{target}.conv0"]["fir"] = self._filter(f"{source}.conv0")
        self._site(f"{source}.conv1", f"{target}.conv1", resolution)
        tensors.skip(f"{source}.conv1.resample_filter")
        self.changes[target] = {"fir": self._filter(source)}
        if f"{source}.torgb.weight" in tensors:
            into = tensors.shape(f"{source}.torgb.weight", 4)[1]
            self.state[f"{target}.to_rgb.weight"] = tensors.take(f"{source}.torgb.weight")
            self.state[f"{target}.to_rgb.bias"] = tensors.take(f"{source}.torgb.bias")
            self._affine(f"{source}.torgb", f"{target}.to_rgb")
            self.changes[f"{target}.to_rgb"] = {
                "weight_gain": self._number(f"{source}.torgb", "weight_gain", 1 / math.sqrt(into)),
                "clamp": self._clamp(f"{source}.torgb"),
            }
        if architecture == "residual" and resolution > 4:
            into = tensors.shape(f"{source}.skip.weight", 4)[1]
            self.state[f"{target}.skip.weight"] = tensors.take(f"{source}.skip.weight")
            self._activation(f"{source}.skip", "linear")
            if self.settings.get(f"{source}.skip", {}).get("conv_clamp") is not None:
                raise CheckpointError(f"{source}.skip clamps its output", remedy=_VARIANT)
            self.changes[f"{target}.skip"] = {
                "weight_gain": self._number(f"{source}.skip", "weight_gain", 1 / math.sqrt(into)),
                "fir": self._filter(f"{source}.skip"),
            }

    def _filter(self, source: str) -> Any:
        name = f"{source}.resample_filter"
        if name not in self.tensors:
            name = "synthesis.b4.resample_filter"
        return normalised_filter(self.tensors.take(name), 1.0)

    def _affine(self, source: str, target: str) -> None:
        self._dense(f"{source}.affine", f"{target}.affine", 1.0)
        self._activation(f"{source}.affine", "linear")

    def _site(self, source: str, target: str, resolution: int) -> None:
        tensors = self.tensors
        self._activation(source, "lrelu")
        gain = self._number(source, "act_gain", math.sqrt(2))
        if not math.isclose(gain, math.sqrt(2), rel_tol=1e-5):
            raise CheckpointError(f"{source} has an activation gain of {gain}", expected="√2")
        self._affine(source, target)
        self.state[f"{target}.weight"] = tensors.take(f"{source}.weight")
        self.state[f"{target}.bias"] = tensors.take(f"{source}.bias")
        if f"{source}.noise_strength" in tensors:
            shape = (resolution, resolution)
            noise = tensors.take(f"{source}.noise_const", shape)
            strength = tensors.take(f"{source}.noise_strength", ())
            if self.settings.get(source, {}).get("use_noise") is False:
                strength = strength * 0
        else:  # use_noise was off
            noise = drawn_noise(0, resolution)
            strength = noise.new_zeros(())
        self.state[f"{target}.noise_const"] = noise
        self.state[f"{target}.noise_strength"] = strength
        self.changes[target] = {"weight_gain": 1.0, "clamp": self._clamp(source)}


def _check_widths(widths: list[tuple[int, int]], w_dim: int) -> None:
    """Raise CheckpointError unless the layers (in, out) of the mapping fit each other and w_dim."""
    for number, (_, out) in enumerate(widths):
        following = widths[number + 1][0] if number + 1 < len(widths) else w_dim
        if out != following:
            raise CheckpointError(
                f"layer {number} of the mapping network has {out} outputs",
                expected=f"{following}, as the next layer takes",
                remedy=DAMAGED,
            )
