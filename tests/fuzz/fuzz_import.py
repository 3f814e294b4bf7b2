"""Coverage-guided fuzzing of what reads other projects' files; needs atheris.

    python tests/fuzz/fuzz_import.py files -max_total_time=3600
    python tests/fuzz/fuzz_import.py safetensors -max_total_time=3600
    python tests/fuzz/fuzz_import.py latents -max_total_time=3600

Further arguments are libFuzzer's. It mutates small valid models of every format, safetensors, or
files of latents (npz, npy and pt). What a finding is: see ``harness.py``.
"""

from __future__ import annotations

import codecs
import importlib.util
import io
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.fuzz.harness import Target, main  # found by the line above

TESTS = Path(__file__).parent.parent

MODULES = (
    "segan.export.foreign.container",
    "segan.export.foreign.find",
    "segan.export.foreign.layouts.ada",
    "segan.export.foreign.layouts.rosinality",
    "segan.export.foreign.layouts.segan_pytorch",
    "segan.export.foreign.limits",
    "segan.export.foreign.load",
    "segan.export.foreign.safetensors_file",
    "segan.export.foreign.stylegan2",
    "segan.export.foreign.tensors",
    "segan.export.foreign.inert.objects",
    "segan.export.foreign.inert.machine",
    "segan.export.foreign.torch_file",
)

LATENT_MODULES = (
    *MODULES[:2],
    *MODULES[-3:],
    "segan.export.foreign.latent_tensors",
    "segan.runtime.files.arrays",
    "segan.runtime.files.zips",
    "segan.runtime.latents.files",
    "segan.runtime.latents.readings",
    "zipfile",
)

SMALL: dict[str, Any] = {"resolution": 8, "channels": (2, 2), "w_dim": 2}


def foreign_models() -> ModuleType:
    """``tests/export/foreign_models.py``, which is of no package."""
    path = TESTS / "export" / "foreign_models.py"
    spec = importlib.util.spec_from_file_location("foreign_models", path)
    assert spec is not None
    assert spec.loader is not None
    models = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(models)
    return models


def model_seeds() -> dict[str, bytes]:
    """A small valid model of every format."""
    import torch

    models = foreign_models()
    torch.manual_seed(0)
    seeds: dict[str, bytes] = {}
    kinds: dict[str, dict[str, Any]] = {
        "skip": {"clamp": 0.5},
        "resnet": {"architecture": "resnet"},
        "orig": {"architecture": "orig"},
        "conditional": {"c_dim": 2, "w_avg": False},
    }
    for name, settings in kinds.items():
        found = models.make_ada(**SMALL, z_dim=2, layers=1, **settings)
        for protocol in (2, 4):
            seeds[f"ada-{name}-{protocol}"] = models.ada_bytes(found, protocol=protocol)
    state = models.make_rosinality(**SMALL, layers=1)
    for old in (False, True):
        content = {"g_ema": state, "latent_avg": torch.zeros(2)}
        seeds[f"rosinality-{old}"] = models.checkpoint_bytes(content, old=old)
        whole = {"encoder.weight": torch.zeros(1)}
        whole |= {f"decoder.{name}": value for name, value in state.items()}
        content = {"state_dict": whole, "latent_avg": torch.zeros(4, 2)}
        seeds[f"psp-{old}"] = models.checkpoint_bytes(content, old=old)
    for mode in range(4):
        state = models.make_segan_pytorch(mode, **SMALL)
        seeds[f"segan-{mode}"] = models.checkpoint_bytes({"g": state}, old=mode % 2 == 1)
    return seeds


def safetensors_seeds() -> dict[str, bytes]:
    """Small valid models of every layout, in several types of numbers."""
    import torch
    from safetensors.torch import save

    models = foreign_models()
    torch.manual_seed(0)
    states = {"rosinality": models.make_rosinality(**SMALL, layers=1)}
    states["segan-pytorch"] = models.make_segan_pytorch(1, **SMALL)
    states["ada"] = models.make_ada(**SMALL, z_dim=2, layers=1).state_dict()
    seeds = {}
    for layout, state in states.items():
        for kind in (torch.float32, torch.bfloat16, torch.float64):
            kept = {name: value.to(kind).contiguous() for name, value in state.items()}
            metadata = {"layout": layout, "conv_clamp": "0.5"}
            seeds[f"{layout}-{str(kind)[6:]}"] = save(kept, metadata)
    return seeds


def latent_seeds() -> dict[str, bytes]:
    """Files of latents for the toy bundle: 8 sites, num_ws 6, z and w of 8 dimensions."""
    import numpy as np
    import torch

    values = np.random.RandomState(0).randn
    seeds: dict[str, bytes] = {}
    arrays: dict[str, dict[str, Any]] = {
        "w": {"w": values(2, 6, 8)},
        "projected": {
            "w": values(1, 8, 8),
            "coords": values(1, 2, 5),
            "sites": np.array([f"b{r}.conv{k}" for r in (4, 8, 16, 32) for k in (0, 1)]),
        },
        "z": {"z": values(2, 8).astype(np.float32)},
        "half": {"latent": values(6, 8).astype(np.float16)},
    }
    # The names of the sites are the bundle's own, so that the file is valid.
    from segan.runtime.bundle.reader import open_bundle

    sites = open_bundle(TESTS / "data" / "toy.segan").manifest.sites
    arrays["projected"]["sites"] = np.array([site.name for site in sites])
    for name, held in arrays.items():
        for save in (np.savez, np.savez_compressed):
            stream = io.BytesIO()
            save(stream, **held)
            seeds[f"{name}-{save.__name__}"] = stream.getvalue()
    for order in ("C", "F"):
        stream = io.BytesIO()
        np.save(stream, np.asarray(values(2, 6, 8), order=order))
        seeds[f"npy-{order}"] = stream.getvalue()
    images = {"a.png": {"latent": torch.randn(6, 8), "noise": [torch.randn(1, 1, 4, 4)]}}
    for old in (False, True):
        for name, content in {"images": images, "pt": {"z": torch.randn(2, 8).half()}}.items():
            stream = io.BytesIO()
            torch.save(content, stream, _use_new_zipfile_serialization=not old)
            seeds[f"{name}-{old}"] = stream.getvalue()
    return seeds


def model_reader(file: Path) -> Callable[[bytes], None]:
    """Imports a model, up to the generator in memory."""
    from segan.export.foreign.load import load_foreign
    from segan.runtime.errors import CheckpointError

    # Python's zipfile decodes names that are not UTF-8 with this codec, imported on first use.
    codecs.lookup("cp437")

    def read(data: bytes) -> None:
        file.write_bytes(data)
        try:
            load_foreign(file)
        except CheckpointError as error:
            if not str(error).startswith(str(file)):
                raise RuntimeError(f"the message does not name the file: {error}") from error
            raise

    return read


def latent_reader(file: Path) -> Callable[[bytes], None]:
    """Reads latents for the toy bundle."""
    from segan.export.foreign.latent_tensors import read_tensor_latents
    from segan.runtime.bundle.reader import open_bundle
    from segan.runtime.errors import DataError
    from segan.runtime.latents.files import is_tensor_file, read_latents

    manifest = open_bundle(TESTS / "data" / "toy.segan").manifest
    codecs.lookup("cp437")

    def read(data: bytes) -> None:
        file.write_bytes(data)
        reader = read_tensor_latents if is_tensor_file(file) else read_latents
        refused = None
        for space in ("w+", "z", None):
            try:
                found = reader(file, manifest, latent_space=space, map_z=lambda z: z)
            except DataError as error:
                refused = error
            else:
                refused = None
                found.check(manifest)
                found.sha256()
        if refused is not None:
            raise refused

    return read


TARGETS = {
    "files": Target(
        model_seeds, MODULES, model_reader, ("segan.runtime.errors", "CheckpointError")
    ),
    "safetensors": Target(
        safetensors_seeds, MODULES, model_reader, ("segan.runtime.errors", "CheckpointError")
    ),
    "latents": Target(
        latent_seeds, LATENT_MODULES, latent_reader, ("segan.runtime.errors", "DataError")
    ),
}

if __name__ == "__main__":
    raise SystemExit(main(__file__, TARGETS))
