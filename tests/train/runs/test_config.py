"""Configurations: lossless, strict, and with the presets' published values."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segan.runtime.errors import ConfigError
from segan.train.networks.config import NetworkConfig, SubspaceConfig
from segan.train.runs.config import (
    AugmentConfig,
    TrainConfig,
    config_differences,
    decode_config,
    encode_config,
    show_differences,
)
from segan.train.runs.presets import PRESETS, preset

if TYPE_CHECKING:
    from tests.conftest import RaisesError

RESOLUTIONS = (8, 16, 32, 64, 128, 256, 512, 1024)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_presets_survive_json(name: str, resolution: int) -> None:
    config = preset(name, resolution=resolution, img_channels=4, c_dim=3, mode=1)
    assert decode_config(encode_config(config)) == config
    assert config.network.resolution == resolution
    assert (config.network.img_channels, config.network.c_dim) == (4, 3)
    assert config.subspace.mode == 1
    assert config.preset == name


floats = st.floats(min_value=1e-300, max_value=1e300)


@settings(max_examples=60, deadline=None)
@given(
    learning_rate=floats,
    r1_gamma=st.floats(min_value=0, max_value=1e300),
    beta2=st.floats(min_value=0, max_value=1, exclude_max=True),
    seed=st.integers(0, 2**32 - 1),
    dims=st.integers(1, 64),
    prior=st.sampled_from(["uniform", "normal"]),
    mirror=st.booleans(),
    probability=st.floats(min_value=0, max_value=1),
)
def test_any_valid_configuration_survives_json(
    learning_rate: float,
    r1_gamma: float,
    beta2: float,
    seed: int,
    dims: int,
    prior: Any,
    mirror: bool,
    probability: float,
) -> None:
    config = TrainConfig(
        learning_rate=learning_rate,
        r1_gamma=r1_gamma,
        beta2=beta2,
        seed=seed,
        mirror=mirror,
        subspace=SubspaceConfig(dims=dims, prior=prior),
        augment=AugmentConfig(mode="ada", probability=probability),
    )
    data = encode_config(config)
    assert decode_config(data) == config
    assert encode_config(decode_config(data)) == data
    assert json.loads(data)["learning_rate"] == learning_rate


def test_json_names_every_field() -> None:
    data = json.loads(encode_config(TrainConfig()))
    assert set(data) == set(TrainConfig.__struct_fields__)
    assert set(data["network"]) == set(NetworkConfig.__struct_fields__)
    assert set(data["subspace"]) == set(SubspaceConfig.__struct_fields__)
    assert set(data["augment"]) == set(AugmentConfig.__struct_fields__)


@pytest.mark.parametrize("name", PRESETS)
def test_a_file_from_before_augmentation_means_off(name: str) -> None:
    data = json.loads(encode_config(preset(name, resolution=64)))
    del data["augment"]
    config = decode_config(json.dumps(data).encode())
    assert config.augment == AugmentConfig()
    assert config.augment.mode == "off"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('{"batch_sizes": 4}', "batch_sizes"),
        ('{"network": {"depth": 4}}', r"depth.*network"),
        ('{"subspace": {"rank": 4}}', r"rank.*subspace"),
        ('{"batch_size": "4"}', "batch_size"),
        ('{"batch_size": 4.5}', "batch_size"),
        ('{"batch_size": null}', "batch_size"),
        ('{"seed": true}', "seed"),
        ('{"mirror": 1}', "mirror"),
        ('{"subspace": {"mode": 4}}', r"4.*subspace\.mode"),
        ('{"subspace": {"kind": "eigne"}}', r"eigne.*subspace\.kind"),
        ('{"augment": {"mode": "adda"}}', r"adda.*augment\.mode"),
        ('{"augment": {"p": 0.2}}', r"p.*augment"),
        ('{"augment": {"mode": "ada", "probability": 1.5}}', r"probability is 1.5.*0 to 1"),
        ('{"network": {"resolution": 48}}', r"resolution is 48.*8 to 1024"),
        ('{"batch_size": 0}', "batch_size is 0; expected 1 or more"),
        ('{"learning_rate": NaN}', "cannot be read"),
        ('{"learning_rate": 1e999}', "learning_rate"),
        ("[]", "object"),
        ("", "truncated"),
        ('{"seed": 1', "truncated"),
    ],
)
def test_a_bad_file_is_refused_with_the_field_named(text: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        decode_config(text.encode())


def test_a_file_that_is_not_text_is_refused() -> None:
    for data in (b"\xff\xfe", b'{"preset": "\xff"}', b"PK\x03\x04" + bytes(40)):
        with pytest.raises(ConfigError, match="cannot be read"):
            decode_config(data)


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("fields", "field", "expected"),
    [
        ({"seed": -1}, "seed", "0 to 4294967295"),
        ({"seed": 2**32}, "seed", "0 to 4294967295"),
        ({"batch_size": 0}, "batch_size", "1 or more"),
        ({"r1_interval": 0}, "r1_interval", "1 or more"),
        ({"pl_batch_shrink": 0}, "pl_batch_shrink", "1 or more"),
        ({"total_kimg": 0.0}, "total_kimg", "more than 0"),
        ({"learning_rate": NAN}, "learning_rate", "more than 0"),
        ({"learning_rate": INF}, "learning_rate", "more than 0"),
        ({"ema_kimg": -1.0}, "ema_kimg", "more than 0"),
        ({"kimg_per_tick": 0.0}, "kimg_per_tick", "more than 0"),
        ({"snapshot_kimg": 0.0}, "snapshot_kimg", "more than 0"),
        ({"r1_gamma": -1.0}, "r1_gamma", "0 or more"),
        ({"pl_weight": NAN}, "pl_weight", "0 or more"),
        ({"pl_interval": -1}, "pl_interval", "0 or more"),
        ({"keep_checkpoints": -1}, "keep_checkpoints", "0 or more"),
        ({"ema_rampup": -0.1}, "ema_rampup", "0 or more"),
        ({"beta1": 1.0}, "beta1", "0 to less than 1"),
        ({"beta2": NAN}, "beta2", "0 to less than 1"),
        ({"w_avg_beta": -0.1}, "w_avg_beta", "0 to less than 1"),
        ({"style_mixing": 1.1}, "style_mixing", "0 to 1"),
        ({"style_mixing": NAN}, "style_mixing", "0 to 1"),
        ({"pl_decay": 0.0}, "pl_decay", "0 to 1, not 0"),
        ({"batch_size": 1.5}, "batch_size", "type int"),
        ({"batch_size": "4"}, "batch_size", "type int"),
        ({"mirror": "yes"}, "mirror", "type bool"),
        ({"network": None}, "network", "type NetworkConfig"),
    ],
)
def test_training_values_out_of_range(
    fields: dict[str, Any], field: str, expected: str, raises_error: RaisesError
) -> None:
    value = fields.get(field, msgspec.structs.asdict(TrainConfig())[field])
    with raises_error(ConfigError, field=field, value=value, expected=expected):
        TrainConfig(**fields)


@pytest.mark.parametrize(
    ("fields", "field", "expected"),
    [
        ({"resolution": 4}, "resolution", "a power of two from 8 to 1024, such as 64"),
        ({"resolution": 48}, "resolution", "a power of two from 8 to 1024, such as 64"),
        ({"resolution": 2048}, "resolution", "a power of two from 8 to 1024, such as 64"),
        ({"resolution": 64.0}, "resolution", "type int"),
        ({"img_channels": 0}, "img_channels", "1 to 4"),
        ({"img_channels": 5}, "img_channels", "1 to 4"),
        ({"z_dim": 0}, "z_dim", "1 or more"),
        ({"w_dim": -3}, "w_dim", "1 or more"),
        ({"c_dim": -1}, "c_dim", "0 or more"),
        ({"mapping_layers": 0}, "mapping_layers", "1 or more"),
        ({"channel_max": 0}, "channel_max", "1 or more"),
        ({"mbstd_group": 0}, "mbstd_group", "1 or more"),
        ({"architecture": "skp"}, "architecture", "one of skip, residual, original"),
    ],
)
def test_network_values_out_of_range(
    fields: dict[str, Any], field: str, expected: str, raises_error: RaisesError
) -> None:
    value = fields.get(field, msgspec.structs.asdict(NetworkConfig())[field])
    with raises_error(ConfigError, field=field, value=value, expected=expected):
        NetworkConfig(**fields)


@pytest.mark.parametrize(
    ("fields", "field", "expected"),
    [
        ({"mode": 4}, "mode", "one of 0, 1, 2, 3"),
        ({"mode": -1}, "mode", "one of 0, 1, 2, 3"),
        ({"kind": "eigne"}, "kind", "one of eigen, diagonal"),
        ({"placement": "some"}, "placement", "one of first, all"),
        ({"prior": "zero"}, "prior", "one of uniform, normal"),
        ({"dims": 0}, "dims", "1 or more"),
        ({"importance_init": -1.0}, "importance_init", "0 or more"),
        ({"orthonormality_weight": INF}, "orthonormality_weight", "0 or more"),
        ({"information_weight": NAN}, "information_weight", "0 or more"),
    ],
)
def test_subspace_values_out_of_range(
    fields: dict[str, Any], field: str, expected: str, raises_error: RaisesError
) -> None:
    value = fields.get(field, msgspec.structs.asdict(SubspaceConfig())[field])
    with raises_error(ConfigError, field=field, value=value, expected=expected):
        SubspaceConfig(**fields)


@pytest.mark.parametrize(
    ("fields", "field", "expected"),
    [
        ({"mode": "on"}, "mode", "one of off, fixed, ada"),
        ({"mode": "ada", "probability": -0.1}, "probability", "0 to 1"),
        ({"mode": "ada", "probability": 1.1}, "probability", "0 to 1"),
        ({"mode": "ada", "probability": NAN}, "probability", "0 to 1"),
        ({"probability": 0.2}, "probability", "0 with augmentation off"),
        ({"mode": "fixed"}, "probability", "more than 0 with fixed augmentation"),
        ({"target": 1.0}, "target", "between -1 and 1"),
        ({"target": NAN}, "target", "between -1 and 1"),
        ({"speed_kimg": 0.0}, "speed_kimg", "more than 0"),
        ({"speed_kimg": INF}, "speed_kimg", "more than 0"),
        ({"interval": 0}, "interval", "1 or more"),
        ({"pixel": 1}, "pixel", "type bool"),
        (
            {"mode": "ada", "pixel": False, "geometric": False, "color": False},
            "mode",
            "off without pixel, geometric and color",
        ),
    ],
)
def test_augment_values_out_of_range(
    fields: dict[str, Any], field: str, expected: str, raises_error: RaisesError
) -> None:
    value = fields.get(field, msgspec.structs.asdict(AugmentConfig())[field])
    with raises_error(ConfigError, field=field, value=value, expected=expected):
        AugmentConfig(**fields)


def test_more_coordinates_than_the_style_has_dimensions(raises_error: RaisesError) -> None:
    expected = "at most w_dim, 64"
    with raises_error(ConfigError, field="subspace.dims", value=65, expected=expected):
        TrainConfig(subspace=SubspaceConfig(dims=65))


def test_preset_paper() -> None:
    """The published SEGAN's setting, and the first experiment's subspaces."""
    config = preset("paper", resolution=64)
    network, subspace = config.network, config.subspace
    assert (config.learning_rate, config.batch_size, config.r1_gamma) == (0.002, 16, 10.0)
    assert (config.r1_interval, config.pl_interval, config.pl_weight) == (16, 4, 2.0)
    assert (config.style_mixing, network.z_dim, network.w_dim) == (0.9, 64, 64)
    assert [network.channels(4 << n) for n in range(5)] == [128] * 5
    assert network.mapping_layers == 8
    assert network.architecture == "skip"
    assert config == TrainConfig()
    assert (subspace.mode, subspace.kind, subspace.dims) == (2, "eigen", 6)
    assert (subspace.placement, subspace.prior) == ("first", "uniform")
    assert (subspace.importance_init, subspace.orthonormality_weight) == (3.0, 1.0)
    assert subspace.information_weight == 0.1


@pytest.mark.parametrize(
    ("resolution", "batch", "gamma", "rate", "fmap"),
    [
        (64, 32, 0.0002 * 64**2 / 32, 0.0025, 16384),
        (256, 16, 0.0002 * 256**2 / 16, 0.0025, 16384),  # 0.8192
        (512, 8, 0.0002 * 512**2 / 8, 0.0025, 32768),  # 6.5536
        (1024, 4, 0.0002 * 1024**2 / 4, 0.002, 32768),  # 52.4288
    ],
)
def test_preset_auto_scales_as_stylegan2_ada_does_on_one_gpu(
    resolution: int, batch: int, gamma: float, rate: float, fmap: int
) -> None:
    config = preset("auto", resolution=resolution)
    assert (config.batch_size, config.learning_rate) == (batch, rate)
    assert config.r1_gamma == pytest.approx(gamma)
    assert config.ema_kimg == pytest.approx(batch * 10 / 32)
    assert config.ema_rampup == 0.05
    assert (config.network.channel_base, config.network.channel_max) == (fmap, 512)
    assert (config.network.z_dim, config.network.w_dim) == (512, 512)
    assert config.network.mapping_layers == 2
    assert config.network.mbstd_group == 4
    augment = config.augment
    assert (augment.mode, augment.probability, augment.target) == ("ada", 0.0, 0.6)
    assert (augment.speed_kimg, augment.interval) == (500.0, 4)
    assert augment.pixel
    assert augment.geometric
    assert augment.color


def test_preset_tiny_is_small_and_short() -> None:
    tiny, paper = preset("tiny", resolution=32), preset("paper", resolution=32)
    assert tiny.network.channels(32) < paper.network.channels(32)
    assert tiny.total_kimg <= 100
    assert tiny.batch_size == 8
    assert tiny.augment.mode == paper.augment.mode == "off"


def test_unknown_preset_lists_the_known(raises_error: RaisesError) -> None:
    expected = "one of tiny, paper, auto"
    with raises_error(ConfigError, field="preset", value="papr", expected=expected):
        preset("papr", resolution=64)
    with pytest.raises(ConfigError, match="resolution is 100; expected a power of two"):
        preset("paper", resolution=100)


def test_channels_never_reach_zero() -> None:
    config = NetworkConfig(resolution=1024, channel_base=100, channel_max=8)
    assert [config.channels(4 << n) for n in range(9)] == [8, 8, 6, 3, 1, 1, 1, 1, 1]


def test_differences_name_what_changed() -> None:
    old = TrainConfig()
    assert config_differences(old, TrainConfig()) == {}
    new = msgspec.structs.replace(
        old,
        learning_rate=0.001,
        subspace=SubspaceConfig(dims=4, kind="diagonal"),
        network=NetworkConfig(c_dim=2),
        augment=AugmentConfig(mode="ada"),
    )
    assert config_differences(old, new) == {
        "augment.mode": ("off", "ada"),
        "learning_rate": (0.002, 0.001),
        "network.c_dim": (0, 2),
        "subspace.dims": (6, 4),
        "subspace.kind": ("eigen", "diagonal"),
    }
    assert "subspace.dims: 6, now 4" in show_differences(config_differences(old, new))


def test_records_are_frozen() -> None:
    config = TrainConfig()
    with pytest.raises(AttributeError):
        config.batch_size = 3  # type: ignore[misc]
    assert math.isclose(config.beta2, 0.99)


def test_a_feature_basis_that_cannot_fit_is_refused(raises_error: RaisesError) -> None:
    # The published form at 512²: C·r²·w_dim numbers at every site.
    with raises_error(ConfigError, field="subspace.mode", problem="mode 1 (diagonal) at 512²"):
        TrainConfig(
            network=NetworkConfig(resolution=512),
            subspace=SubspaceConfig(mode=1, kind="diagonal"),
        )
    TrainConfig(
        network=NetworkConfig(resolution=64), subspace=SubspaceConfig(mode=1, kind="diagonal")
    )
