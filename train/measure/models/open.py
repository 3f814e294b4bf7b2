"""Opening a run, a checkpoint, or a bundle on a backend as a model to measure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from segan.runtime.backends.graphs import open_graphs
from segan.runtime.backends.session import SessionConfig
from segan.runtime.bundle.reader import is_bundle, open_bundle
from segan.runtime.errors import ConfigError
from segan.train.measure.models.model import ImageOptions, MeasuredModel, ModelRecord
from segan.train.measure.models.torch_graphs import generator_model
from segan.train.runs.checkpoint import load_generator, resolve_checkpoint


def torch_device(name: str) -> torch.device:
    """Return the device ``auto``, ``cpu`` or ``cuda``; ``auto`` takes the GPU where there is one.

    Raises:
        ConfigError: cuda is asked for, and PyTorch finds no GPU.
    """
    found = torch.cuda.is_available()
    if name == "cuda" and not found:
        raise ConfigError(
            "`device` is cuda, but PyTorch finds no GPU",
            field="device",
            value=name,
            expected="cpu or auto",
        )
    return torch.device("cuda" if found and name != "cpu" else "cpu")


@dataclass(frozen=True, kw_only=True)
class Compute:
    """Where a model computes.

    Attributes:
        backend: ``auto``, ``torch`` or a backend of the runtime.
        precision: ``auto``, fp32, fp16, bf16 or int8.
        threads: CPU threads of a bundle's backend; None for the physical cores.
        device: of PyTorch, for checkpoints and detectors.
    """

    backend: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


def open_model(
    path: Path | str, options: ImageOptions | None = None, compute: Compute | None = None
) -> MeasuredModel:
    """Open a run, a checkpoint or a bundle.

    Args:
        path: of a run, whose newest checkpoint is taken, a checkpoint or a bundle.
        options: how images are made.
        compute: where they are computed; None: a checkpoint on the CPU, a bundle on the best
            backend.

    Raises:
        CheckpointError, BundleError: the model cannot be read.
        BackendError: the backend does not work on this machine.
        ConfigError: a backend or precision that the model does not have, or see ``MeasuredModel``.
    """
    path, compute = Path(path), compute or Compute()
    if is_bundle(path):
        return _open_bundle(path, options, compute)
    return _open_checkpoint(path, options, compute)


def _open_checkpoint(path: Path, options: ImageOptions | None, compute: Compute) -> MeasuredModel:
    checkpoint = resolve_checkpoint(path)
    for setting, own in (("backend", "torch"), ("precision", "fp32")):
        value = getattr(compute, setting)
        if value not in ("auto", own):
            raise ConfigError(
                f"{path} is a checkpoint, which PyTorch runs in fp32; `{setting} {value}` is for "
                "bundles",
                field=setting,
                value=value,
                remedy=f"Leave out `{setting}`.",
            )
    loaded = load_generator(checkpoint)
    record = ModelRecord(
        path=str(checkpoint),
        kind="checkpoint",
        kimg=loaded.meta.cur_nimg / 1000,
        sha256=loaded.meta.sha256,
    )
    generator = loaded.generator.to(compute.device)
    return generator_model(generator, options, uses_noise=loaded.config.noise, record=record)


def _open_bundle(path: Path, options: ImageOptions | None, compute: Compute) -> MeasuredModel:
    if compute.backend == "torch":
        raise ConfigError(
            f"{path} is a bundle, which PyTorch cannot run",
            field="backend",
            value=compute.backend,
            expected="another `backend`, such as cpu",
        )
    bundle = open_bundle(path)
    config = SessionConfig(threads=compute.threads)
    graphs = open_graphs(bundle, compute.backend, compute.precision, config)
    manifest = bundle.manifest
    files = [manifest.graphs.mapping, manifest.graphs.offsets]
    files.append(manifest.graphs.synthesis[graphs.choice.graph])
    if manifest.noise is not None:
        files.append(manifest.noise)
    digest = hashlib.sha256("".join(manifest.files[name] for name in files).encode())
    record = ModelRecord(
        path=str(path),
        kind="bundle",
        kimg=_kimg(manifest.provenance),
        sha256=digest.hexdigest(),
    )
    training = manifest.provenance.get("training")
    silent = isinstance(training, dict) and training.get("noise") is False
    return MeasuredModel(graphs, record, options, uses_noise=not silent)


def _kimg(provenance: dict[str, Any]) -> float | None:
    found = provenance.get("checkpoint")
    shown = found.get("cur_nimg") if isinstance(found, dict) else None
    return shown / 1000 if isinstance(shown, int | float) else None
