"""Settings by place: a new run's, a resumed run's, and those that have no effect."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from segan.runtime.errors import ConfigError
from segan.train.networks.config import SubspaceConfig
from segan.train.runs.config import TrainConfig
from segan.train.runs.presets import preset
from segan.train.runs.settings import (
    FP16_CLAMP,
    Shape,
    configure,
    reconfigure,
    replace_settings,
)

if TYPE_CHECKING:
    from tests.conftest import RaisesError

SHAPE: Shape = {"resolution": 32, "img_channels": 3, "c_dim": 0}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"subspace.mode": 0},
        {"subspace.mode": 1, "subspace.dims": 4},
        {"subspace.mode": 3, "subspace.kind": "diagonal"},
        {"augment.mode": "fixed", "augment.probability": 0.2},
        {
            "augment.mode": "ada",
            "augment.probability": 0.0,
            "augment.target": 0.5,
            "augment.speed_kimg": 100.0,
        },
        {"compute.reduced_from": 16},
        {"compute.precision": "auto", "compute.reduced_from": 32},
    ],
)
def test_settings_that_have_an_effect_are_taken(settings: dict[str, Any]) -> None:
    """Also where the device's own precision is fp32."""
    config = configure("tiny", SHAPE, settings, precision="fp32")
    expected = replace_settings(
        preset("tiny", **SHAPE),
        {place: value for place, value in settings.items() if value != "auto"},
    )
    assert config == expected


def test_a_preset_that_augments_uses_the_target() -> None:
    assert configure("auto", SHAPE, {"augment.target": 0.5}).augment.target == 0.5


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"subspace.mode": 0, "subspace.dims": 4}, "subspace.dims"),
        ({"subspace.mode": 3, "subspace.dims": 4}, "subspace.dims"),
        ({"subspace.kind": "diagonal", "subspace.dims": 4}, "subspace.dims"),
        ({"augment.probability": 0.2}, "augment.probability"),
        ({"augment.mode": "fixed", "augment.target": 0.5}, "augment.target"),
        ({"compute.precision": "fp32", "compute.reduced_from": 8}, "compute.reduced_from"),
        ({"compute.reduced_from": 12}, "compute.reduced_from"),
        ({"subspace.mode": 0, "subspace.jacobian_weight": 2.0}, "subspace.jacobian_weight"),
        ({"subspace.mode": 0, "subspace.shared_coords": 0.5}, "subspace.shared_coords"),
        ({"batch_size": 1, "subspace.shared_coords": 0.5}, "subspace.shared_coords"),
    ],
)
def test_settings_without_effect_are_refused(
    settings: dict[str, Any], field: str, raises_error: RaisesError
) -> None:
    with raises_error(ConfigError, field=field, value=settings[field]):
        configure("tiny", SHAPE, settings)


@pytest.mark.parametrize(
    ("settings", "clamp"),
    [
        ({"compute.precision": "fp16"}, FP16_CLAMP),
        ({"compute.precision": "fp16", "network.conv_clamp": 64.0}, 64.0),
        ({"compute.precision": "bf16"}, 0.0),
        ({}, 0.0),
    ],
)
def test_fp16_comes_with_a_bound_on_activations(settings: dict[str, Any], clamp: float) -> None:
    assert configure("tiny", SHAPE, settings).network.conv_clamp == clamp


def test_the_devices_precision_holds_where_none_is_given() -> None:
    for settings in ({}, {"compute.precision": "auto"}):
        assert configure("tiny", SHAPE, settings, precision="bf16").compute.precision == "bf16"
    config = configure("tiny", SHAPE, {"compute.precision": "fp32"}, precision="bf16")
    assert config.compute.precision == "fp32"


def test_settings_are_replaced_in_their_records() -> None:
    config = replace_settings(
        TrainConfig(), {"subspace.mode": 1, "subspace.dims": 4, "seed": 3, "total_kimg": 5}
    )
    assert (config.subspace.mode, config.subspace.dims, config.seed) == (1, 4, 3)
    assert isinstance(config.total_kimg, float)  # in config.json: 5.0
    assert config.network == TrainConfig().network
    whole = {"subspace.dims": 3, "subspace": SubspaceConfig(mode=1)}
    assert replace_settings(TrainConfig(), whole).subspace == SubspaceConfig(mode=1, dims=3)


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        ("subspace.dims", 0, "1 or more"),
        ("subspace.dims", 65, "at most w_dim, 64"),
        ("subspace.kind", "eigne", "one of eigen, diagonal"),
        ("compute.micro_batch", -1, "0 or more"),
        ("network.resolution", 48, "a power of two from 8 to 1024, such as 64"),
        ("network.z_dim", 1.5, "type int"),
        ("seed", -1, "0 to 4294967295"),
    ],
)
def test_an_error_names_the_place(
    place: str, value: object, expected: str, raises_error: RaisesError
) -> None:
    with raises_error(ConfigError, field=place, value=value, expected=expected):
        replace_settings(TrainConfig(), {place: value})


@pytest.mark.parametrize(
    ("place", "close"),
    [("subspace.dim", "subspace.dims"), ("lerning_rate", "learning_rate"), ("a.b.c", "")],
)
def test_a_place_that_does_not_exist(place: str, close: str, raises_error: RaisesError) -> None:
    with raises_error(ConfigError, field=place, value=1, remedy=close):
        replace_settings(TrainConfig(), {place: 1})
    with raises_error(ConfigError, field=place, value=1):
        reconfigure(TrainConfig(), {place: 1}, Path("run"))


def test_a_resumed_run_changes_few_of_its_settings(raises_error: RaisesError) -> None:
    config, run = TrainConfig(), Path("runs/0")
    changes = {"total_kimg": 5.0, "keep_checkpoints": 1, "compute.micro_batch": 8}
    changed = reconfigure(config, changes, run)
    assert changed == replace_settings(config, changes)
    assert reconfigure(config, {"seed": 0, "subspace.mode": 2}, run) == config
    with raises_error(ConfigError, field="subspace.mode", value=1, remedy="`total_kimg`"):
        reconfigure(config, {"subspace.mode": 1}, run)
    with raises_error(ConfigError, field="total_kimg", value=0.001):
        reconfigure(config, {"total_kimg": 0.001}, run)


def test_classes_may_be_named_by_their_number_or_as_a_flag(raises_error: RaisesError) -> None:
    config, run = replace_settings(TrainConfig(), {"network.c_dim": 3}), Path("run")
    for value in (3, True):
        assert reconfigure(config, {"network.c_dim": value}, run) == config
    for value in (2, False):
        with raises_error(ConfigError, field="network.c_dim", value=value):
            reconfigure(config, {"network.c_dim": value}, run)
