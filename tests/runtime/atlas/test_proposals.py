from __future__ import annotations

from pathlib import Path

import pytest

from segan.runtime.atlas.proposals import Proposal, accept, check_proposals
from segan.runtime.bundle.attributes import read_attributes
from segan.runtime.bundle.attributes_editing import name_slider, write_attributes
from segan.runtime.bundle.layout import Slider
from segan.runtime.bundle.reader import open_bundle
from segan.runtime.errors import ConfigError


def test_accepted_names_are_written_and_read_back(toy_bundle: Path) -> None:
    bundle = open_bundle(toy_bundle)
    write_attributes(bundle, name_slider(bundle, Slider(0, 0, 0), "mine", limits=(-1, 1)))
    bundle = open_bundle(toy_bundle)
    proposals = {
        Slider(0, 0, 0): Proposal("smile", 0.99),  # has a name
        Slider(0, 0, 1): Proposal("Mine", 0.98),  # the name is taken
        Slider(1, 0, 2): Proposal("smile", 0.7, -1),
        Slider(1, 0, 3): Proposal("smile", 0.6),  # the other is surer
        Slider(2, 0, 0): Proposal("hair", 0.5),
    }
    attributes, given = accept(bundle.manifest, read_attributes(bundle), proposals)
    assert given == [Slider(1, 0, 2), Slider(2, 0, 0)]
    write_attributes(bundle, attributes)
    found = {entry.name: entry for entry in read_attributes(open_bundle(toy_bundle))}
    assert list(found) == ["mine", "smile", "hair"]
    assert found["mine"].range == (-1, 1)
    assert found["smile"].sign == -1
    assert found["smile"].range == pytest.approx((-(3**0.5), 3**0.5))
    assert found["smile"].extra == {"proposed": {"confidence": 0.7}}


def test_invalid_proposals_are_refused(toy_bundle: Path) -> None:
    manifest = open_bundle(toy_bundle).manifest
    check_proposals(manifest, {Slider(0, 0, 0): Proposal("smile", 1.0)})
    for slider, proposal, field, value in (
        (Slider(9, 0, 0), Proposal("smile", 1), "layer", 9),
        (Slider(0, 0, 0), Proposal("a=b", 1), "name", "a=b"),
        (Slider(0, 0, 0), Proposal("smile", 1.5), "confidence", 1.5),
        (Slider(0, 0, 0), Proposal("smile", 1, 0), "sign", 0),
    ):
        with pytest.raises(ConfigError) as caught:
            check_proposals(manifest, {slider: proposal})
        assert (caught.value.field, caught.value.value) == (field, value)
