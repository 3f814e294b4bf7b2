"""Proposed names for sliders, and accepting them as names."""

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
        name: the proposed name.
        confidence: 0 to 1.
        sign: 1, or -1 if the coordinate decreases as the named attribute increases.
        reason: a short sentence with the underlying figures.
    """

    name: str
    confidence: float
    sign: int = 1
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the proposal as a JSON object."""
        return {**self._asdict(), "confidence": round(self.confidence, 4)}


def check_proposals(manifest: Manifest, proposals: Mapping[Slider, Proposal]) -> None:
    """Raise ConfigError if a slider does not exist or a proposal is invalid."""
    for slider, proposal in proposals.items():
        find_slider(manifest, slider.layer, slider.dim, slider.index)
        check_name(proposal.name, slider)
        for field, value, valid, expected in (
            ("sign", proposal.sign, proposal.sign in (1, -1), "1 or -1"),
            ("confidence", proposal.confidence, 0 <= proposal.confidence <= 1, "0 to 1"),
        ):
            if not valid:
                raise ConfigError(
                    f"the proposal for {slider} has {field} {value}",
                    field=field,
                    value=value,
                    expected=expected,
                )


def accept(
    manifest: Manifest,
    attributes: Iterable[Attribute],
    proposals: Mapping[Slider, Proposal],
) -> tuple[tuple[Attribute, ...], list[Slider]]:
    """Return the attributes with the proposed names added.

    A slider that has a name keeps it, and no name is given twice. Of two proposals of the same name
    the one with the higher confidence is accepted.

    Returns:
        (all attributes, the sliders that were named).
    """
    kept = list(attributes)
    named = {attribute.slider for attribute in kept}
    given = []
    for slider, proposal in sorted(proposals.items(), key=lambda item: -item[1].confidence):
        _, subspace = find_slider(manifest, slider.layer, slider.dim, slider.index)
        ends = (subspace.low, subspace.high)
        entry = Attribute(
            name=proposal.name,
            weights={slider: float(proposal.sign)},
            range=ends if proposal.sign > 0 else (-ends[1], -ends[0]),
            extra={"proposed": {"confidence": round(proposal.confidence, 4)}},
        )
        if slider in named or first_repeated([*kept, entry]) is not None:
            continue
        kept.append(entry)
        given.append(slider)
    return tuple(kept), given
