"""Draws what a comparison found: the same seeds of every variant, its best sliders, its curves.

RESULTS is the JSON that ``compare_modes.py`` or ``subspace_settings.py`` wrote with ``--json``; the
runs that it names are still needed. Samples and sliders are those of each variant's first run. A
variant's best sliders are its cleanest among those that move an attribute by 1 standard deviation
or more, then the strongest of the rest. Run from the repository root:
``python benchmarks/comparison_pictures.py results.json -o docs/images``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any, cast

import numpy as np
from compare_modes import with_directions
from numpy.typing import NDArray

from segan.export.directions.write import Method
from segan.export.exporter import export_bundle
from segan.runtime import load
from segan.runtime.bundle.layout import Slider
from segan.runtime.errors import SeganError
from segan.runtime.files.atomic import atomic_file
from segan.runtime.generate.generator import Generator
from segan.runtime.pictures.sheets import labelled_sheet, write_sheet
from segan.runtime.readings.scores import MOVED_FROM
from segan.train.runs.checkpoint import list_checkpoints, load_generator

STEPS = 9
#: Panels of the curves: title, and the log's field.
PANELS = (
    ("discriminator's loss", "loss/discriminator"),
    ("score of real images less that of generated ones", "score/gap"),
    ("information term, error per coordinate", "loss/information"),
    ("z's share of the images' variance", "share_z"),
)


def best_sliders(row: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """Records of a variant's ``count`` best sliders, each of another attribute."""

    def rank(record: dict[str, Any]) -> tuple[bool, float]:
        effect = abs(record["effect"]["value"])
        moved = effect >= MOVED_FROM
        return not moved, record["leakage"]["value"] if moved else -effect

    found: dict[str, dict[str, Any]] = {}
    for record in sorted((r for r in row["report"]["sliders"] if not r["dead"]), key=rank):
        found.setdefault(record["attribute"], record)
    return list(found.values())[:count]


def label(name: str, record: dict[str, Any]) -> str:
    """A row's label: variant, slider, attribute, effect and leakage."""
    effect, leakage = abs(record["effect"]["value"]), record["leakage"]["value"]
    return (
        f"{name}: {record['slider']} {record['attribute']}, {effect:.1f} sd, leakage {leakage:.0%}"
    )


def swept(generator: Generator, record: dict[str, Any], seed: int) -> NDArray[np.uint8]:
    """One slider over the range that was measured: uint8 [STEPS, H, W, C]."""
    slider = Slider.parse(record["slider"])
    low, high = record["range"]
    values = np.linspace(low, high, STEPS).tolist()
    return generator.sweep(seed, slider.layer, slider.dim, index=slider.index, values=values)


def pictures(
    results: dict[str, list[dict[str, Any]]], options: argparse.Namespace
) -> tuple[dict[str, NDArray[np.uint8]], dict[str, NDArray[np.uint8]]]:
    """Samples by variant, [N, H, W, C], and sweeps by label, [STEPS, H, W, C]."""
    samples: dict[str, NDArray[np.uint8]] = {}
    sweeps: dict[str, NDArray[np.uint8]] = {}
    for name, rows in results.items():
        base, _, method = name.rpartition(" + ")
        row = rows[0]
        loaded = load_generator(list_checkpoints(Path(row["run"]))[-1])
        with tempfile.TemporaryDirectory() as work:
            bundle = Path(work) / "plain.segan"
            export_bundle(loaded, bundle)
            if base:
                bundle = with_directions(bundle, cast(Method, method), options.threads)
            with load(bundle, "cpu", threads=options.threads) as generator:
                samples.setdefault(base or name, generator.generate(seeds=range(options.samples)))
                for number, record in enumerate(best_sliders(row, options.sliders)):
                    sweeps[label(name, record)] = swept(generator, record, number + 1)
        print(f"{name}: drawn", file=sys.stderr, flush=True)
    return samples, sweeps


def draw_curves(results: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """The log's curves of every run, a colour for each variant, over kimg."""
    # The object interface leaves the user's own matplotlib state and backend alone.
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 2.6 * len(PANELS)), layout="constrained")
    FigureCanvasAgg(figure)
    drawn: dict[str, str] = {}
    for name, rows in results.items():
        for row in rows:
            drawn.setdefault(row["run"], name.partition(" + ")[0])
    names = list(dict.fromkeys(drawn.values()))
    palette = colormaps["tab10" if len(names) <= 10 else "tab20"]
    all_axes = figure.subplots(len(PANELS), 1, sharex=True)
    for run, name in drawn.items():
        log = (Path(run) / "log.jsonl").read_text().splitlines()
        entries = [json.loads(line) for line in log]
        for entry in entries:
            entry["score/gap"] = entry["score/real"] - entry["score/fake"]
        colour = palette(names.index(name) % palette.N)
        for axes, (_, field) in zip(all_axes, PANELS, strict=True):
            points = [(entry["kimg"], entry[field]) for entry in entries if field in entry]
            if points:
                seen = {line.get_label() for line in all_axes[0].lines}
                text = "_again" if name in seen else name
                axes.plot(*zip(*points, strict=True), color=colour, lw=1.2, label=text)
    for axes, (title, _) in zip(all_axes, PANELS, strict=True):
        axes.set_title(title, loc="left", fontsize=10)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    all_axes[-1].set_xlabel("thousand real images shown (kimg)")
    figure.legend(*all_axes[0].get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    with atomic_file(path) as file:
        figure.savefig(file, format="webp", dpi=100)


def main() -> None:
    """Reads the results and writes the three pictures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("results", type=Path, help="JSON from compare_modes.py --json")
    parser.add_argument("-o", "--out", type=Path, default=Path(), help="folder for the pictures")
    parser.add_argument("--samples", type=int, default=10, help="seeds of each variant")
    parser.add_argument("--sliders", type=int, default=2, help="best sliders of each variant")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    try:
        results = json.loads(options.results.read_text())
        samples, sweeps = pictures(results, options)
        sheet = labelled_sheet(
            np.stack(list(samples.values())),
            rows=list(samples),
            cols=[f"seed {seed}" for seed in range(options.samples)],
            scale=2,
        )
        write_sheet(options.out / "comparison-samples.webp", sheet)
        sheet = labelled_sheet(
            np.stack(list(sweeps.values())), rows=list(sweeps), cols=[""] * STEPS, scale=2
        )
        write_sheet(options.out / "comparison-sweeps.webp", sheet)
        draw_curves(results, options.out / "comparison-curves.webp")
    except (SeganError, OSError, ValueError, KeyError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
