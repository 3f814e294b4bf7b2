"""Trains the attribute networks that ship with segan, one for each resolution.

Faces are drawn once, at the largest resolution, and averaged down for the others; the held-out
ones are drawn at each network's own resolution. The first network (32²) is trained from nothing,
the others continue from it, which takes a sixth of the time. Run from the repository root:
``python benchmarks/train_attributes.py train/measure/control/attribute_networks``; with
``--faces-file`` the drawn faces are kept for another run.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch

from segan.runtime.errors import SeganError
from segan.train.data.faces.attributes import sample_attributes
from segan.train.data.faces.draw import draw_faces
from segan.train.measure.control.attribute_files import load_attributes, save_attributes
from segan.train.measure.control.attribute_training import (
    HELD_OUT,
    DrawnFaces,
    HeldOutScores,
    draw_set,
    finish,
    shrink,
    train_attribute_network,
)
from segan.train.measure.control.attributes import AttributeNetwork, encode_attributes

FACES, HELD_OUT_FACES = 72000, 8000
#: Passes over the faces, by resolution.
EPOCHS = {16: 3.0, 32: 12.0, 64: 3.0}


def training_faces(resolution: int, seed: int, count: int, file: Path | None) -> DrawnFaces:
    """Draw the faces, or read those of an earlier run."""
    if file is not None and file.is_file():
        images = np.load(file, mmap_mode="r")[:count]
    else:
        images = np.empty((count, resolution, resolution, 3), np.uint8)
        for start in range(0, count, 1000):
            part = sample_attributes(seed, start, min(1000, count - start))
            images[start : start + 1000] = draw_faces(part, resolution)
        if file is not None:
            np.save(file, images)
    return DrawnFaces(images, encode_attributes(sample_attributes(seed, 0, count)))


def table(scores: HeldOutScores) -> str:
    """Return one line per attribute: its score on drawn and on degraded faces."""
    lines = [f"{'attribute':16}  clean  degraded"]
    for name, score in scores.clean.items():
        lines.append(f"{name:16}{score:7.3f}{scores.degraded[name]:10.3f}")
    return "\n".join(lines)


def train(
    folder: Path,
    faces: DrawnFaces,
    resolution: int,
    epochs: float,
    seed: int,
    start: AttributeNetwork | None,
) -> AttributeNetwork:
    """Train and write the network of one resolution, and print its scores."""
    wall, core = time.perf_counter(), time.process_time()

    def report(step: int, loss: float) -> None:
        if step % 250 == 0:
            print(f"{resolution}: step {step}, loss {loss:.4f}", flush=True)

    small = shrink(faces, resolution)
    count = len(small.images)
    network = train_attribute_network(
        resolution, count, seed, epochs=epochs, faces=small, start=start, report=report
    )
    scores = finish(network, draw_set(resolution, seed + HELD_OUT, HELD_OUT_FACES))
    save_attributes(
        folder / f"r{resolution}",
        network,
        faces=count,
        seed=seed,
        epochs=epochs,
        held_out=HELD_OUT_FACES,
        scores=scores,
    )
    print(table(scores))
    wall, core = time.perf_counter() - wall, time.process_time() - core
    print(f"{resolution}: {wall:.0f} s, {core:.0f} s of a core", flush=True)
    return network


def main() -> None:
    """Train the networks one after another."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("out", type=Path, help="folder; each network gets one in it: r32")
    parser.add_argument("--resolutions", default="32,64,16")
    parser.add_argument("--faces", type=int, default=FACES)
    parser.add_argument("--faces-file", type=Path, help="drawn faces (.npy): read, or written")
    parser.add_argument("--epochs", type=float, help=f"default: {EPOCHS}")
    parser.add_argument("--start", type=Path, help="a network to continue from: its folder")
    parser.add_argument("--seed", type=int, default=90001)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    wanted = [int(text) for text in options.resolutions.split(",")]
    try:
        faces = training_faces(64, options.seed, options.faces, options.faces_file)
        start = load_attributes(options.start).network if options.start else None
        for resolution in wanted:
            epochs = options.epochs or EPOCHS[resolution]
            found = train(options.out, faces, resolution, epochs, options.seed, start)
            start = start or found
    except SeganError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
