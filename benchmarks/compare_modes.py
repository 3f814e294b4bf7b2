"""Trains modes 0 to 3 in both kinds on the built-in faces and compares what their sliders do.

Every variant is trained by ``segan train`` with the same budget and the same seeds; runs that are
complete are taken as they are, those that were stopped continue; ``--measure-only`` trains nothing.
Then each generator is measured (see ``control.py``): Fréchet distance and path length on the faces'
own features, separability of w, and what each slider moves over its own range. A variant of one
seed has the interval of resampled latents, one of several seeds their range. Mode 0 has no sliders:
it is exported, and ``segan directions`` adds closed-form directions (sefa) or principal components
of w (pca), as many for each layer as an eigen subspace has. Run from the repository root:
``python benchmarks/compare_modes.py --kimg 50 --seeds 0,1``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import torch

from segan.export.directions.write import DirectionsConfig, Method, write_directions
from segan.export.exporter import export_bundle
from segan.runtime import load
from segan.runtime.bundle.layout import Slider
from segan.runtime.errors import ConfigError, SeganError
from segan.train.loop.watch.monitor import variance_shares
from segan.train.measure.control.attribute_files import attributes_for, load_attributes
from segan.train.measure.control.attributes import AttributeNetwork
from segan.train.measure.control.report import measure_sliders
from segan.train.measure.models.model import ImageOptions, SliderModel
from segan.train.measure.models.open import Compute, open_model
from segan.train.measure.models.torch_graphs import generator_model
from segan.train.measure.quality.evaluate import score
from segan.train.measure.quality.features import DetectorKind
from segan.train.networks.config import SubspaceConfig
from segan.train.networks.stylegan2.generator import Generator
from segan.train.networks.stylegan2.subspace import StyleSubspace
from segan.train.runs.checkpoint import list_checkpoints, load_generator, read_meta

VARIANTS = [(0, "eigen")] + [(mode, kind) for kind in ("eigen", "diagonal") for mode in (1, 2, 3)]
#: Directions per layer that are measured for models without sliders, or with too many of them.
DIRECTIONS = 6
#: Sliders are moved with constant noise.
CONSTANT = ImageOptions(noise="const")
METHODS: tuple[Method, ...] = ("sefa", "pca")
COLUMNS = (
    ("fd_faces", "fd_faces", ".2f"),
    ("sliders", "sliders", ".0f"),
    ("dead", "dead", ".0f"),
    ("controlled", "controlled ≤ 30 %", ".1f"),
    ("controlled_strict", "≤ 20 %", ".1f"),
    ("leakage", "median leakage", ".0%"),
    ("identity", "identity kept", ".2f"),
    ("measured_disentanglement", "D", ".2f"),
    ("measured_completeness", "C", ".2f"),
    ("gap", "gap", ".2f"),
    ("share_z", "share of z", ".0%"),
    ("path_length", "path length on the faces' features, w", ".3g"),
    ("separability", "separability of w", ".3g"),
)


def options_for(mode: int, kind: str, words: list[str]) -> list[str]:
    """Return the options of segan train that have an effect in this variant."""
    subspace = msgspec.convert({"mode": mode, "kind": kind}, SubspaceConfig)
    useless = set() if subspace.has_basis else {"--dims"}
    if not subspace.sampled:
        useless |= {"--shared-coords", "--jacobian-weight"}
    kept, left = list[str](), iter(words)
    for word in left:
        if word in useless:
            next(left, None)  # its value
        elif word.partition("=")[0] not in useless:
            kept.append(word)
    return kept


def train(runs: Path, mode: int, kind: str, seed: int, options: argparse.Namespace) -> Path:
    """Train or resume a variant unless it is complete; return its run's folder."""
    home = runs / f"mode{mode}-{kind}-seed{seed}"
    found = sorted(home.glob("0*")) if home.is_dir() else []
    command = [sys.executable, "-m", "segan.cli.main", "train"]
    if options.measure_only:
        complete = [run for run in found if list_checkpoints(run)]
        if not complete:
            raise ConfigError(
                f"{home} has no run with a checkpoint",
                field="runs",
                value=str(home),
                remedy="Leave out --measure-only.",
            )
        return complete[-1]
    if found:
        checkpoints = list_checkpoints(found[-1])
        if checkpoints and read_meta(checkpoints[-1]).cur_nimg >= options.kimg * 1000:
            return found[-1]
        command += ["--resume", str(found[-1]), "--kimg", f"{options.kimg:g}"]
    else:
        command += ["--mode", str(mode), "--subspace", kind, "--seed", str(seed)]
        command += ["--runs", str(home), "--kimg", f"{options.kimg:g}"]
        command += options_for(mode, kind, options.train)
    environment = os.environ | {"OMP_NUM_THREADS": str(options.threads)}
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    return max(home.glob("0*"))


def quality_scores(generator: Generator, options: argparse.Namespace) -> dict[str, Any]:
    """Return fd_faces, ppl_faces and separability of w, with their intervals.

    fd_faces is measured as by ``segan metrics``, the others with constant noise, as the sliders.
    """
    given: dict[DetectorKind, Path] = {"faces": options.attributes} if options.attributes else {}
    wanted = {
        "fd_faces": (f"fd_faces{options.images}", options.images),
        "path_length": (f"ppl_faces{options.path_lengths}_wend", options.path_lengths),
        "separability": (f"separability{options.separability}", options.separability),
    }
    values: dict[str, Any] = dict.fromkeys(wanted)
    intervals = {}
    for name, (metric, n) in wanted.items():
        if n:
            # Separability resamples itself: its SVMs are fitted to each resample.
            repeats = options.repeats if name == "path_length" else 0
            model = generator_model(generator, ImageOptions() if name == "fd_faces" else CONSTANT)
            (record,) = score(model, [metric], detectors=given, resamples=repeats)
            values[name] = record.value
            if record.interval is not None:
                intervals[name] = record.interval
    return values | {"intervals": intervals}


def with_directions(bundle: Path, method: Method, threads: int) -> Path:
    """Write a copy of the bundle with ``DIRECTIONS`` directions per layer; return its path."""
    directed = bundle.with_name(f"{method}.segan")
    config = DirectionsConfig(method=method, dims=DIRECTIONS)
    with load(bundle, "cpu", threads=threads) as opened:
        write_directions(opened, directed, config)
    return directed


def measure(
    run: Path, network: AttributeNetwork | None, options: argparse.Namespace
) -> dict[str, dict[str, Any]]:
    """Measure a run's generator: its ``sliders``, or in mode 0 those of ``sefa`` and ``pca``."""
    generator = load_generator(list_checkpoints(run)[-1]).generator
    network = network or attributes_for(generator.network.resolution).network
    scores = quality_scores(generator, options)
    shares = variance_shares(generator, torch.Generator().manual_seed(0), n=16)
    images = generator_model(generator, CONSTANT)
    common = scores | {"share_z": None if shares is None else shares.z}

    def scored(images: SliderModel, sliders: list[Slider] | None = None) -> dict[str, Any]:
        report = measure_sliders(
            images, network, seeds=range(options.sweeps), sliders=sliders, repeats=options.repeats
        )
        assert report is not None
        data = report.to_json()
        figures = {
            name: entry
            for name, entry in data.items()
            if isinstance(entry, dict) and "value" in entry
        }
        values = {name: entry["value"] for name, entry in figures.items()}
        intervals = scores["intervals"] | {
            name: (entry["low"], entry["high"])
            for name, entry in figures.items()
            if entry["low"] is not None
        }
        counts = {"sliders": data["count"], "dead": data["dead"]}
        return common | values | counts | {"intervals": intervals, "report": data}

    if generator.table:
        return {"sliders": scored(images, _main_sliders(generator))}
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as work:
        plain = Path(work) / "plain.segan"
        export_bundle(generator, plain)
        for method in METHODS:
            directed = with_directions(plain, method, options.threads)
            found[method] = scored(open_model(directed, CONSTANT, Compute(threads=options.threads)))
    return found


def _main_sliders(generator: Generator) -> list[Slider]:
    """Return the ``DIRECTIONS`` most important sliders of each layer's first subspace."""
    found = []
    for number, entry in enumerate(generator.table):
        if entry.index:
            continue
        module = cast(StyleSubspace, generator.subspaces[number])
        weight = module.importance.detach().abs().numpy()
        most = np.argsort(-weight, kind="stable")[:DIRECTIONS]
        found += [Slider(entry.layer, entry.index, int(dim)) for dim in sorted(most)]
    return found


def keep(
    results: dict[str, list[dict[str, Any]]],
    name: str,
    found: dict[str, dict[str, Any]],
    about: dict[str, Any],
    path: Path | None,
) -> None:
    """Add a run's rows to the results, and write all results to ``path``.

    Args:
        results: rows by name; added to.
        name: of what was trained.
        found: from ``measure``.
        about: the run, for each row.
        path: JSON file, or None.
    """
    for method, row in found.items():
        title = name if method == "sliders" else f"{name} + {method}"
        results.setdefault(title, []).append(row | about)
    print(f"{about['run']}: measured", file=sys.stderr, flush=True)
    if path:
        path.write_text(json.dumps(results, indent=1) + "\n")


def markdown(results: dict[str, list[dict[str, Any]]]) -> str:
    """Return the table: means over seeds with their range, or a seed's value with its interval."""
    rows = [row for each in results.values() for row in each]
    columns = [entry for entry in COLUMNS if any(row[entry[0]] is not None for row in rows)]
    head = ["variant", *(title for _, title, _ in columns)]
    lines = [" | ".join(["", *head, ""]).strip(), "|" + "---|" * len(head)]
    for name, rows in results.items():
        cells = [name]
        for key, _, form in columns:
            values = [row[key] for row in rows if row[key] is not None]
            if not values:
                cells.append("–")
                continue
            text = format(statistics.mean(values), form)
            ends = rows[0]["intervals"].get(key) if len(rows) == 1 else (min(values), max(values))
            if ends is not None and ends[0] != ends[1]:
                text += f" ({format(ends[0], form)} to {format(ends[1], form)})"
            cells.append(text)
        lines.append(" | ".join(["", *cells, ""]).strip())
    return "\n".join(lines)


def main() -> None:
    """Train missing variants, measure all of them, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--attributes", type=Path, help="an attribute network, not the shipped one")
    parser.add_argument("--runs", type=Path, default=Path("runs/comparison"))
    parser.add_argument("--kimg", type=float, default=50.0)
    parser.add_argument("--seeds", default="0", help="training seeds, such as 0,1")
    parser.add_argument("--variants", default="all", help="such as 0-eigen,2-eigen,2-diagonal")
    parser.add_argument("--sweeps", type=int, default=64, help="seeds that a slider is moved for")
    parser.add_argument("--images", type=int, default=5000, help="for fd_faces")
    parser.add_argument(
        "--separability", type=int, default=2000, help="images for it; 0 leaves it out"
    )
    parser.add_argument(
        "--path-lengths", type=int, default=1000, help="pairs for it; 0 leaves it out"
    )
    parser.add_argument("--measure-only", action="store_true", help="train nothing")
    parser.add_argument("--repeats", type=int, default=100, help="resamples for intervals")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument(
        "train", nargs="*", help="after --: further options of segan train, for those that use them"
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    variants = VARIANTS
    if options.variants != "all":
        wanted = options.variants.split(",")
        variants = [(mode, kind) for mode, kind in VARIANTS if f"{mode}-{kind}" in wanted]
    results: dict[str, list[dict[str, Any]]] = {}
    try:
        own = options.attributes
        network = load_attributes(own).network if own else None
        for seed in (int(text) for text in options.seeds.split(",")):
            for mode, kind in variants:
                run = train(options.runs, mode, kind, seed, options)
                found = measure(run, network, options)
                name = f"mode {mode}" if mode == 0 else f"mode {mode}, {kind}"
                keep(results, name, found, {"seed": seed, "run": str(run)}, options.json)
    except SeganError as error:
        sys.exit(f"error: {error}")
    print(markdown(results))


if __name__ == "__main__":
    main()
