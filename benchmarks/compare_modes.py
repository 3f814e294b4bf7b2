"""Trains modes 0 to 3 in both kinds on the built-in faces and compares what their sliders do.

Every variant is trained by ``segan train`` with the same budget and the same seeds; runs that are
complete are taken as they are, and those that were stopped go on. Then each generator is measured
(see ``control.py``): Fréchet distance on the faces' own features, and what each slider moves. Mode
0 has no sliders; closed-form directions (sefa) and principal components of w (pca) take their
place. Run from the repository root:
``python benchmarks/compare_modes.py --attributes DIR --kimg 50 --seeds 0,1``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from segan.runtime.errors import SeganError
from segan.runtime.layout import Slider
from segan.train.checkpoint import list_checkpoints, load_generator, read_meta
from segan.train.generator import Generator, SynthesisSite
from segan.train.metrics.attribute_files import load_attributes
from segan.train.metrics.attributes import AttributeNetwork
from segan.train.metrics.control import control_scores, generator_effects
from segan.train.metrics.frechet import fd_faces
from segan.train.metrics.seeded_images import SeededImages
from segan.train.metrics.slider_effects import SliderEffect, measure_slider
from segan.train.monitor import variance_shares
from segan.train.subspace import StyleSubspace

VARIANTS = [(0, "eigen")] + [(mode, kind) for kind in ("eigen", "diagonal") for mode in (1, 2, 3)]
#: Directions for each layer that stand for sliders where there are none, or too many to measure.
DIRECTIONS = 6
#: A direction is moved by as many standard deviations of w as an eigen slider reaches.
REACH = 3.0**0.5
COLUMNS = (
    ("fd_faces", "fd_faces", ".2f"),
    ("sliders", "sliders", ".0f"),
    ("dead", "dead", ".0f"),
    ("controlled", "controlled ≤ 30 %", ".1f"),
    ("controlled_strict", "≤ 20 %", ".1f"),
    ("leakage", "median leakage", ".0%"),
    ("disentanglement", "D", ".2f"),
    ("completeness", "C", ".2f"),
    ("gap", "gap", ".2f"),
    ("share_z", "share of z", ".0%"),
)


def train(runs: Path, mode: int, kind: str, seed: int, options: argparse.Namespace) -> Path:
    """Trains a variant, goes on with it, or finds it complete; returns its run's folder."""
    home = runs / f"mode{mode}-{kind}-seed{seed}"
    found = sorted(home.glob("0*")) if home.is_dir() else []
    command = [sys.executable, "-m", "segan.cli.main", "train"]
    if found:
        checkpoints = list_checkpoints(found[-1])
        if checkpoints and read_meta(checkpoints[-1]).cur_nimg >= options.kimg * 1000:
            return found[-1]
        command += ["--resume", str(found[-1]), "--kimg", f"{options.kimg:g}"]
    else:
        command += ["--mode", str(mode), "--subspace", kind, "--seed", str(seed)]
        command += ["--runs", str(home), "--kimg", f"{options.kimg:g}", *options.train]
    environment = os.environ | {"OMP_NUM_THREADS": str(options.threads)}
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    return max(home.glob("0*"))


def measure(
    run: Path, network: AttributeNetwork, seeds: int, images: int
) -> dict[str, dict[str, Any]]:
    """Measures of a run's generator: by ``sliders``, or for mode 0 by ``sefa`` and ``pca``."""
    generator = load_generator(list_checkpoints(run)[-1]).generator
    shares = variance_shares(generator, torch.Generator().manual_seed(0), n=16)
    common = {
        "fd_faces": fd_faces(generator, network, images),
        "share_z": None if shares is None else shares.z,
    }
    chosen = range(seeds)
    if generator.table:
        effects = generator_effects(generator, network, chosen, sliders=_main_sliders(generator))
        return {"sliders": common | _scores(effects)}
    found = {}
    for method, vectors in (("sefa", _sefa), ("pca", _pca)):
        effects = _direction_effects(generator, network, chosen, vectors(generator))
        found[method] = common | _scores(effects)
    return found


def _scores(effects: dict[str, SliderEffect]) -> dict[str, Any]:
    scores = control_scores(effects)
    alive = [score.leakage for score in scores.sliders if not score.dead]
    return scores.to_json() | {"leakage": statistics.median(alive) if alive else 1.0}


def _main_sliders(generator: Generator) -> list[Slider]:
    """All of a layer's first subspace, or of its many the most important ones."""
    found = []
    for number, entry in enumerate(generator.table):
        if entry.index:
            continue
        module = cast(StyleSubspace, generator.subspaces[number])
        weight = module.importance.detach().abs().numpy()
        most = np.argsort(-weight, kind="stable")[:DIRECTIONS]
        found += [Slider(entry.layer, entry.index, int(dim)) for dim in sorted(most)]
    return found


def _w_samples(generator: Generator) -> torch.Tensor:
    with torch.no_grad():
        z = torch.randn(4096, generator.network.z_dim, generator=torch.Generator().manual_seed(1))
        return cast(torch.Tensor, generator.mapping(z))


def _sefa(generator: Generator) -> list[torch.Tensor]:
    """Right singular vectors of each layer's style affines [6, w_dim] (Shen and Zhou 2021)."""
    found = []
    for block in generator.synthesis.block_list():
        affines = [
            site.affine for _, site in block.site_modules() if isinstance(site, SynthesisSite)
        ]
        stacked = torch.cat([affine.weight.detach() for affine in affines])
        found.append(torch.linalg.svd(stacked, full_matrices=False).Vh[:DIRECTIONS])
    return found


def _pca(generator: Generator) -> list[torch.Tensor]:
    """Principal components of w [6, w_dim], the same for each layer (Härkönen et al. 2020)."""
    w = _w_samples(generator)
    components = torch.linalg.svd(w - w.mean(0), full_matrices=False).Vh[:DIRECTIONS]
    return [components] * len(generator.synthesis.block_list())


def _direction_effects(
    generator: Generator,
    network: AttributeNetwork,
    seeds: range,
    vectors: list[torch.Tensor],
) -> dict[str, SliderEffect]:
    w, images = _w_samples(generator), SeededImages(generator)
    effects = {}
    for layer, rows in enumerate(vectors):
        sites = [i for i, site in enumerate(generator.network.sites) if site.layer == layer]
        for dim, vector in enumerate(rows):
            step = vector * (w @ vector).std()  # one standard deviation of w along it
            values = np.linspace(-REACH, REACH, 5).tolist()
            render = images.direction(step, sites)
            effects[str(Slider(layer, 0, dim))] = measure_slider(render, network, seeds, values)
    return effects


def markdown(results: dict[str, list[dict[str, Any]]]) -> str:
    """The table: the mean over seeds, and where there are several, their range."""
    head = ["variant", *(title for _, title, _ in COLUMNS)]
    lines = [" | ".join(["", *head, ""]).strip(), "|" + "---|" * len(head)]
    for name, rows in results.items():
        cells = [name]
        for key, _, form in COLUMNS:
            values = [row[key] for row in rows if row[key] is not None]
            if not values:
                cells.append("–")
                continue
            text = format(statistics.mean(values), form)
            if len(values) > 1 and min(values) != max(values):
                text += f" ({format(min(values), form)} to {format(max(values), form)})"
            cells.append(text)
        lines.append(" | ".join(["", *cells, ""]).strip())
    return "\n".join(lines)


def main() -> None:
    """Trains what is missing, measures everything, prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--attributes", type=Path, required=True, help="an attribute network")
    parser.add_argument("--runs", type=Path, default=Path("runs/comparison"))
    parser.add_argument("--kimg", type=float, default=50.0)
    parser.add_argument("--seeds", default="0", help="training seeds, such as 0,1")
    parser.add_argument("--variants", default="all", help="such as 0-eigen,2-eigen,2-diagonal")
    parser.add_argument("--sweeps", type=int, default=64, help="seeds that a slider is moved for")
    parser.add_argument("--images", type=int, default=5000, help="for fd_faces")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("train", nargs="*", help="after --: further options of segan train")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    variants = VARIANTS
    if options.variants != "all":
        wanted = options.variants.split(",")
        variants = [(mode, kind) for mode, kind in VARIANTS if f"{mode}-{kind}" in wanted]
    results: dict[str, list[dict[str, Any]]] = {}
    try:
        network = load_attributes(options.attributes).network
        for seed in (int(text) for text in options.seeds.split(",")):
            for mode, kind in variants:
                run = train(options.runs, mode, kind, seed, options)
                found = measure(run, network, options.sweeps, options.images)
                for method, row in found.items():
                    name = f"mode {mode} + {method}" if mode == 0 else f"mode {mode}, {kind}"
                    results.setdefault(name, []).append(row | {"seed": seed, "run": str(run)})
                print(f"{run}: measured", file=sys.stderr, flush=True)
                if options.json:
                    options.json.write_text(json.dumps(results, indent=1) + "\n")
    except SeganError as error:
        sys.exit(f"error: {error}")
    print(markdown(results))


if __name__ == "__main__":
    main()
