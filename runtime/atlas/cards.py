"""An atlas's page: one HTML file beside its pictures, without a framework or the network."""

from __future__ import annotations

import html
import shlex
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from segan.runtime.atlas.duplicates import DUPLICATE_FROM
from segan.runtime.atlas.figures import DEAD_BELOW
from segan.runtime.atlas.overview import layer_colour, overview_plot
from segan.runtime.atlas.record import Atlas, AtlasSlider
from segan.runtime.bundle.layout import Slider
from segan.runtime.bundle.manifest import Manifest
from segan.runtime.pictures.sheets import value_label

_HERE = Path(__file__).parent
_COPY = '<button type="button" class="copy">copy</button>'


@dataclass(frozen=True, kw_only=True)
class PageCommands:
    """What the page lets its reader copy.

    Attributes:
        bundle: as it is written on the command line; empty where a command finds it by itself.
        label: class to sweep a conditional bundle with.
        copy: for a bundle that is not to be changed, the file that ``segan name`` writes.
        made_by: the command that made the atlas.
        psi: truncation to sweep with.
    """

    bundle: str = ""
    label: str | None = None
    copy: str = ""
    made_by: str = "segan atlas"
    psi: float = 1.0

    def sweep(self, entry: AtlasSlider) -> str:
        """Sweeps the slider, by its name where it has one."""
        what = ["--at", str(entry.slider)]
        if entry.name is not None and not entry.name.startswith("-"):
            what = ["--attr", entry.name]
        if self.label is not None:
            what += ["--class", self.label]
        if self.psi != 1:
            what += ["--psi", f"{self.psi:g}"]
        return shlex.join(["segan", "sweep", *self._bundle(), *what])

    def namer(self, entry: AtlasSlider) -> str:
        """What comes before the new name."""
        return shlex.join(["segan", "name", *self._bundle(), str(entry.slider)])

    @property
    def suffix(self) -> str:
        """What comes after it."""
        return shlex.join(["-o", self.copy]) if self.copy else ""

    def name(self, entry: AtlasSlider) -> str:
        """Names the slider, as was proposed; the reader fills in NAME where nothing was."""
        low, high = (f"{value:.3g}" for value in (entry.values[0], entry.values[-1]))
        name = entry.name or (entry.proposal.name if entry.proposal else "NAME")
        words = [self.namer(entry), shlex.quote(name), f"--range={low},{high}", self.suffix]
        return " ".join(word for word in words if word)

    def _bundle(self) -> list[str]:
        return [self.bundle] if self.bundle else []


def render_page(atlas: Atlas, commands: PageCommands, sheets: Sequence[str], side: int) -> str:
    """The page's HTML. Every text that a user may have chosen is escaped.

    Args:
        atlas: what was measured.
        commands: to copy.
        sheets: the sheets' paths within the folder.
        side: of one picture in a strip, in pixels.
    """
    template = string.Template((_HERE / "page.html").read_text(encoding="utf-8"))
    manifest, config = atlas.manifest, atlas.config
    samples = min(16, len(atlas.samples))
    cols = min(8, samples)
    layers = sorted({entry.slider.layer for entry in atlas.sliders})
    count = len(atlas.sliders)
    cards = _Cards(atlas, commands, side)
    return template.substitute(
        title=_text(f"{manifest.name}: an atlas of {_count(count, 'slider')}"),
        style=(_HERE / "page.css").read_text(encoding="utf-8"),
        script=(_HERE / "page.js").read_text(encoding="utf-8"),
        name=_text(manifest.name),
        lead=_text(_lead(atlas)),
        facts="".join(f"<li>{_text(fact)}</li>" for fact in _facts(atlas)),
        command=_words(commands.made_by),
        copy=_COPY,
        samples_alt=_text(f"{samples} images of {manifest.name} with nothing moved"),
        samples_width=cols * side,
        samples_height=samples // cols * side,
        notes="".join(f'<p class="note">{_text(note)}</p>' for note in _notes(atlas)),
        plot=overview_plot(atlas),
        legend="".join(
            f'<li><i style="background:{layer_colour(layers.index(layer), len(layers))}"></i>'
            f"{_text(_layer_text(manifest, layer))}</li>"
            for layer in layers
        ),
        layers="".join(
            f'<label><input type="checkbox" value="{layer}">layer {layer}</label>'
            for layer in layers
        ),
        count=f"{count} of {count}",
        cards="\n".join(cards.card(entry) for entry in atlas.sliders),
        seed=config.seeds[0],
        sheets="".join(f'<li><a href="{_text(s)}">{_text(Path(s).stem)}</a></li>' for s in sheets),
        remark=_text(f"Names: {atlas.remark}") if atlas.remark else "",
        dead=f"{DEAD_BELOW:g}",
        threshold=f"{DUPLICATE_FROM:g}",
    )


def _lead(atlas: Atlas) -> str:
    alive = [entry for entry in atlas.sliders if not entry.figures.dead]
    named = sum(entry.name is not None for entry in atlas.sliders)
    duplicates = sum(not entry.leads for entry in alive)
    parts = [f"{_count(len(atlas.sliders), 'slider')}, {named} of them named"]
    if duplicates:
        parts.append(_count(duplicates, "near-duplicate"))
    if len(alive) < len(atlas.sliders):
        parts.append(f"{len(atlas.sliders) - len(alive)} dead")
    return f"What each slider does to a picture: {', '.join(parts)}."


def _facts(atlas: Atlas) -> list[str]:
    manifest, config = atlas.manifest, atlas.config
    resolution = manifest.resolution
    facts = [
        f"{resolution} × {resolution}",
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
            "change the first two seeds most; --max sets how many."
        )
    if atlas.hidden:
        notes.append(f"{_count(atlas.hidden, 'slider')} left out as hidden; --hidden shows them.")
    return notes


class _Cards:
    """Writes a card for each slider."""

    def __init__(self, atlas: Atlas, commands: PageCommands, side: int) -> None:
        self._commands, self._side = commands, side
        self._strongest = max((e.figures.effect for e in atlas.sliders), default=0) or 1.0
        self._names = {e.slider: e.name or str(e.slider) for e in atlas.sliders}
        places = sorted(self._names)
        self._place = {slider: number for number, slider in enumerate(places)}
        seeds = [str(seed) for seed in atlas.config.seeds[: atlas.config.shown]]
        if atlas.labels:
            seeds = [f"{s} ({c})" for s, c in zip(seeds, atlas.labels, strict=False)]
        self._seeds = ", ".join(seeds)

    def card(self, entry: AtlasSlider) -> str:
        """One slider."""
        figures, slider = entry.figures, str(entry.slider)
        rows, steps = entry.images.shape[:2]
        called = entry.name or slider
        low, high = value_label(entry.values[0]), value_label(entry.values[-1])
        strip_alt = f"{called} from {low} to {high} on seeds {self._seeds}, a row each"
        proposed = entry.proposal.name if entry.proposal else ""
        data = {
            "rank": entry.rank,
            "place": self._place[entry.slider],
            "layer": entry.slider.layer,
            "name": entry.name or "",
            "proposed": proposed,
            "text": f"{slider} {entry.name or ''} {proposed}".lower(),
            **{key: f"{getattr(figures, key):.5f}" for key in _SORTED},
            "dead": int(figures.dead),
            "leads": int(entry.leads),
            "hidden": int(entry.hidden),
            "steps": steps,
            "rows": rows,
            "values": " ".join(f"{value:.3g}" for value in entry.values),
            "namer": self._commands.namer(entry),
            "suffix": self._commands.suffix,
        }
        attributes = " ".join(f'data-{key}="{_text(value)}"' for key, value in data.items())
        place = f'<span class="place">{slider}</span>' if entry.name else ""
        heat = "Nothing changes" if figures.dead else f"Where {called} changes the image"
        return (
            f'<article class="card{" dead" * figures.dead}" id="{slider}" {attributes}>\n'
            f'<header><span class="rank">{entry.rank}</span><h3>{_text(called)}</h3>{place}'
            f"{self._badges(entry)}</header>\n"
            f'<button type="button" class="strip" title="Open, and move it">'
            f'<img src="strips/{slider}.webp" alt="{_text(strip_alt)}" loading="lazy" '
            f'width="{steps * self._side}" height="{rows * self._side}"></button>\n'
            f'<p class="scale"><span>{low}</span><span>{high}</span></p>\n'
            f'<div class="facts"><img src="heat/{slider}.webp" alt="{_text(heat)}" '
            f'loading="lazy" width="128" height="128">{self._bars(entry)}</div>\n'
            f"{self._mates(entry)}"
            f"{_command(self._commands.sweep(entry))}{_command(self._commands.name(entry))}"
            "</article>"
        )

    def _badges(self, entry: AtlasSlider) -> str:
        badges = []
        if entry.figures.dead:
            badges.append('<span class="badge">dead</span>')
        if entry.hidden:
            badges.append('<span class="badge">hidden</span>')
        if not entry.leads:
            badges.append('<span class="badge">near-duplicate</span>')
        proposal = entry.proposal
        if proposal is not None and entry.name is None:
            badges.append(
                f'<span class="badge proposed" title="{_text(proposal.reason)}">'
                f"{_text(proposal.name)}? {proposal.confidence:.0%}</span>"
            )
        return "".join(badges)

    def _bars(self, entry: AtlasSlider) -> str:
        rows = []
        for key in _SHOWN:
            value = getattr(entry.figures, key)
            share = value / self._strongest if key == "effect" else max(0.0, value)
            strong = " strong" if key in ("effect", "locality") else ""
            rows.append(
                f'<dt>{key}</dt><dd class="bar{strong}"><i style="width:{100 * share:.1f}%"></i>'
                f"</dd><dd>{value:.2f}</dd>"
            )
        return f'<dl class="bars">{"".join(rows)}</dl>'

    def _mates(self, entry: AtlasSlider) -> str:
        if entry.mates:
            links = ", ".join(self._link(slider, alike) for slider, alike in entry.mates)
            return f'<p class="mates">Near-duplicates: {links}</p>\n'
        if entry.nearest is None:
            return ""
        return f'<p class="mates">Most like {self._link(*entry.nearest)}</p>\n'

    def _link(self, slider: Slider, alike: float) -> str:
        return f'<a href="#{slider}">{_text(self._names[slider])}</a> ({alike:+.2f})'


_SHOWN = ("effect", "locality", "consistency", "straightness", "monotonicity")
_SORTED = ("effect", "locality", "consistency", "straightness")


def _layer_text(manifest: Manifest, layer: int) -> str:
    resolution = next(site.resolution for site in manifest.sites if site.layer == layer)
    return f"layer {layer}, {resolution} × {resolution}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _text(value: object) -> str:
    return html.escape(str(value), quote=True)


def _words(command: str) -> str:
    """A command whose lines break between words, not after the hyphens of an option."""
    return " ".join(f"<span>{_text(word)}</span>" for word in command.split(" "))


def _command(command: str) -> str:
    return f'<div class="command"><code>{_words(command)}</code>{_COPY}</div>\n'
