"""A PyTorch generator behind the interface of a bundle's graphs, in fp32."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from segan.runtime.backends.choose import Choice
from segan.runtime.backends.graphs import Array, BundleGraphs, Images
from segan.runtime.backends.pixels import not_finite
from segan.runtime.bundle.manifest import Graphs, Manifest
from segan.runtime.latents.inputs import GraphInputs
from segan.train.measure.models.model import ImageOptions, MeasuredModel, ModelRecord
from segan.train.networks.family import Generator, manifest_fields


class TorchGraphs(BundleGraphs):
    """Mapping, offsets and synthesis of a generator in memory.

    Args:
        generator: in evaluation mode; computes on the device of its weights.

    Attributes:
        choice: backend ``torch`` in fp32.
        manifest: sizes and tables of the generator. It names no files.
        noise: the constant noise, [1, sum of the sites' r²] float32.
    """

    def __init__(self, generator: Generator) -> None:
        self.generator, self._device = generator, generator.w_avg.device
        self.choice = Choice(backend="torch", precision="fp32", graph="fp32")
        self.manifest = Manifest(
            **manifest_fields(generator),
            name="",
            noise="",
            graphs=Graphs(mapping="", offsets="", synthesis={}),
            opset=0,
            lowering={},
            provenance={},
            verification=(),
            files={},
        )
        self._constant = generator.synthesis.noise_const().detach()
        self.noise = self._constant.cpu().numpy()
        self._sessions = {}

    @torch.inference_mode()
    def run(self, name: str, feeds: dict[str, Any]) -> dict[str, Array]:
        """Run one network; see ``BundleGraphs``."""
        given = {key: self._tensor(feeds.get(key)) for key in feeds}
        generator = self.generator
        if name == "mapping":
            found = {"w": generator.mapping(given["z"], given.get("c"))}
        elif name == "offsets":
            ws, shifts = self._offsets(given["w"], given["psi"], given.get("coords"))
            found = {"ws": ws, "shifts": shifts}
        else:
            image = generator.synthesis(given["ws"], given.get("shifts"), given["noise"])
            found = {"image": image}
        return {key: value.cpu().numpy() for key, value in found.items() if value is not None}

    @torch.inference_mode()
    def images(self, inputs: GraphInputs) -> Images:
        """Compute one batch on the generator's device; see ``BundleGraphs``."""
        generator, w = self.generator, self._tensor(inputs.w)
        if w is None:
            w = generator.mapping(self._tensor(inputs.z), self._tensor(inputs.labels))
        sites = generator.broadcast(w) if w.ndim == 2 else w
        psi = self._tensor(np.broadcast_to(np.asarray(inputs.psi), sites.shape[:2]))
        ws, shifts = self._offsets(sites, psi, self._tensor(inputs.coords))
        noise = self._constant if inputs.noise is None else self._tensor(inputs.noise)
        return _to_uint8(generator.synthesis(ws, shifts, noise))

    def _offsets(
        self, w: torch.Tensor, psi: torch.Tensor, coords: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        # Truncation by ψ = 1 would round w.
        if bool((psi != 1).any()):
            w = self.generator.truncate(w, psi)
        return self.generator.offsets(w, coords)

    def _tensor(self, value: ArrayLike | None) -> Any:
        if value is None:
            return None
        # PyTorch takes no read-only arrays.
        return torch.from_numpy(np.require(value, np.float32, ["C", "W"])).to(self._device)


def _to_uint8(images: torch.Tensor) -> Images:
    """``segan.runtime.backends.pixels.to_uint8`` on the images' device. Raises: BackendError."""
    scaled = images * 127.5 + 128
    if not bool(torch.isfinite(scaled).all()):
        raise not_finite()
    found: Images = scaled.clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return found


def generator_model(
    generator: Generator,
    options: ImageOptions | None = None,
    *,
    uses_noise: bool = True,
    record: ModelRecord | None = None,
) -> MeasuredModel:
    """Measure a generator in memory.

    Args:
        generator: in evaluation mode; computes on the device of its weights.
        options: how images are made.
        uses_noise: whether it was trained with noise.
        record: identity of the model; None where nothing is recorded.

    Raises:
        ConfigError: see ``MeasuredModel``.
    """
    record = record or ModelRecord(path="", kind="checkpoint", kimg=None, sha256="")
    return MeasuredModel(TorchGraphs(generator), record, options, uses_noise=uses_noise)
