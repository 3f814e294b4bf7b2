"""Trains one setting of the subspaces after another and compares what their sliders do.

A setting is a name and the fields of the configuration that it changes from the preset's:
``python benchmarks/subspace_settings.py faces16.zip --seeds 0,1 --kimg 60 base k3:subspace.dims=3
normal:subspace.prior=normal``. Every setting is trained with the same data, budget and seeds, then
measured as ``compare_modes.py`` measures; a complete run of the same settings and data
is not trained again. Run from the repository root.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
from compare_modes import keep, markdown, measure

from segan.runtime.errors import SeganError
from segan.train.data.dataset import open_dataset
from segan.train.loop.trainer import Trainer
from segan.train.runs.checkpoint import list_checkpoints, read_meta
from segan.train.runs.data import origin, shape_of
from segan.train.runs.folder import new_run_folder
from segan.train.runs.presets import preset
from segan.train.runs.settings import replace_settings


def fields_of(text: str) -> tuple[str, dict[str, Any]]:
    """Read ``name:field=value,…``: the name, and the values by field, JSON or text."""
    name, _, rest = text.partition(":")
    fields = {}
    for part in filter(None, rest.split(",")):
        field, _, value = part.partition("=")
        try:
            fields[field] = json.loads(value)
        except ValueError:
            fields[field] = value
    return name, fields


def train(name: str, fields: dict[str, Any], seed: int, options: argparse.Namespace) -> Path:
    """Train a setting unless a complete run exists; return its run's folder."""
    home = Path(options.runs) / f"{name}-seed{seed}"
    dataset = open_dataset(options.data, cache="memory")
    common = {
        "seed": seed,
        "total_kimg": options.kimg,
        "snapshot_kimg": options.kimg,
        "kimg_per_tick": 5.0,
        "metric_images": 0,
        "batch_size": options.batch_size,
        "compute.precision": options.precision,
    }
    config = replace_settings(preset("tiny", **shape_of(dataset, False)), common | fields)
    for run in sorted(home.glob("0*")):
        for checkpoint in list_checkpoints(run)[-1:]:
            meta = read_meta(checkpoint)
            same = meta.config == config and meta.data_fingerprint == dataset.fingerprint
            if same and meta.cur_nimg >= config.total_kimg * 1000:
                return run
    run = new_run_folder(home, config, dataset.name, origin(options.data, dataset))
    trainer = Trainer(run, config, dataset, device=torch.device("cpu"), tensorboard=False)
    for _ in trainer.steps():
        pass
    return run


def main() -> None:
    """Train missing settings, measure all of them, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("data", type=Path, help="faces, from segan data render")
    parser.add_argument("settings", nargs="+", help="name:field=value,field=value")
    parser.add_argument("--runs", type=Path, default=Path("runs/settings"))
    parser.add_argument("--seeds", default="0,1", help="training seeds")
    parser.add_argument("--kimg", type=float, default=60.0)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--sweeps", type=int, default=48, help="seeds that a slider is moved for")
    parser.add_argument("--images", type=int, default=2500, help="for fd_faces")
    parser.add_argument("--repeats", type=int, default=50, help="resamples for intervals")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write all figures here")
    options = parser.parse_args()
    options.separability, options.path_lengths, options.attributes = 0, 0, None
    torch.set_num_threads(options.threads)
    results: dict[str, list[dict[str, Any]]] = {}
    try:
        for name, fields in map(fields_of, options.settings):
            for seed in (int(text) for text in options.seeds.split(",")):
                run = train(name, fields, seed, options)
                found = measure(run, None, options)
                keep(results, name, found, {"seed": seed, "run": str(run)}, options.json)
    except SeganError as error:
        sys.exit(f"error: {error}")
    print(markdown(results))


if __name__ == "__main__":
    main()
