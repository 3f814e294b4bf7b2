"""An atlas's page: one HTML file next to its pictures, without a framework or the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segan.runtime.atlas.duplicates import DUPLICATE_FROM
from segan.runtime.atlas.overview import layer_colour, overview_plot
from segan.runtime.atlas.record import Atlas, AtlasSlider
from segan.runtime.commands import command, quoted
from segan.runtime.pages.template import render
from segan.runtime.pictures.sheets import value_label
from segan.runtime.readings.effects import DEAD_BELOW

_SHOWN = ("effect", "locality", "consistency", "straightness", "monotonicity")
_SORTED = ("effect", "locality", "consistency", "straightness")
#: Samples in the header, and the most of them in a row.
_SAMPLES, _SAMPLE_COLS = 16, 8


@dataclass(frozen=True, kw_only=True)
class PageCommands:
    """Commands that the page's reader can copy.

    Attributes:
        bundle: as it is written on the command line; empty where commands find it by themselves.
        label: class to sweep a conditional bundle with.
        copy: file that ``segan name`` writes where the bundle itself must not change, or empty.
        made_by: the command that made the atlas.
        psi: truncation to sweep with.
    """

    bundle: str = ""
    label: str | None = None
    copy: str = ""
    made_by: str = "segan atlas"
    psi: float = 1.0

    def sweep(self, entry: AtlasSlider) -> str:
        """Return the command that sweeps a slider, by its name if it has one."""
        what = ["--at", str(entry.slider)]
        if entry.name is not None and not entry.name.startswith("-"):
            what = ["--attr", entry.name]
        if self.label is not None:
            what += ["--class", self.label]
        if self.psi != 1:
            what += ["--psi", f"{self.psi:g}"]
        return command("sweep", *self._bundle(), *what)

    def namer(self, entry: AtlasSlider) -> str:
        """Return the part of the naming command before the name."""
        return command("name", *self._bundle(), entry.slider)

    @property
    def suffix(self) -> str:
        """The part of the naming command after the name and its options."""
        return f"-o {quoted(Path(self.copy))}" if self.copy else ""

    def name(self, entry: AtlasSlider) -> str:
        """Return the command that names a slider as proposed; NAME stands for an unknown name."""
        low, high = (f"{value:.3g}" for value in (entry.values[0], entry.values[-1]))
        name = entry.name or (entry.proposal.name if entry.proposal else "NAME")
        words = [self.namer(entry), quoted(name), f"--range={low},{high}", self.suffix]
        return " ".join(word for word in words if word)

    def _bundle(self) -> list[Path]:
        return [Path(self.bundle)] if self.bundle else []


def render_page(atlas: Atlas, commands: PageCommands, sheets: Sequence[str], side: int) -> str:
    """Return the page's HTML.

    Args:
        atlas: what was measured.
        commands: for the reader to copy.
        sheets: the sheets' paths within the folder.
        side: of one picture in a strip, in pixels.
    """
    manifest = atlas.manifest
    samples = min(_SAMPLES, len(atlas.samples))
    cols = min(_SAMPLE_COLS, samples)
    layers = sorted({entry.slider.layer for entry in atlas.sliders})
    resolutions = {site.layer: site.resolution for site in reversed(manifest.sites)}
    cards = _Cards(atlas, commands, side)
    return render(
        Path(__file__).parent,
        "atlas.html",
        name=manifest.name,
        lead=_lead(atlas),
        facts=_facts(atlas),
        made_by=commands.made_by,
        samples={
            "alt": f"{samples} images of {manifest.name} with no slider moved",
            "width": cols * side,
            "height": samples // cols * side,
        },
        notes=_notes(atlas),
        plot=overview_plot(atlas),
        layers=[
            {
                "number": layer,
                "colour": layer_colour(position, len(layers)),
                "text": f"layer {layer}, {resolutions[layer]} × {resolutions[layer]}",
            }
            for position, layer in enumerate(layers)
        ],
        cards=[cards.card(entry) for entry in atlas.sliders],
        seed=atlas.config.seeds[0],
        sheets=[{"path": sheet, "name": Path(sheet).stem} for sheet in sheets],
        remark=atlas.remark,
        dead_below=f"{DEAD_BELOW:g}",
        duplicate_from=f"{DUPLICATE_FROM:g}",
    )


def _lead(atlas: Atlas) -> str:
    named = sum(entry.name is not None for entry in atlas.sliders)
    parts = [f"{_count(len(atlas.sliders), 'slider')}, {named} of them named"]
    if atlas.duplicates:
        parts.append(_count(atlas.duplicates, "near-duplicate"))
    if atlas.dead:
        parts.append(f"{atlas.dead} dead")
    return f"What each slider does to an image: {', '.join(parts)}."


def _facts(atlas: Atlas) -> list[str]:
    manifest, config = atlas.manifest, atlas.config
    facts = [
        f"{manifest.resolution} × {manifest.resolution}",
        f"mode {manifest.mode}, {manifest.subspace}" if manifest.mode else "mode 0",
        f"{len(config.seeds)} seeds × {config.steps} strengths",
    ]
    if config.psi != 1:
        facts.append(f"psi {config.psi:g}")
    if atlas.labels:
        classes = list(dict.fromkeys(atlas.labels))
        facts.append(
            f"class {classes[0]}" if len(classes) == 1 else f"{len(classes)} classes in turn"
        )
    return facts


def _notes(atlas: Atlas) -> list[str]:
    notes = []
    if atlas.left_out:
        notes.append(
            f"This bundle has {atlas.total} sliders. Shown are the {len(atlas.sliders)} that "
            "change the first two seeds most; 'segan atlas --max N' shows N of them."
        )
    if atlas.hidden:
        notes.append(
            f"{_count(atlas.hidden, 'hidden slider')} left out; 'segan atlas --hidden' shows them."
        )
    return notes


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


class _Cards:
    """What the template of a card shows, for each slider."""

    def __init__(self, atlas: Atlas, commands: PageCommands, side: int) -> None:
        self._commands, self._side = commands, side
        self._strongest = max((e.figures.effect for e in atlas.sliders), default=0) or 1.0
        self._names = {e.slider: e.name or str(e.slider) for e in atlas.sliders}
        self._place = {slider: number for number, slider in enumerate(sorted(self._names))}
        seeds = [str(seed) for seed in atlas.config.seeds[: atlas.config.shown]]
        if atlas.labels:
            seeds = [f"{s} ({c})" for s, c in zip(seeds, atlas.labels, strict=False)]
        self._seeds = ", ".join(seeds)

    def card(self, entry: AtlasSlider) -> dict[str, Any]:
        """Return one slider's values."""
        rows, steps = entry.images.shape[:2]
        title, dead = self._names[entry.slider], entry.figures.dead
        low, high = value_label(entry.values[0]), value_label(entry.values[-1])
        near = entry.mates or (() if entry.nearest is None else (entry.nearest,))
        states = (("dead", dead), ("hidden", entry.hidden), ("near-duplicate", not entry.leads))
        return {
            "entry": entry,
            "title": title,
            "data": self._data(entry, rows, steps),
            "badges": [name for name, holds in states if holds],
            "strip": {
                "alt": f"{title} from {low} to {high} on seeds {self._seeds}, one row each",
                "width": steps * self._side,
                "height": rows * self._side,
            },
            "low": low,
            "high": high,
            "heat_alt": "No change" if dead else f"Where {title} changes the image",
            "bars": [self._bar(entry, key) for key in _SHOWN],
            "similar_title": "Near-duplicates:" if entry.mates else "Most similar:",
            "similar": [
                {"slider": slider, "name": self._names[slider], "cosine": f"{cosine:+.2f}"}
                for slider, cosine in near
            ],
            "sweep": self._commands.sweep(entry),
            "name": self._commands.name(entry),
        }

    def _data(self, entry: AtlasSlider, rows: int, steps: int) -> dict[str, object]:
        """The data attributes that the page's script reads."""
        name = entry.name or ""
        proposed = entry.proposal.name if entry.proposal else ""
        return {
            "rank": entry.rank,
            "place": self._place[entry.slider],
            "layer": entry.slider.layer,
            "name": name,
            "proposed": proposed,
            "text": f"{entry.slider} {name} {proposed}".lower(),
            **{key: f"{getattr(entry.figures, key):.5f}" for key in _SORTED},
            "dead": int(entry.figures.dead),
            "leads": int(entry.leads),
            "hidden": int(entry.hidden),
            "steps": steps,
            "rows": rows,
            "values": " ".join(f"{value:.3g}" for value in entry.values),
            "namer": self._commands.namer(entry),
            "suffix": self._commands.suffix,
        }

    def _bar(self, entry: AtlasSlider, key: str) -> dict[str, Any]:
        value = getattr(entry.figures, key)
        share = value / self._strongest if key == "effect" else max(0.0, value)
        return {
            "name": key,
            "text": f"{value:.2f}",
            "percent": f"{100 * share:.1f}",
            "strong": key in ("effect", "locality"),
        }
