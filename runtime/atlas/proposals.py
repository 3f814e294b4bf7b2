"""Names that somebody proposes for sliders, and how the proposals become names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from segan.runtime.bundle.attributes import Attribute, check_name, first_repeated
from segan.runtime.bundle.layout import Slider
from segan.runtime.bundle.manifest import Manifest
from segan.runtime.bundle.sliders import find_slider
from segan.runtime.errors import ConfigError


class Proposal(NamedTuple):
    """A name for a slider.

    Attributes:
        name: what it may be called.
        confidence: 0 to 1.
        sign: 1, or -1 where the coordinate falls as what the name says grows.
        reason: a short sentence with the figures behind it.
    """

    name: str
    confidence: float
    sign: int = 1
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {**self._asdict(), "confidence": round(self.confidence, 4)}


def check_proposals(manifest: Manifest, proposals: Mapping[Slider, Proposal]) -> None:
    """Raises ConfigError for a slider that does not exist, or a proposal that cannot be."""
    for slider, proposal in proposals.items():
        find_slider(manifest, slider.layer, slider.dim, slider.index)
        check_name(proposal.name, slider)
        if proposal.sign not in (1, -1) or not 0 <= proposal.confidence <= 1:
            raise ConfigError(
                f"the proposal for {slider} has sign {proposal.sign} and confidence "
                f"{proposal.confidence}; expected 1 or -1, and 0 to 1."
            )


def accept(
    manifest: Manifest,
    attributes: Iterable[Attribute],
    proposals: Mapping[Slider, Proposal],
) -> tuple[tuple[Attribute, ...], list[Slider]]:
    """The attributes with the proposed names added.

    What a user named stays as it is: a slider that has a name keeps it, and a name that is taken
    is not given again. Of two proposals of one name the more confident is accepted.

    Returns:
        (all attributes, the sliders that got a name).
    """
    kept = list(attributes)
    named = {attribute.slider for attribute in kept}
    given = []
    for slider, proposal in sorted(proposals.items(), key=lambda item: -item[1].confidence):
        _, subspace = find_slider(manifest, slider.layer, slider.dim, slider.index)
        ends = (subspace.low, subspace.high)
        entry = Attribute(
            name=proposal.name,
            layer=slider.layer,
            index=slider.index,
            dim=slider.dim,
            range=ends if proposal.sign > 0 else (-ends[1], -ends[0]),
            sign=proposal.sign,
            extra={"proposed": {"confidence": round(proposal.confidence, 4)}},
        )
        if slider in named or first_repeated([*kept, entry]) is not None:
            continue
        kept.append(entry)
        given.append(slider)
    return tuple(kept), given
