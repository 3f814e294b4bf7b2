"""Generation options: their two spellings, their checks, and what a batch records of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from segan.runtime.bundle.layout import Slider
from segan.runtime.errors import ConfigError
from segan.runtime.generate.generator import Generator, load
from segan.runtime.latents.files import Latents
from segan.runtime.latents.options import (
    GenerationOptions,
    Options,
    check_count,
    options_to_json,
)

if TYPE_CHECKING:
    from tests.conftest import RaisesError


@pytest.fixture
def shifts(toy_bundle_zip: Path) -> Iterator[Generator]:
    with load(toy_bundle_zip, "cpu", threads=1) as generator:
        yield generator


def test_keyword_arguments_are_the_fields_of_the_record() -> None:
    names = [entry.name for entry in dataclasses.fields(GenerationOptions)]
    assert list(Options.__annotations__) == names


def test_every_option_but_the_batch_size_is_recorded(shifts: Generator) -> None:
    manifest = shifts.manifest
    latents = Latents(np.ones((2, manifest.num_sites, manifest.w_dim), np.float32))
    sliders: dict[Slider | str, float] = {Slider(1, 1, 2): 3, "l0n0d1": -1}
    psi_layers: dict[str | int, float] = {"0-1": 0.5, 2: 1}
    options = GenerationOptions(
        psi=1,
        cutoff=8,
        coords="zero",
        sliders=sliders,
        noise="none",
        class_index="star",
        batch_size=3,
        latents=latents,
        psi_layers=psi_layers,
        mix={"2": 9},
    )
    assert options_to_json(manifest, options) == {
        "psi": 1.0,
        "cutoff": 8,
        "coords": "zero",
        "sliders": {"L1N1D2": 3.0, "L0N0D1": -1.0},
        "noise": "none",
        "class_index": 2,
        "latents": latents.sha256(),
        "psi_layers": {"0": 0.5, "1": 0.5, "2": 1.0},
        "mix": {"2": 9},
    }


def test_options_left_alone_are_recorded_as_none(shifts: Generator) -> None:
    found = options_to_json(shifts.manifest, GenerationOptions())
    assert {name: value for name, value in found.items() if value not in (None, {})} == {
        "psi": 1.0,
        "coords": "sampled",
        "noise": "const",
    }


@pytest.mark.parametrize("value", [0, -3, 1.0, "2", None, True])
def test_what_is_no_count(value: Any, raises_error: RaisesError) -> None:
    with raises_error(ConfigError, field="steps", value=value):
        check_count("steps", value)


def test_counts_are_integers_of_any_kind() -> None:
    assert type(check_count("steps", np.int64(2), least=2)) is int


def test_latents_may_be_taken_away_and_layers_unmixed(shifts: Generator) -> None:
    manifest = shifts.manifest
    latents = Latents(np.ones((2, manifest.num_sites, manifest.w_dim), np.float32))
    settings = shifts.settings(latents=latents, mix={0: 4}, class_index=1)
    assert (settings.seed_word, settings.without_latents().seed_word) == ("latent", "seed")
    assert settings.without_latents().mixed == {0: 4}
    assert settings.unmixed().mixed == {}
    assert settings.unmixed().latents is None
