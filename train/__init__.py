"""Training: networks with subspaces, data, runs and the training loop (PyTorch).

Importing ``segan.train`` imports no torch; the names below import it on first use.

>>> from segan.train import load_generator, resume_run, start_run
>>> with start_run("photos.zip", preset="tiny", settings={"total_kimg": 50}) as trainer:
...     for step in trainer.steps():
...         if step.entry is not None:
...             print(step.entry["kimg"], step.entry["loss/generator"])
>>> generator, config, meta = load_generator(trainer.run_folder)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segan.train.data.convert import convert_images
    from segan.train.data.faces.render import render_faces
    from segan.train.loop.plan import resume_run, start_run
    from segan.train.loop.trainer import Progress, Trainer
    from segan.train.networks.config import ComputeConfig, NetworkConfig, SubspaceConfig
    from segan.train.runs.checkpoint import LoadedGenerator, load_generator
    from segan.train.runs.config import AugmentConfig, TrainConfig
    from segan.train.runs.presets import preset

__all__ = [
    "AugmentConfig",
    "ComputeConfig",
    "LoadedGenerator",
    "NetworkConfig",
    "Progress",
    "SubspaceConfig",
    "TrainConfig",
    "Trainer",
    "convert_images",
    "load_generator",
    "preset",
    "render_faces",
    "resume_run",
    "start_run",
]

_HOME = {
    "AugmentConfig": "segan.train.runs.config",
    "ComputeConfig": "segan.train.networks.config",
    "LoadedGenerator": "segan.train.runs.checkpoint",
    "NetworkConfig": "segan.train.networks.config",
    "Progress": "segan.train.loop.trainer",
    "SubspaceConfig": "segan.train.networks.config",
    "TrainConfig": "segan.train.runs.config",
    "Trainer": "segan.train.loop.trainer",
    "convert_images": "segan.train.data.convert",
    "load_generator": "segan.train.runs.checkpoint",
    "preset": "segan.train.runs.presets",
    "render_faces": "segan.train.data.faces.render",
    "resume_run": "segan.train.loop.plan",
    "start_run": "segan.train.loop.plan",
}


def __getattr__(name: str) -> Any:
    """Import the public names on first use."""
    if name in _HOME:
        import importlib

        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
