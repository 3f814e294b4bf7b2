"""Opening what a user names as a model: a run, a checkpoint, or a bundle on a backend."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import torch

from segan.runtime.bundle import MANIFEST
from segan.runtime.errors import ConfigError
from segan.runtime.sessions.base import SessionConfig
from segan.train.checkpoint import resolve_checkpoint
from segan.train.images.engine_images import EngineImages
from segan.train.images.image_makers import ImageMaker, MakerSettings
from segan.train.images.torch_images import open_checkpoint


@dataclass(frozen=True, kw_only=True)
class Compute:
    """What computes.

    Attributes:
        backend: ``auto``, ``torch`` or a backend of the runtime.
        precision: ``auto``, fp32, fp16, bf16 or int8.
        threads: CPU threads of a bundle's backend; None for the physical cores.
        device: of PyTorch: checkpoints and detectors.
    """

    backend: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    device: torch.device


def is_bundle(path: Path) -> bool:
    """Whether a path is meant as a bundle: by its name, its manifest, or as a zip."""
    return (
        path.suffix == ".segan"
        or (path / MANIFEST).is_file()
        or (path.is_file() and zipfile.is_zipfile(path))
    )


def open_images(path: Path, settings: MakerSettings, compute: Compute) -> ImageMaker:
    """Opens a run, checkpoint or bundle for making images.

    Raises:
        CheckpointError, BundleError: it cannot be read.
        BackendError: the backend does not work here.
        ConfigError: a backend or precision that it does not have, or settings that cannot be.
    """
    if is_bundle(path):
        if compute.backend == "torch":
            raise ConfigError(
                f"{path} is a bundle, which PyTorch does not run; expected another --backend, such "
                "as cpu."
            )
        return EngineImages(
            path,
            settings,
            backend=compute.backend,
            precision=compute.precision,
            config=SessionConfig(threads=compute.threads),
        )
    checkpoint = resolve_checkpoint(path)
    if compute.backend not in ("auto", "torch") or compute.precision not in ("auto", "fp32"):
        raise ConfigError(
            f"{path} is a checkpoint, which PyTorch runs in fp32; --backend {compute.backend} "
            f"--precision {compute.precision} are for bundles. Leave them out."
        )
    return open_checkpoint(checkpoint, settings, compute.device)
