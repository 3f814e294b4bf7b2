"""Makes the model that ships with segan: exports a checkpoint, names its sliders, writes one zip.

Every slider is moved over its range and a network that reads the built-in faces' attributes says
what changed (as in ``benchmarks/control.py``). An attribute gives its name to the slider that moves
it by 1 standard deviation or more with the least leakage, at most 60 %; the figures stay in the
entry. The same checkpoint gives the same bytes on the same machine and versions. Run from the
repository root: ``python benchmarks/ship_model.py RUN``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import torch

from segan.export.exporter import ExportConfig, export_bundle
from segan.runtime.bundle.attributes import Attribute, read_attributes
from segan.runtime.bundle.attributes_editing import pack_bundle, write_attributes
from segan.runtime.bundle.layout import Slider
from segan.runtime.bundle.manifest import Manifest
from segan.runtime.bundle.reader import open_bundle
from segan.runtime.errors import ConfigError, ExportError, SeganError
from segan.runtime.readings.scores import MOVED_FROM, ControlScores, SliderScore, control_scores
from segan.train.measure.control.attribute_files import attributes_for, load_attributes
from segan.train.measure.control.attributes import NAMES
from segan.train.measure.control.slider_effects import generator_effects
from segan.train.networks.stylegan2.generator import Generator
from segan.train.networks.stylegan2.subspace import EigenOffset
from segan.train.runs.checkpoint import LoadedGenerator, load_generator, resolve_checkpoint

#: Largest share of a named slider's effect that is on other attributes.
LEAKAGE = 0.6
#: Largest file that ships, and the largest that also carries an fp16 graph, in bytes.
MAX_BYTES, MAX_BYTES_FP16 = 10_000_000, 3_000_000

OUT = Path("runtime/bundle/models/faces64.segan")


def named_sliders(scores: ControlScores, manifest: Manifest) -> list[Attribute]:
    """Return a name for each attribute that a slider controls, in the order of the faces.

    A slider's name is that of its main attribute, so each slider has one name at most and each name
    one slider. ``sign`` makes a larger value mean more of the attribute; for a hue it is the
    direction of rotation.
    """
    return [
        named(name, score, manifest)
        for name, score in scores.controlled(LEAKAGE).items()
        if not score.dead
    ]


def named(name: str, score: SliderScore, manifest: Manifest) -> Attribute:
    """Return the entry of one attribute, with its subspace's range and the measured figures."""
    slider = Slider.parse(score.slider)
    (subspace,) = (
        row for row in manifest.subspaces if (row.layer, row.index) == (slider.layer, slider.index)
    )
    sign = -1 if score.effect < 0 else 1
    low, high = sorted((sign * subspace.low, sign * subspace.high))
    return Attribute(
        name=name,
        weights={slider: float(sign)},
        range=(low, high),
        extra={
            "effect_sd": round(abs(score.effect), 3),
            "leakage": round(score.leakage, 3),
            "monotonicity": round(score.monotonicity, 3),
        },
    )


def exchange_dims(generator: Generator, first: Slider, second: Slider) -> None:
    """Exchange two coordinates of one subspace.

    The coordinates of a subspace are unordered and identically distributed, so the generator makes
    the same images as before, for other seeds.

    Args:
        generator: mode 2, eigen; changed in place.
        first: a slider.
        second: another one of the same subspace.

    Raises:
        ConfigError: they are not of one subspace of such a generator.
    """
    rows = [
        number
        for number, row in enumerate(generator.table)
        if (row.layer, row.index) == first[:2] == second[:2]
        and max(first.dim, second.dim) < row.dims
    ]
    module = generator.subspaces[rows[0]] if rows else None
    if not isinstance(module, EigenOffset):
        raise ConfigError(
            f"{first} and {second} cannot be exchanged",
            field="first",
            value=str(first),
            expected="two sliders of one subspace of a generator of mode 2, eigen",
        )
    order = torch.arange(len(module.importance))
    order[[first.dim, second.dim]] = order[[second.dim, first.dim]]
    with torch.no_grad():
        module.importance.copy_(module.importance[order])
        module.basis.copy_(module.basis[:, order])


def training_command(loaded: LoadedGenerator) -> str:
    """Return a command that trains such a model; provenance.training has every setting."""
    config = loaded.config
    words = ["segan train", f"--mode {config.subspace.mode}", f"--preset {config.preset}"]
    words += [f"--kimg {config.total_kimg:g}", f"--batch-size {config.batch_size}"]
    words += [f"--learning-rate {config.learning_rate:g}", f"--r1-gamma {config.r1_gamma:g}"]
    if config.subspace.has_basis:
        words.append(f"--dims {config.subspace.dims}")
    words.append(f"--seed {config.seed}")
    return " ".join(words)


def ship(
    path: Path,
    attributes: Path | None,
    out: Path,
    *,
    seeds: int,
    command: str | None,
    name: str,
    exchange: tuple[Slider, Slider] | None = None,
) -> list[Attribute]:
    """Write the shipped bundle and read it back; return its named sliders.

    Raises:
        SeganError: the checkpoint or network cannot be used, verification fails, or the file
            would be too large.
    """
    loaded = load_generator(resolve_checkpoint(path))
    if exchange is not None:
        exchange_dims(loaded.generator, *exchange)
    resolution = loaded.generator.network.resolution
    read = load_attributes(attributes) if attributes else attributes_for(resolution)
    effects = generator_effects(loaded.generator, read.network, range(seeds))
    if not effects:
        raise ConfigError("this generator has no sliders", expected="one of mode 1, 2 or 3")
    scores = control_scores(effects, NAMES)
    provenance: dict[str, Any] = {
        "shipped_model": {
            "data": "segan's built-in faces, drawn by segan itself; no photograph of anybody",
            "license": "MIT, as segan",
            "trained_with": command or training_command(loaded),
            "trained_kimg": loaded.meta.cur_nimg / 1000,
            "made_by": "benchmarks/ship_model.py",
            "names": f"main attribute, {MOVED_FROM:g} sd or more, leakage {LEAKAGE:g} or less, "
            f"{seeds} seeds",
        }
    }
    if exchange is not None:
        provenance["shipped_model"]["exchanged"] = [str(slider) for slider in exchange]
    with tempfile.TemporaryDirectory() as work:
        small = _export(loaded, Path(work) / "small.segan", name, provenance, fp16=True)
        if small.stat().st_size > MAX_BYTES_FP16:
            small = _export(loaded, Path(work) / "plain.segan", name, provenance, fp16=False)
        bundle = open_bundle(small)
        write_attributes(bundle, named_sliders(scores, bundle.manifest))
        if small.stat().st_size > MAX_BYTES:
            raise ExportError(
                f"the bundle has {small.stat().st_size} bytes",
                expected=f"at most {MAX_BYTES}",
                remedy="Ship a smaller model.",
            )
        pack_bundle(small, out)
    written = open_bundle(out)
    written.verify()
    return list(read_attributes(written))


def _export(
    loaded: LoadedGenerator, folder: Path, name: str, provenance: dict[str, Any], *, fp16: bool
) -> Path:
    """Export a verified bundle as one zip beside ``folder``."""
    config = ExportConfig(name=name, precisions=("fp16",) if fp16 else (), provenance=provenance)
    export_bundle(loaded, folder, config, on_step=lambda text: print(f"{text} ...", flush=True))
    packed = folder.with_name(f"packed-{folder.name}")
    pack_bundle(folder, packed)
    return packed


def main() -> None:
    """Parse the options, write the file, and print its contents."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("path", type=Path, help="run or checkpoint folder")
    parser.add_argument("--attributes", type=Path, help="an attribute network, not the shipped one")
    parser.add_argument("-o", "--out", type=Path, default=OUT, help=f"the file (default: {OUT})")
    parser.add_argument("--seeds", type=int, default=64, help="seeds that a slider is moved for")
    parser.add_argument(
        "--exchange",
        nargs=2,
        type=Slider.parse,
        help="sliders of one subspace that change places, such as L3N0D4 L3N0D5",
    )
    parser.add_argument("--command", help="how it was trained, where the settings do not say it")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    try:
        found = ship(
            options.path,
            options.attributes,
            options.out,
            seeds=options.seeds,
            command=options.command,
            name=options.out.stem,
            exchange=options.exchange and tuple(options.exchange),
        )
    except SeganError as error:
        sys.exit(f"error: {error}")
    print(f"{options.out}: {options.out.stat().st_size} bytes, {len(found)} named sliders")
    for entry in found:
        figures = msgspec.json.encode(entry.extra).decode()
        print(f"  {entry.slider} {entry.sign:+d} {entry.name:16} {figures}")


if __name__ == "__main__":
    main()
