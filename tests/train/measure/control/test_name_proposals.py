from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from segan.runtime.bundle.layout import Slider
from segan.runtime.errors import ConfigError
from segan.runtime.generate.generator import load
from segan.train.measure.control import name_proposals
from segan.train.measure.control.attributes import OUTPUTS, READINGS
from segan.train.measure.control.name_proposals import propose_names

SMILE = next(reading for reading in READINGS if reading.name == "smile")


class Red(torch.nn.Module):
    """Reads the mean of red as ``smile``, and nothing else."""

    reference_mean = torch.zeros(1)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        return images[:, :1].mean((2, 3))

    def head(self, features: torch.Tensor) -> torch.Tensor:
        outputs = torch.zeros(len(features), OUTPUTS)
        outputs[:, SMILE.start] = -40 * features[:, 0]
        return outputs

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        assert images.shape[1:] == (3, 16, 16)
        assert -1 <= images.min() < images.max() <= 1
        return self.head(self.features(images))


def test_a_name_is_proposed_for_one_slider_and_progress_is_told(
    toy_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def load_network(resolution: int) -> tuple[Red, None]:
        asked.append(resolution)
        return Red(), None

    monkeypatch.setattr(name_proposals, "_load_network", load_network)
    totals: list[int] = []
    done: list[int] = []
    with load(toy_bundle, "cpu", threads=1) as generator:
        found, remark = propose_names(
            generator, required=True, on_total=totals.append, on_sliders=done.append
        )
    assert asked == [16]
    assert (totals, sum(done)) == ([16], 16)
    ((slider, proposal),) = found.items()
    assert isinstance(slider, Slider)
    assert (proposal.name, proposal.confidence) == ("smile", 1)
    assert "1 proposed" in remark
    assert "unknown" in remark  # the toy does not say what it learned from


def test_without_being_asked_nothing_is_an_error(toy_bundle: Path) -> None:
    with load(toy_bundle, "cpu", threads=1) as generator:
        found, remark = propose_names(generator, required=False)
    assert found == {}
    assert "None were proposed" in remark
    manifest = json.loads((toy_bundle / "manifest.json").read_bytes())
    manifest["provenance"]["checkpoint"] = {"data": "cats"}
    (toy_bundle / "manifest.json").write_text(json.dumps(manifest))
    with load(toy_bundle, "cpu", threads=1) as generator:
        _, remark = propose_names(generator, required=False)
    assert "'cats'" in remark


def test_images_that_the_network_cannot_read_are_refused(toy_bundle_zip: Path) -> None:
    with load(toy_bundle_zip, "cpu", threads=1) as generator:
        with pytest.raises(ConfigError) as caught:
            propose_names(generator, required=True)
        assert caught.value.field == "propose"
        assert "1 channel" in caught.value.problem
        assert propose_names(generator, required=False)[0] == {}
