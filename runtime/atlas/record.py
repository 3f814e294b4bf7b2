"""The data of an atlas: its settings, and each slider with its figures, images and rank."""

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
    """The settings of an atlas.

    Attributes:
        seeds: seeds that every slider is measured on, 2 or more, each once.
        shown: how many of the seeds are drawn.
        steps: strengths over a slider's range, 3 or more.
        max_sliders: most sliders to measure; the most effective ones are taken.
        psi: truncation strength, 0 to 1.
        class_index: class of a conditional bundle, by name or number; None takes them in turn.
        hidden: whether hidden sliders are included.
        batch_size: images computed at once.

    Raises:
        ConfigError: a setting is out of its range, or a seed is given twice.
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
                "1 seed is given" if count else "no seeds are given",
                field="seeds",
                value=count,
                expected="2 or more, to compare a slider's effect on different images",
            )
        if different < count:
            raise ConfigError(
                f"only {different} of {count} seeds {'is' if different == 1 else 'are'} different",
                field="seeds",
                value=count,
                expected="each seed once",
            )
        check_count("shown", self.shown)
        check_count("steps", self.steps, least=3)
        check_count("max_sliders", self.max_sliders)
        check_count("batch_size", self.batch_size)

    def check(self, manifest: Manifest) -> None:
        """Raise ConfigError if the settings do not fit a bundle, or it has no sliders."""
        if not manifest.subspaces:
            find_slider(manifest, 0, 0)  # raises: there are none
        check_seeds(self.seeds)
        psi_row(manifest.sites, self.psi, None)
        class_number(self.class_index, manifest.class_names, manifest.c_dim)


class AtlasSlider(NamedTuple):
    """One slider of an atlas.

    Attributes:
        slider: the slider.
        name: its first name; None for none.
        hidden: whether its name is hidden.
        values: its strengths from low to high, over the range of its name if it has one.
        measured: figures, heat map, difference images.
        images: uint8 [shown, steps, H, W, C].
        rank: from 1, by ``Figures.score``; dead sliders are last.
        nearest: the most similar slider and its similarity; None for none.
        mates: near-duplicates and their similarities, the best first.
        leads: whether the slider is the best of its near-duplicates, or has none.
        proposal: a proposed name; None for none.
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
        """What the slider does, in figures."""
        return self.measured.figures

    def to_json(self) -> dict[str, Any]:
        """Return everything except the images."""
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
        manifest: of the bundle.
        config: the settings of the measurement.
        sliders: the measured sliders, by rank.
        total: number of sliders of the bundle, hidden ones included.
        hidden: number of hidden sliders that were left out.
        samples: uint8 [N, H, W, C], images of the seeds with no slider set.
        labels: class of each seed, as text; empty for an unconditional bundle.
        remark: how names were proposed, or why none were; empty if none were requested.
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
        """Number of sliders with too little effect to be measured."""
        return self.total - self.hidden - len(self.sliders)

    @property
    def dead(self) -> int:
        """Number of measured sliders that do not change the image."""
        return sum(entry.figures.dead for entry in self.sliders)

    @property
    def duplicates(self) -> int:
        """Number of measured sliders that are near-duplicates of a better one."""
        return sum(not entry.leads for entry in self.sliders)

    def to_json(self) -> dict[str, Any]:
        """Return everything except the images."""
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
            "dead": self.dead,
            "proposals": self.remark,
            "sliders": [entry.to_json() for entry in self.sliders],
        }


def with_proposals(atlas: Atlas, proposals: Mapping[Slider, Proposal], remark: str = "") -> Atlas:
    """Return the atlas with proposed names.

    Args:
        atlas: what was measured.
        proposals: names by slider.
        remark: how they were found, or why there are none.

    Raises:
        ConfigError: a slider does not exist, or a proposal is invalid.
    """
    check_proposals(atlas.manifest, proposals)
    sliders = tuple(entry._replace(proposal=proposals.get(entry.slider)) for entry in atlas.sliders)
    return replace(atlas, sliders=sliders, remark=remark)
