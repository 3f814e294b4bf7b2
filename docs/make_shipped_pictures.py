"""Draw the shipped model's pictures for the docs: samples, named sliders, and a few of them.

Run from the repository root: ``python docs/make_shipped_pictures.py``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from segan.runtime import Generator, load
from segan.runtime.bundle.attributes import read_attributes
from segan.runtime.bundle.shipped import shipped_bundle
from segan.runtime.pictures.sheets import grid, labelled_sheet, value_label, write_sheet

IMAGES = Path(__file__).parent / "images"
#: Seeds whose faces are swept, a slider each, and positions on a slider's range.
SEEDS, STEPS = (5, 44), 9
#: Pixels that a sample is enlarged to, about.
TILE = 128
#: The sliders of the README's picture, and its seed.
FEW, FEW_SEED = ("hair_length", "skin_tone", "head_tilt", "glasses", "shirt_hue"), 44


def few_sliders(generator: Generator) -> None:
    """Write the README's picture: a few sliders on one face."""
    sheet = labelled_sheet(
        np.stack([generator.sweep(seed=FEW_SEED, attr=name, steps=STEPS) for name in FEW]),
        rows=list(FEW),
        cols=[""] * STEPS,
        title="",
    )
    write_sheet(IMAGES / "shipped-few.webp", sheet)


def main() -> None:
    """Write the three pictures."""
    with load(shipped_bundle()) as generator:
        few_sliders(generator)
        samples = generator.generate(seeds=range(64))
        write_sheet(
            IMAGES / "shipped-samples.webp",
            grid(samples, 8, scale=max(1, TILE // samples.shape[1])),
        )
        names = [entry.name for entry in read_attributes(generator.bundle) if not entry.hidden]
        rows, labels = [], []
        for number, name in enumerate(names):
            seed = SEEDS[number % len(SEEDS)]
            rows.append(generator.sweep(seed=seed, attr=name, steps=STEPS))
            labels.append(name)
        end = max(subspace.high for subspace in generator.manifest.subspaces)
        values = [value_label(float(value)) for value in np.linspace(-end, end, STEPS)]
        seeds = " and ".join(str(seed) for seed in SEEDS)
        sheet = labelled_sheet(
            np.stack(rows),
            rows=labels,
            cols=values,
            title=f"{generator.manifest.name}: {len(names)} named sliders, seeds {seeds} in turn",
        )
        write_sheet(IMAGES / "shipped-sweeps.webp", sheet)


if __name__ == "__main__":
    main()
