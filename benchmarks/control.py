"""What a checkpoint's sliders control on the built-in faces, and how good its images are.

Every slider is moved over its range for the same seeds; a network that reads the faces' attributes
says what changed. "controlled" attributes are moved by 1 standard deviation or more by one slider
with at most 30 % (20 %) of its effect on others. Run from the repository root:
``python benchmarks/control.py RUN --attributes DIR``; DIR holds an attribute network, which
``python benchmarks/control.py --train DIR --resolution 32`` trains in some minutes.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch

from segan.runtime.errors import ConfigError, SeganError
from segan.train.checkpoint import load_generator, resolve_checkpoint
from segan.train.metrics.attribute_files import load_attributes, save_attributes
from segan.train.metrics.attribute_training import (
    HELD_OUT,
    draw_set,
    finish,
    train_attribute_network,
)
from segan.train.metrics.control import (
    LEAKAGE,
    STRICT_LEAKAGE,
    ControlScores,
    control_scores,
    generator_effects,
)
from segan.train.metrics.frechet import fd_faces
from segan.train.monitor import mean_importance, variance_shares

#: Faces that an attribute network is trained on and scored with, unless said otherwise.
FACES, HELD_OUT_FACES = 48000, 8000


def train(folder: Path, resolution: int, faces: int, epochs: float, seed: int) -> None:
    """Trains and writes an attribute network, and prints its scores."""

    def report(step: int, loss: float) -> None:
        if step % 200 == 0:
            print(f"step {step}: loss {loss:.4f}", flush=True)

    network = train_attribute_network(resolution, faces, seed, epochs=epochs, report=report)
    scores = finish(network, draw_set(resolution, seed + HELD_OUT, HELD_OUT_FACES))
    save_attributes(
        folder,
        network,
        faces=faces,
        seed=seed,
        epochs=epochs,
        held_out=HELD_OUT_FACES,
        scores=scores,
    )
    for name, score in scores.items():
        print(f"{name:16}{score:7.3f}")


def measure(path: Path, attributes: Path, seeds: int, images: int) -> dict[str, Any]:
    """All measures of a run's or checkpoint's generator."""
    start = time.perf_counter()
    checkpoint = resolve_checkpoint(path)
    loaded = load_generator(checkpoint)
    network = load_attributes(attributes).network
    generator = loaded.generator
    shares = variance_shares(generator, torch.Generator().manual_seed(0), n=16)
    result: dict[str, Any] = {
        "checkpoint": str(checkpoint),
        "kimg": loaded.meta.cur_nimg / 1000,
        "mode": loaded.config.subspace.mode,
        "fd_faces": fd_faces(generator, network, images) if images else None,
        "variance_coords": shares.coords if shares else None,
        "variance_z": shares.z if shares else None,
        "importance": mean_importance(generator),
    }
    effects = generator_effects(generator, network, range(seeds))
    if effects:
        scores = control_scores(effects)
        result |= scores.to_json()
        result["table"] = table(scores)
    else:
        result |= {"sliders": 0, "dead": 0, "controlled": 0, "controlled_strict": 0}
    result["seconds"] = time.perf_counter() - start
    return result


def table(scores: ControlScores) -> str:
    """One line for each slider: main attribute, effect, leakage, and what else it moves."""
    names = list(scores.to_json()["attributes"])
    lines = ["slider    attribute        effect  leak  leak|Δ|  monotone  rms    also moves"]
    for score, row in zip(scores.sliders, scores.effects, strict=True):
        order = row.argsort()[::-1]
        also = [f"{names[j]} {row[j]:.1f}" for j in order[1:4] if row[j] > 0]
        mark = " *"[score.controls()] if not score.dead else "x"
        lines.append(
            f"{score.slider:8}{mark} {score.attribute:15}{score.effect:+7.2f}{score.leakage:6.0%}"
            f"{score.leakage_absolute:8.0%}{score.monotonicity:9.2f}{score.change:7.3f}    "
            + ", ".join(also)
        )
    return "\n".join(lines)


def show(result: dict[str, Any]) -> None:
    """Prints the measures as text."""
    print(f"{result['checkpoint']}: mode {result['mode']}, {result['kimg']:g} kimg")
    if "table" in result:
        print(result["table"])
    print(
        f"sliders {result['sliders']} (dead {result['dead']}); controlled: {result['controlled']} "
        f"at ≤ {LEAKAGE:.0%} leakage, {result['controlled_strict']} at ≤ {STRICT_LEAKAGE:.0%}"
    )
    for name, best in result.get("best", {}).items():
        print(
            f"  {best['slider']:8} → {name:15} {best['effect']:+.2f} sd, "
            f"leakage {best['leakage']:.0%}, monotonicity {best['monotonicity']:.2f}"
        )
    if "gap" in result:
        print(
            f"disentanglement {result['disentanglement']:.3f}, completeness "
            f"{result['completeness']:.3f}, gap {result['gap']:.3f}"
        )
    if result["fd_faces"] is not None:
        print(f"fd_faces {result['fd_faces']:.3f}")
    if result["variance_coords"] is not None:
        print(
            f"share of variance: coords {result['variance_coords']:.2f}, z "
            f"{result['variance_z']:.2f}; mean |L| "
            + " ".join(f"{value:.2f}" for value in result["importance"])
        )
    print(f"{result['seconds']:.0f} s")


def main() -> None:
    """Measures a checkpoint, or trains an attribute network."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("path", nargs="?", type=Path, help="run or checkpoint folder")
    parser.add_argument("--attributes", type=Path, help="folder of an attribute network")
    parser.add_argument("--seeds", type=int, default=64, help="seeds that a slider is moved for")
    parser.add_argument("--images", type=int, default=5000, help="for fd_faces; 0 = leave it out")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--train", type=Path, help="train an attribute network into this folder")
    parser.add_argument("--resolution", type=int, default=32, help="of --train: 16, 32 or 64")
    parser.add_argument("--faces", type=int, default=FACES, help="of --train")
    parser.add_argument("--epochs", type=float, default=6.0, help="of --train")
    parser.add_argument("--seed", type=int, default=90001, help="of --train")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    try:
        if options.train:
            train(options.train, options.resolution, options.faces, options.epochs, options.seed)
            return
        if options.path is None or options.attributes is None:
            raise ConfigError("a run or checkpoint and --attributes are needed (or --train).")
        result = measure(options.path, options.attributes, options.seeds, options.images)
    except SeganError as error:
        sys.exit(f"error: {error}")
    if options.json:
        print(json.dumps({key: value for key, value in result.items() if key != "table"}, indent=1))
    else:
        show(result)


if __name__ == "__main__":
    main()
