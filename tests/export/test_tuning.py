from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from segan.export import ExportConfig, export_bundle, tuning
from segan.export.graphs.lowering import LOWERINGS
from segan.export.tuning import TuneConfig, tune_lowering
from segan.runtime.errors import ConfigError
from segan.train.networks.config import NetworkConfig, SubspaceConfig
from segan.train.networks.stylegan2.generator import Generator

if TYPE_CHECKING:
    from tests.conftest import RaisesError

QUICK = TuneConfig(backend="cpu", batch=1, rounds=1, seconds=0.001)
DEFAULT: Any = {"b8.conv0": "transposed", "b16.conv0": "transposed"}


@pytest.fixture
def generator() -> Generator:
    torch.manual_seed(0)
    network = NetworkConfig(resolution=16, z_dim=8, w_dim=8, channel_max=8)
    return Generator(network, SubspaceConfig(mode=2)).eval().requires_grad_(False)


def test_every_form_of_every_site_is_timed(generator: Generator) -> None:
    sites: list[str] = []
    found = tune_lowering(generator, DEFAULT, QUICK, on_site=sites.append)
    assert sites == ["b8.conv0", "b16.conv0"] == list(found.milliseconds)
    assert (found.backend, found.precision, found.batch) == ("cpu", "fp32", 1)
    for times in found.milliseconds.values():
        assert list(times) == list(LOWERINGS)
        assert all(0 < time < 10_000 for time in times.values())


@pytest.mark.parametrize(
    ("times", "taken"),
    [
        ({"transposed": 1.0, "subpixel": 0.5, "folded": 0.7}, "subpixel"),
        ({"transposed": 1.0, "subpixel": 1.5, "folded": 0.7}, "folded"),
        ({"transposed": 1.0, "subpixel": 0.98, "folded": 2.0}, "transposed"),
        # The margin is 3 % of the default form's time, whatever the unit.
        ({"transposed": 1.0, "subpixel": 0.9701, "folded": 2.0}, "transposed"),
        ({"transposed": 1.0, "subpixel": 0.9699, "folded": 2.0}, "subpixel"),
        ({"transposed": 40.0, "subpixel": 50.0, "folded": 38.81}, "transposed"),
        ({"transposed": 40.0, "subpixel": 50.0, "folded": 38.79}, "folded"),
        # Equal times change nothing, whatever the order of the forms.
        ({"subpixel": 1.0, "folded": 1.0, "transposed": 1.0}, "transposed"),
    ],
)
def test_the_fastest_is_taken_when_it_is_clearly_so(
    generator: Generator, monkeypatch: pytest.MonkeyPatch, times: dict[str, float], taken: str
) -> None:
    monkeypatch.setattr(tuning, "_time_site", lambda *_: times)
    assert set(tune_lowering(generator, DEFAULT, QUICK).lowering.values()) == {taken}


def test_the_manifest_tells_what_was_chosen_and_why(
    generator: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = {"transposed": 3.0, "subpixel": 2.0, "folded": 1.0}
    monkeypatch.setattr(tuning, "_time_site", lambda *_: times)
    manifest = export_bundle(generator, tmp_path / "a.segan", ExportConfig(tune=QUICK)).manifest
    assert set(manifest.lowering.values()) == {"folded"}
    assert manifest.provenance["tuning"] == {
        "backend": "cpu",
        "precision": "fp32",
        "batch": 1,
        "milliseconds": {"b8.conv0": times, "b16.conv0": times},
    }


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"batch": 0}, "1 or more"),
        ({"rounds": 0}, "1 or more"),
        ({"precision": "fp16"}, "one of auto, fp32, bf16"),
        ({"seconds": 0.0}, "more than 0"),
    ],
)
def test_wrong_settings(settings: dict[str, Any], expected: str, raises_error: RaisesError) -> None:
    ((field, value),) = settings.items()
    with raises_error(ConfigError, field=field, value=value, expected=expected):
        TuneConfig(**settings)


def test_a_form_and_tuning_exclude_each_other(
    generator: Generator, raises_error: RaisesError
) -> None:
    with raises_error(ConfigError, field="tune", value=QUICK, problem="`lowering`"):
        ExportConfig(tune=QUICK, lowering="folded")
    with pytest.raises(ConfigError, match="gpu"):
        tune_lowering(generator, DEFAULT, TuneConfig(backend="gpu"))
