"""What a model's sliders control on the built-in faces, and how disentangled its latents are.

MODEL is a run, a checkpoint or a bundle; closed-form and PCA directions are measured as a bundle
that ``segan directions`` wrote. Every slider is moved over its range for the same seeds, and a
network that reads the faces' attributes measures the change (docs/evidence/control.md).
Run from the repository root: ``python benchmarks/control.py MODEL -o control.json``. In place of
MODEL, ``drawn:32`` measures the drawn faces themselves: what perfect sliders score.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import torch

from segan.runtime.errors import ConfigError, SeganError
from segan.runtime.readings.reading import find_reading
from segan.runtime.readings.scores import LEAKAGE, STRICT_LEAKAGE
from segan.train.data.dataset import open_dataset
from segan.train.measure.control.attribute_files import (
    LoadedAttributes,
    attributes_for,
    load_attributes,
)
from segan.train.measure.control.attributes import READINGS
from segan.train.measure.control.drawn_model import DrawnModel
from segan.train.measure.control.label_classifier import train_label_classifier
from segan.train.measure.control.readings_sample import sample_readings
from segan.train.measure.control.report import (
    control_record,
    measure_codes,
    measure_separability,
    measure_sliders,
    write_control,
)
from segan.train.measure.control.separability import class_questions, metric_name
from segan.train.measure.models.model import ImageOptions, SliderModel
from segan.train.measure.models.open import Compute, open_model
from segan.train.measure.quality.evaluate import score
from segan.train.measure.quality.features import DetectorKind
from segan.train.measure.quality.frechet import reference
from segan.train.measure.quality.gaussian import frechet_distance, moments_of


def open_named(name: str, threads: int) -> SliderModel:
    """Open the model of a path, with constant noise, or the drawn faces of ``drawn:RESOLUTION``."""
    kind, _, resolution = name.partition(":")
    if kind != "drawn":
        model = open_model(name, ImageOptions(noise="const"), Compute(threads=threads))
        model.require_rgb()
        return model
    if not resolution.isdecimal():
        raise ConfigError(field="model", value=name, expected="a resolution, as in drawn:32")
    return DrawnModel(int(resolution))


def say(text: str) -> None:
    """Print a step on standard error."""
    print(f"{text} ...", file=sys.stderr, flush=True)


def measure(images: SliderModel, attributes: LoadedAttributes, options: Any) -> dict[str, Any]:
    """Return the record of a model: its sliders, its latent codes, and its fd_faces."""
    start = time.perf_counter()
    network = attributes.network
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    say(f"moving {len(images.sliders)} sliders for {options.seeds} seeds")
    sliders = measure_sliders(
        images, network, seeds=seeds, steps=options.steps, repeats=options.repeats
    )
    found: dict[str, Any] = {}
    if options.images:
        say(f"fd_faces of {options.images} images")
        found["fd_faces"] = round(fd_faces(images, attributes, options), 4)
    if options.latents:
        say(f"reading {options.latents} images")
        sample = sample_readings(images, network, options.latents, options.first_seed)
        found |= measure_codes(sample, repeats=options.refits, on_step=say)
    if options.classes:
        found |= own_separability(images, options)
    protocol = {
        "first_seed": options.first_seed,
        "seeds": options.seeds,
        "steps": options.steps,
        "resamples": options.repeats,
        "latents": options.latents,
        "refits": options.refits,
        "images": options.images,
    }
    record = control_record(
        options.model, attributes, sliders=sliders, codes=found, protocol=protocol
    )
    return record | {"seconds": round(time.perf_counter() - start)}


def fd_faces(images: SliderModel, attributes: LoadedAttributes, options: Any) -> float:
    """Return the metric ``fd_faces`` of ``segan metrics``, also for drawn faces."""
    n, network = options.images, attributes.network
    if isinstance(images, DrawnModel):
        parts = [images.render(range(start, min(start + 250, n))) for start in range(0, n, 250)]
        features = torch.cat([network.features(part) for part in parts])
        return frechet_distance(moments_of(features.numpy()), reference(network))
    given: dict[DetectorKind, Path] = {"faces": options.attributes} if options.attributes else {}
    model = open_model(options.model, compute=Compute(threads=options.threads))
    return score(model, [f"fd_faces{n}"], detectors=given)[0].value


def own_separability(images: SliderModel, options: Any) -> dict[str, Any]:
    """Return separability by the classes of the user's data."""
    dataset = open_dataset(options.classes)
    say(f"training a classifier on the classes of {dataset.name}")
    classifier = train_label_classifier(dataset)
    n = options.latents or 10_000
    say(f"classifying {n} images")
    sample = sample_readings(images, classifier.probabilities, n, options.first_seed)
    questions = class_questions(sample.readings, classifier.class_names)
    scores = measure_separability(sample, questions, repeats=options.refits)
    accuracy = {"accuracy": round(classifier.accuracy, 4), "chance": round(classifier.chance, 4)}
    return {f"{metric_name(n)}_{dataset.name}": scores | {"classifier": accuracy}}


def table(sliders: dict[str, Any], attribute: str | None) -> str:
    """Return one line per slider: main attribute, effect, leakage, and other effects."""
    lines = ["slider    attribute        effect   leak  leak|Δ|  monotone  identity    also moves"]
    rows = sliders["sliders"]
    if attribute:
        rows = sorted(rows, key=lambda row: -row["effects"][attribute])
    for row in rows:
        also = sorted(row["effects"].items(), key=lambda item: -item[1])
        others = [f"{name} {size:.1f}" for name, size in also if name != row["attribute"] and size]
        mark = "x" if row["dead"] else " *"[row["controls"]]
        value = {
            name: entry["value"]
            for name, entry in row.items()
            if isinstance(entry, dict) and "value" in entry
        }
        identity = "–" if value["identity"] is None else format(value["identity"], ".2f")
        lines.append(
            f"{row['slider']:8}{mark} {row['attribute'] or '–':15}{value['effect']:+7.2f}"
            f"{value['leakage']:7.0%}{value['leakage_absolute']:9.0%}{value['monotonicity']:10.2f}"
            f"{identity:>10}    " + ", ".join(others[:3])
        )
    return "\n".join(lines)


def interval(entry: dict[str, Any], form: str) -> str:
    """Return a value with its interval as text."""
    if entry["value"] is None:
        return "–"
    text = format(entry["value"], form)
    if entry["low"] is None:
        return text
    return f"{text} ({format(entry['low'], form)} to {format(entry['high'], form)})"


def show(record: dict[str, Any], attribute: str | None) -> None:
    """Print the measures."""
    print(f"{record['model']}, read at {record['protocol']['network']['resolution']}²")
    sliders = record["sliders"]
    if sliders:
        print(table(sliders, attribute))
        print(f"sliders {sliders['count']} (dead {sliders['dead']})")
        print(f"controlled at ≤ {LEAKAGE:.0%} leakage: {interval(sliders['controlled'], '.0f')}")
        strict = interval(sliders["controlled_strict"], ".0f")
        print(f"controlled at ≤ {STRICT_LEAKAGE:.0%} leakage: {strict}")
        for name in ("leakage", "identity", "measured_disentanglement", "measured_completeness"):
            print(f"{name}: {interval(sliders[name], '.3f')}")
        print(f"gap: {interval(sliders['gap'], '.3f')}")
    else:
        print("no sliders")
    for space, by_regressor in record.get("dci", {}).items():
        for regressor, scores in by_regressor.items():
            text = ", ".join(
                f"{name[0].upper()} {interval(scores[name], '.3f')}"
                for name in ("disentanglement", "completeness", "informativeness")
            )
            print(f"DCI of {space}, {regressor}: {text}")
    for space, scores in record.get("mig", {}).items():
        print(f"MIG of {space}: {interval(scores, '.3f')}")
    for name, spaces in record.items():
        if name.startswith("separability"):
            for space, scores in spaces.items():
                if space != "classifier":
                    print(f"{name} of {space}: {interval(scores, '.3f')}")
    if "fd_faces" in record:
        print(f"fd_faces: {record['fd_faces']:.3f}")


def main() -> None:
    """Measure a model."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("model", help="run, checkpoint or bundle; or drawn:32")
    parser.add_argument("--attributes", type=Path, help="an attribute network, not the shipped one")
    parser.add_argument("--seeds", type=int, default=64, help="seeds that a slider is moved for")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=5, help="values over a slider's range")
    parser.add_argument("--latents", type=int, default=10_000, help="for DCI …; 0 leaves them out")
    parser.add_argument("--images", type=int, default=5000, help="for fd_faces; 0 leaves it out")
    parser.add_argument("--repeats", type=int, default=100, help="resamples for intervals")
    parser.add_argument("--refits", type=int, default=10, help="the same where models are fitted")
    parser.add_argument("--classes", type=Path, help="labelled data: separability of its classes")
    parser.add_argument("--attribute", help="sort the sliders by their effect on this one")
    parser.add_argument("-o", "--out", type=Path, help="write control.json here")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    try:
        if options.attribute:
            find_reading(READINGS, options.attribute)
        images = open_named(options.model, options.threads)
        own = options.attributes
        attributes = load_attributes(own) if own else attributes_for(images.resolution)
        record = measure(images, attributes, options)
        if options.out:
            write_control(options.out, record)
    except SeganError as error:
        sys.exit(f"error: {error}")
    show(record, options.attribute)


if __name__ == "__main__":
    main()
