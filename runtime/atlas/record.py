"""What an atlas holds: its settings, and every slider with its figures, pictures and place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segan.runtime.atlas.figures import Figures, Measured
from segan.runtime.atlas.proposals import Proposal, check_proposals
from segan.runtime.bundle.classes import class_number
from segan.runtime.bundle.layout import Slider
from segan.runtime.bundle.manifest import Manifest
from segan.runtime.bundle.sliders import find_slider
from segan.runtime.errors import ConfigError
from segan.runtime.latents.draws import psi_row
from segan.runtime.latents.options import check_count
from segan.runtime.latents.seeds import check_seeds

FORMAT = "segan.atlas/1"

Images = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class AtlasConfig:
    """What an atlas is made of.

    Attributes:
        seeds: what every slider is measured on, 2 or more, each once.
        shown: how many of them are drawn.
        steps: strengths over a slider's range, 3 or more.
        max_sliders: where a bundle has more, the most effective ones are taken.
        psi: truncation strength, 0 to 1.
        class_index: of a conditional bundle; None takes the classes in turn.
        hidden: whether sliders hidden by name are taken, too.
        batch_size: images computed at once.

    Raises:
        ConfigError: a number out of its range, or a seed given twice.
    """

    seeds: Sequence[int] = range(16)
    shown: int = 4
    steps: int = 7
    max_sliders: int = 96
    psi: float = 1.0
    class_index: int | str | None = None
    hidden: bool = False
    batch_size: int = 16

    def __post_init__(self) -> None:
        count, different = len(self.seeds), len(set(self.seeds))
        if count < 2:
            raise ConfigError(
                f"there {'is 1 seed' if count else 'are no seeds'}; expected 2 or more, to see "
                "what a slider does to all."
            )
        if different < count:
            raise ConfigError(
                f"of {count} seeds only {different} {'is' if different == 1 else 'are'} different; "
                "expected each once."
            )
        check_count("shown", self.shown)
        check_count("steps", self.steps, least=3)
        check_count("max_sliders", self.max_sliders)
        check_count("batch_size", self.batch_size)

    def check(self, manifest: Manifest) -> None:
        """Raises ConfigError for what does not fit a bundle: no sliders, psi, class or seeds."""
        if not manifest.subspaces:
            find_slider(manifest, 0, 0)  # Says that there are none, and what to do.
        check_seeds(self.seeds)
        psi_row(manifest.sites, self.psi, None)
        class_number(self.class_index, manifest.class_names, manifest.c_dim)


class AtlasSlider(NamedTuple):
    """One slider of an atlas.

    Attributes:
        slider: which one.
        name: its first name; None without.
        hidden: whether its name is hidden.
        values: its strengths from low to high, those of its name where it has one.
        measured: figures, heat map, difference images.
        images: uint8 [shown, steps, H, W, C].
        rank: from 1, by ``Figures.score``; dead ones last.
        nearest: the slider most like it, and how alike they are; None where there is none.
        mates: near-duplicates of it, the best first, each with its similarity.
        leads: whether it is the best of its near-duplicates, or has none.
        proposal: a name that was proposed.
    """

    slider: Slider
    name: str | None
    hidden: bool
    values: tuple[float, ...]
    measured: Measured
    images: Images
    rank: int
    nearest: tuple[Slider, float] | None
    mates: tuple[tuple[Slider, float], ...]
    leads: bool
    proposal: Proposal | None = None

    @property
    def figures(self) -> Figures:
        """What it does, in figures."""
        return self.measured.figures

    def to_json(self) -> dict[str, Any]:
        """Everything but the pictures."""
        figures = self.figures
        near = self.nearest
        return {
            "slider": str(self.slider),
            "name": self.name,
            "hidden": self.hidden,
            "range": [self.values[0], self.values[-1]],
            "rank": self.rank,
            "score": round(figures.score, 6),
            "dead": figures.dead,
            **{key: round(getattr(figures, key), 6) for key in Figures._fields if key != "span"},
            "span": [self.values[place] for place in figures.span],
            "nearest": None if near is None else {"slider": str(near[0]), "similarity": near[1]},
            "leads": self.leads,
            "duplicates": [
                {"slider": str(slider), "similarity": similarity}
                for slider, similarity in self.mates
            ],
            "proposal": None if self.proposal is None else self.proposal.to_json(),
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class Atlas:
    """All sliders of a bundle, best first.

    Attributes:
        manifest: the bundle's.
        config: what it was measured with.
        sliders: those that were measured, by rank.
        total: how many the bundle has, hidden ones among them.
        hidden: how many were left out since they are hidden.
        samples: uint8 [N, H, W, C], images of the seeds with nothing moved.
        labels: class of each seed, as text; empty for an unconditional bundle.
        remark: why names were proposed, or not; empty when nobody asked.
    """

    manifest: Manifest
    config: AtlasConfig
    sliders: tuple[AtlasSlider, ...]
    total: int
    hidden: int
    samples: Images
    labels: tuple[str, ...]
    remark: str = ""

    @property
    def left_out(self) -> int:
        """How many sliders were too weak to be among those measured."""
        return self.total - self.hidden - len(self.sliders)

    def to_json(self) -> dict[str, Any]:
        """Everything but the pictures."""
        config = self.config
        return {
            "format": FORMAT,
            "bundle": self.manifest.name,
            "seeds": [int(seed) for seed in config.seeds],
            "steps": config.steps,
            "psi": config.psi,
            "classes": list(self.labels),
            "total": self.total,
            "hidden": self.hidden,
            "left_out": self.left_out,
            "dead": sum(entry.figures.dead for entry in self.sliders),
            "proposals": self.remark,
            "sliders": [entry.to_json() for entry in self.sliders],
        }


def with_proposals(atlas: Atlas, proposals: Mapping[Slider, Proposal], remark: str = "") -> Atlas:
    """The atlas with proposed names.

    Args:
        atlas: what was measured.
        proposals: names by slider.
        remark: how they came about, or why there are none.

    Raises:
        ConfigError: a slider that does not exist, or a proposal that cannot be.
    """
    check_proposals(atlas.manifest, proposals)
    sliders = tuple(entry._replace(proposal=proposals.get(entry.slider)) for entry in atlas.sliders)
    return replace(atlas, sliders=sliders, remark=remark)
