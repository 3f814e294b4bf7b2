"""The demo's page: every picture with the command that made it, and what was measured.

The page is one HTML file next to the pictures that it shows by relative paths, so the folder can be
moved, zipped or served as it is.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from segan.runtime.commands import command
from segan.runtime.pages.parts import Cell, Picture, table
from segan.runtime.pages.template import render
from segan.runtime.pictures.decode import MAX_SHEET_PIXELS, open_picture

_TRAIN = "Train mode 2"
#: Thousand images after which a difference to the checkpoint before shows.
_VISIBLE_KIMG = 5


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of the demo.

    Attributes:
        title: what it does.
        command: as typed.
        seconds: wall time.
    """

    title: str
    command: str
    seconds: float


class Shot(NamedTuple):
    """A picture with its caption, and the command that made it; empty to leave it out."""

    picture: Picture
    caption: str
    command: str = ""


def write_page(
    out: Path, run: Path, bundle: Path, steps: Sequence[Step], young: Path | None = None
) -> Path:
    """Write ``out/index.html``.

    Args:
        out: the demo's folder, which holds everything else.
        run: the training run's folder.
        bundle: the exported bundle, a folder.
        steps: all commands in order; a step's title names the picture that it made.
        young: the checkpoint that the run started with, with sheets of the training before it;
            None where it started from nothing.

    Returns:
        The page's path.
    """
    manifest = json.loads((bundle / "manifest.json").read_bytes())
    entries = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    commands = {step.title: step.command for step in steps}
    before = 0.0 if young is None else _kimg_of(young)
    seconds = {step.title: step.seconds for step in steps}
    reached, is_complete = _reached(run, entries, before, seconds[_TRAIN])
    layers = sorted({subspace["layer"] for subspace in manifest["subspaces"]})

    def shot(path: Path, step: str, caption: str) -> Shot:
        return Shot(_picture(out, path), caption, commands[step])

    curves = run / "curves.png"
    page = render(
        Path(__file__).parent,
        "demo.html",
        facts=_facts(manifest, entries, before),
        shipped=shot(
            out / "shipped.png",
            "Sweep the model that ships with segan",
            "A sweep of hair length. Commands without a BUNDLE use this model.",
        ),
        samples=[
            shot(out / "samples" / "sheet.png", "Generate", "Seeds 0 to 63."),
            shot(out / "walk.gif", "Walk between faces", "Straight lines in w through four seeds."),
        ],
        sweeps=[
            shot(
                out / f"sweep-layer{layer}.png",
                f"Sweep layer {layer}",
                f"Layer {layer}, {4 << layer}²: each row moves one slider, all others are fixed.",
            )
            for layer in layers
        ],
        mix=shot(
            out / "mix.png",
            "Mix styles",
            "Layers 0 and 1 of the columns' faces, all others of the rows' faces.",
        ),
        verification=[_verification(entry) for entry in manifest["verification"]],
        learning=_learning(out, run, young, before),
        reached=reached,
        resume=command("train", "--resume", run) if not is_complete else "",
        curves=shot(curves, _TRAIN, "Losses, information term and variance shares.")
        if curves.exists()
        else None,
        training=commands[_TRAIN],
        data=shot(out / "data.png", "Show faces", "64 of the training images."),
        steps=steps,
    )
    path = out / "index.html"
    path.write_text(page, encoding="utf-8")
    return path


def _picture(out: Path, path: Path) -> Picture:
    image = open_picture(path.read_bytes(), str(path), max_pixels=MAX_SHEET_PIXELS)
    return Picture(path.relative_to(out).as_posix(), image.width, image.height)


def _kimg_of(young: Path) -> float:
    """How many thousand images a checkpoint was trained on."""
    record = json.loads((young / "checkpoint.json").read_bytes())
    return float(record["cur_nimg"]) / 1000


def _learning(out: Path, run: Path, young: Path | None, before: float) -> list[Shot]:
    """The same 64 seeds: in the training before this run, and in the course of it."""
    shots = []
    if young is not None:
        folder = out / "before"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(young / "samples", folder)
        for path in sorted(folder.iterdir()):
            caption = f"After {float(path.stem[4:]):g} thousand images, before this run."
            shots.append(Shot(_picture(out, path), caption))
    sheets = sorted(
        path for path in (run / "samples").glob("kimg*.png") if "sliders" not in path.name
    )
    shown = sheets if len(sheets) < 3 else [sheets[0], sheets[len(sheets) // 2], sheets[-1]]
    if young is not None:
        shown = [sheets[0], sheets[-1]] if len(sheets) > 1 else sheets
    # The training command is shown once, under the curves.
    for path in shown:
        kimg = float(path.stem[4:])
        here = f", {kimg:g} of them here" if before else ""
        shots.append(Shot(_picture(out, path), f"After {before + kimg:g} thousand images{here}."))
    return shots


def _reached(
    run: Path, entries: list[dict[str, Any]], before: float, seconds: float
) -> tuple[list[str], bool]:
    """What training came to, in sentences, and whether it came to its end."""
    kimg = entries[-1]["kimg"] if entries else 0.0
    sentences = []
    if before:
        sentences.append(
            f"The run starts with the weights of demo/young, which this command had trained on "
            f"{before:g} thousand images."
        )
    sentences.append(
        f"Here it trained on {1000 * kimg:,.0f}{' more' if before else ' images'}, in "
        f"{seconds / 60:.1f} minutes."
    )
    file = run / "config.json"
    planned = json.loads(file.read_bytes())["total_kimg"] if file.exists() else kimg
    if kimg < planned:
        sentences.append(f"Its time was over before the {planned:g} thousand that were planned.")
        if before and kimg < _VISIBLE_KIMG:
            sentences.append(
                "That is too little to see: the faces below are almost those that it started with."
            )
        sentences.append("It continues where it stopped:")
    return sentences, kimg >= planned


def _verification(entry: dict[str, Any]) -> dict[str, Any]:
    """What export measured against the PyTorch generator."""
    cases: Markup = table(
        [Cell("case"), Cell("largest difference", number=True)],
        [[Cell(case), Cell(f"{error:.1e}", number=True)] for case, error in entry["cases"].items()],
    )
    return {
        "backend": entry["backend"],
        "precision": entry["precision"],
        "max_error": f"{entry['max_error']:.1e}",
        "tolerance": f"{entry['tolerance']:g}",
        "psnr_db": f"{entry['psnr_db']:.1f}",
        "batch_sizes": ", ".join(map(str, entry["batch_sizes"])),
        "seeds": len(entry["seeds"]),
        "cases": cases,
    }


def _facts(manifest: dict[str, Any], entries: list[dict[str, Any]], before: float) -> list[str]:
    """The figures under the title."""
    last: dict[str, Any] = {}
    for entry in entries:
        last |= entry
    sliders = sum(subspace["dims"] for subspace in manifest["subspaces"])
    dead = last.get("dead_coords")
    state = "" if dead is None else (f", {dead} of them dead" if dead else ", all alive")
    after = f" here, after {before:g} thousand" if before else ""
    return [
        f"{manifest['resolution']}² pixels",
        f"mode {manifest['mode']}, {manifest['subspace']}",
        f"{sliders} sliders{state}",
        f"trained on {last['kimg']:g} thousand images{after}"
        if last
        else f"nothing logged in training{after}",
    ]
