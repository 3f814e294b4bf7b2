"""Images of seeds by a PyTorch generator, in fp32."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from segan.runtime.backends.pixels import not_finite
from segan.runtime.latents.inputs import GraphInputs
from segan.train.measure.models.model import (
    Array,
    GeneratorFacts,
    ImageMaker,
    Images,
    MakerSettings,
    ModelRecord,
)
from segan.train.networks.stylegan2.generator import Generator
from segan.train.runs.checkpoint import load_generator


class GeneratorImages(ImageMaker):
    """The images of a generator in memory.

    Args:
        generator: in evaluation mode; it computes where it is.
        settings: how.
        noise: whether it was trained with noise.
        model: for the record; None where nothing is recorded.

    Raises:
        ConfigError: see ``ImageMaker``.
    """

    backend, precision = "torch", "fp32"

    def __init__(
        self,
        generator: Generator,
        settings: MakerSettings,
        *,
        noise: bool = True,
        model: ModelRecord | None = None,
    ) -> None:
        network = generator.network
        facts = GeneratorFacts(
            resolution=network.resolution,
            img_channels=network.img_channels,
            z_dim=network.z_dim,
            c_dim=network.c_dim,
            sites=network.sites,
            subspaces=tuple(generator.table),
            coords_dim=generator.coords_shape[1],
            noise="used" if noise else "unused",
        )
        model = model or ModelRecord(path="", kind="checkpoint", kimg=None, sha256="")
        super().__init__(facts, model, settings)
        self.generator, self._device = generator, generator.w_avg.device
        self._constant = generator.synthesis.noise_const()

    def stream(self, batches: Iterable[GraphInputs]) -> Iterator[Images]:
        """See ``ImageMaker``."""
        for batch in batches:
            w = self.map(_f32(batch.z), None if batch.labels is None else _f32(batch.labels))
            coords = None if batch.coords is None else _f32(batch.coords)
            noise = None if batch.noise is None else _f32(batch.noise)
            yield _pixels(self._render(w, coords, noise))

    @torch.inference_mode()
    def map(self, z: Array, labels: Array | None) -> Array:
        """See ``ImageMaker``."""
        given = None if labels is None else self._tensor(labels)
        found: Array = self.generator.mapping(self._tensor(z), given).cpu().numpy()
        return found

    def render(self, w: Array, coords: Array | None, noise: Array | None) -> Array:
        """See ``ImageMaker``."""
        found: Array = self._render(w, coords, noise).cpu().numpy()
        return found

    @torch.inference_mode()
    def _render(self, w: Array, coords: Array | None, noise: Array | None) -> torch.Tensor:
        generator = self.generator
        sites = generator.broadcast(self._tensor(w))
        if self.settings.psi != 1:
            sites = generator.truncate(sites, self._tensor(self._psi).expand(sites.shape[:2]))
        ws, shifts = generator.offsets(sites, None if coords is None else self._tensor(coords))
        given = self._constant if noise is None else self._tensor(noise)
        found: torch.Tensor = generator.synthesis(ws, shifts, given)
        return found

    def _tensor(self, value: Array) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(value)).to(self._device)


def open_checkpoint(path: Path, settings: MakerSettings, device: torch.device) -> GeneratorImages:
    """The images of a checkpoint folder's exported weights.

    Raises:
        CheckpointError: it cannot be read.
        ConfigError: see ``ImageMaker``.
    """
    loaded = load_generator(path)
    model = ModelRecord(
        path=str(path),
        kind="checkpoint",
        kimg=loaded.meta.cur_nimg / 1000,
        sha256=loaded.meta.sha256,
    )
    generator = loaded.generator.to(device)
    return GeneratorImages(generator, settings, noise=loaded.config.noise, model=model)


@torch.inference_mode()
def _pixels(images: torch.Tensor) -> Images:
    """``segan.runtime.backends.pixels.to_uint8`` on the images' device. Raises: BackendError."""
    scaled = images * 127.5 + 128
    if not bool(torch.isfinite(scaled).all()):
        raise not_finite()
    found: Images = scaled.clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return found


def _f32(value: Any) -> Array:
    return np.asarray(value, np.float32)
