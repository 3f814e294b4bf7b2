"""The demo's page: every picture with the command that made it, and what was measured.

The page is one HTML file beside the pictures that it shows by relative paths, so the folder can be
moved, zipped or served as it is.
"""

from __future__ import annotations

import html
import json
import string
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TEMPLATE = Path(__file__).with_name("page.html")


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


def write_page(out: Path, run: Path, bundle: Path, steps: Sequence[Step]) -> Path:
    """Writes ``out/index.html``.

    Args:
        out: the demo's folder; everything else lies below it.
        run: the training run's folder.
        bundle: the exported bundle, a folder.
        steps: all commands in order; a step's title names the picture that it made.

    Returns:
        The page's path.
    """
    manifest = json.loads((bundle / "manifest.json").read_bytes())
    entries = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    page = _Page(out, {step.title: step.command for step in steps})
    layers = sorted({subspace["layer"] for subspace in manifest["subspaces"]})
    sections = {
        "shipped": page.picture(
            out / "shipped.png",
            "Sweep the model that ships with segan",
            "The model that every command falls back to, trained beforehand: hair length.",
        ),
        "samples": page.picture(out / "samples" / "sheet.png", "Generate", "Seeds 0 to 63."),
        "walk": page.picture(
            out / "walk.gif", "Walk between faces", "Straight lines in w through four seeds."
        ),
        "mix": page.picture(
            out / "mix.png",
            "Mix styles",
            "Layers 0 and 1 of the columns' faces put into the rows' faces.",
        ),
        "sweeps": "\n".join(
            page.picture(
                out / f"sweep-layer{layer}.png",
                f"Sweep layer {layer}",
                f"Layer {layer}, {4 << layer}²: each row moves one slider, all else held.",
            )
            for layer in layers
        ),
        "data": page.picture(out / "data.png", "Show faces", "64 of the faces it learned from."),
        "learning": _learning(page, run),
        "curves": _curves(page, run),
        "verification": _verification(manifest),
        "facts": _facts(manifest, entries),
        "commands": _commands(steps),
    }
    template = string.Template(TEMPLATE.read_text(encoding="utf-8"))
    path = out / "index.html"
    path.write_text(template.substitute(sections), encoding="utf-8")
    return path


class _Page:
    """Writes pictures with the command that made each."""

    def __init__(self, out: Path, commands: dict[str, str]) -> None:
        self._out, self._commands = out, commands

    def picture(self, path: Path, step: str, caption: str) -> str:
        """A figure; the picture must be there."""
        source = html.escape(path.relative_to(self._out).as_posix())
        size = _size(path)
        return (
            f'<figure><a href="{source}"><img src="{source}" alt="{html.escape(caption)}"{size}>'
            f"</a><figcaption>{html.escape(caption)}</figcaption>{self.command(step)}</figure>"
        )

    def command(self, step: str) -> str:
        """The step's command, in a box."""
        return f"<pre><code>{html.escape(self._commands[step])}</code></pre>"


def _size(path: Path) -> str:
    """A PNG's width and height as attributes, so that the page does not jump while it loads."""
    head = path.read_bytes()[:24]
    if head[:8] != b"\x89PNG\r\n\x1a\n":
        return ""
    width, height = struct.unpack(">II", head[16:24])
    return f' width="{width}" height="{height}"'


def _curves(page: _Page, run: Path) -> str:
    """The training curves; a run that stopped before its first line in the log has none."""
    path, step = run / "curves.png", "Train mode 2"
    if path.exists():
        return page.picture(path, step, "Losses, information term and variance shares.")
    return (
        "<p>Training stopped before its first line in the log, so there are no curves yet. "
        f"Give it longer: make demo DEMO_MINUTES=20</p>{page.command(step)}"
    )


def _learning(page: _Page, run: Path) -> str:
    """The same 64 seeds at the start, in the middle and at the end of training."""
    sheets = sorted(
        path for path in (run / "samples").glob("kimg*.png") if "sliders" not in path.name
    )
    shown = sheets if len(sheets) < 3 else [sheets[0], sheets[len(sheets) // 2], sheets[-1]]
    figures = [
        page.picture(path, "Train mode 2", f"After {float(path.stem[4:]):g} thousand images.")
        for path in shown
    ]
    # One command made them all: it is shown once, below the curves.
    command = page.command("Train mode 2")
    return "\n".join(figure.replace(command, "") for figure in figures)


def _verification(manifest: dict[str, Any]) -> str:
    """What export measured against the PyTorch generator."""
    parts = []
    for entry in manifest["verification"]:
        rows = "".join(
            f"<tr><td>{html.escape(case)}</td><td>{error:.1e}</td></tr>"
            for case, error in entry["cases"].items()
        )
        batches = ", ".join(map(str, entry["batch_sizes"]))
        parts.append(
            f"<p>The bundle on <b>{html.escape(entry['backend'])}</b> ({entry['precision']}) "
            f"against the PyTorch generator: largest difference of a pixel "
            f"<b>{entry['max_error']:.1e}</b> of images in [-1, 1], allowed "
            f"{entry['tolerance']:g}; PSNR <b>{entry['psnr_db']:.1f} dB</b>. Batches of {batches}, "
            f"{len(entry['seeds'])} fresh seeds.</p>"
            f"<table><tr><th>case</th><th>largest difference</th></tr>{rows}</table>"
        )
    return "\n".join(parts)


def _facts(manifest: dict[str, Any], entries: list[dict[str, Any]]) -> str:
    """A line of figures under the title."""
    last: dict[str, Any] = {}
    for entry in entries:
        last |= entry
    sliders = sum(subspace["dims"] for subspace in manifest["subspaces"])
    dead = last.get("dead_coords")
    state = "" if dead is None else (f", {dead} of them dead" if dead else ", all alive")
    facts = [
        f"{manifest['resolution']}² pixels",
        f"mode {manifest['mode']}, {manifest['subspace']}",
        f"{sliders} sliders{state}",
        f"{last['kimg']:g} thousand images of training" if last else "hardly any training",
    ]
    return " · ".join(html.escape(fact) for fact in facts)


def _commands(steps: Sequence[Step]) -> str:
    """The table of all steps."""
    rows = "".join(
        f"<tr><td>{html.escape(step.title)}</td><td><code>{html.escape(step.command)}</code></td>"
        f"<td>{step.seconds:.1f} s</td></tr>"
        for step in steps
    )
    return f"<table><tr><th>step</th><th>command</th><th>took</th></tr>{rows}</table>"
