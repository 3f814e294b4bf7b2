"""A run that starts with another's weights."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from segan.runtime.errors import CheckpointError, ConfigError
from segan.runtime.files.atomic import sha256_file
from segan.train.data.dataset import ImageDataset, build_dataset
from segan.train.loop.resume import resume_point
from segan.train.loop.step import TrainingState
from segan.train.loop.transfer import Source, Transfer, open_source, starting_from, take_weights
from segan.train.networks.config import SubspaceConfig
from segan.train.networks.stylegan2.resample import fir_kernel, upsample2d
from segan.train.runs.checkpoint import list_checkpoints, load_generator, read_meta
from segan.train.runs.config import TrainConfig
from segan.train.runs.tensors import read_tensors, write_tensors
from tests.train.whole_runs import CPU, assert_same_weights, go_on, train

Config = Callable[..., TrainConfig]


def at(config: TrainConfig, **network: int | str) -> TrainConfig:
    """The configuration with other shapes."""
    changed = msgspec.structs.replace(config.network, **network)
    return msgspec.structs.replace(config, network=changed)


def fresh(config: TrainConfig, source: Source) -> TrainingState:
    """A state from another seed than the run's, so that nothing is equal by chance."""
    return TrainingState(msgspec.structs.replace(starting_from(source, config), seed=7), CPU)


def started(config: TrainConfig, checkpoint: Path) -> tuple[TrainingState, Transfer]:
    source = open_source(checkpoint)
    state = fresh(config, source)
    return state, take_weights(state, source)


@pytest.fixture
def larger_data(small_data: ImageDataset) -> ImageDataset:
    """The small data at 16²."""
    images = np.stack([small_data.images[i] for i in range(len(small_data))])
    return build_dataset("large squares", images.repeat(2, 2).repeat(2, 3))


def checkpoint_of(tmp_path: Path, config: TrainConfig, data: ImageDataset) -> Path:
    return list_checkpoints(train(tmp_path / "first", config, data))[-1]


def test_between_equal_networks_every_weight_is_taken_and_no_progress(
    tmp_path: Path, small_config: Config, small_data: ImageDataset
) -> None:
    checkpoint = checkpoint_of(tmp_path, small_config(), small_data)
    state, transfer = started(small_config(), checkpoint)
    assert transfer.new_parts == ()
    trained = read_tensors(checkpoint / "training.safetensors")
    for name, network in (("generator", state.generator), ("discriminator", state.discriminator)):
        for key, value in network.state_dict().items():
            assert torch.equal(value, trained[f"{name}.{key}"]), key
    average = read_tensors(checkpoint / "generator.safetensors")
    for key, value in state.ema.state_dict().items():
        assert torch.equal(value, average[key]), key
    assert torch.equal(state.pl_mean, trained["pl_mean"])
    assert (state.step, state.cur_nimg, len(state.optimizer_g.state)) == (0, 0, 0)


@pytest.mark.parametrize("mode", [0, 1, 2, 3])
@pytest.mark.parametrize("kind", ["eigen", "diagonal"])
def test_a_grown_generator_makes_the_smaller_ones_images(
    mode: int, kind: str, tmp_path: Path, small_config: Config, small_data: ImageDataset
) -> None:
    """Without the new block's own contribution the image is the old one, enlarged."""
    config = small_config(mode=mode, kind=kind, metric_images=0)
    checkpoint = checkpoint_of(tmp_path, config, small_data)
    old = load_generator(checkpoint).generator
    state, _ = started(at(config, resolution=16), checkpoint)
    new = state.ema
    last = new.synthesis.block_list()[-1].to_rgb
    assert last is not None
    last.weight.zero_()
    last.bias.zero_()
    for name, value in new.state_dict().items():
        if name == "synthesis.bases.b16_to_rgb.basis":  # mode 1 shifts this image too
            value.zero_()
    random = torch.Generator().manual_seed(3)
    z = torch.randn(5, 8, generator=random)
    rows = old.coords_shape[0]
    coords = torch.randn(5, *new.coords_shape, generator=random)
    with torch.no_grad():
        expected = upsample2d(old(z, coords=coords[:, :rows] if rows else None), fir_kernel())
        made = new(z, coords=coords if rows else None)
    assert torch.allclose(made, expected, atol=1e-5)


def test_what_is_new_is_named_and_the_head_keeps_what_it_knows(
    tmp_path: Path, small_config: Config, small_data: ImageDataset
) -> None:
    checkpoint = checkpoint_of(tmp_path, small_config(), small_data)
    source = open_source(checkpoint)
    state = fresh(at(small_config(), resolution=16), source)
    before = state.discriminator.coords
    assert before is not None
    drawn = before.weight[6:].clone()
    transfer = take_weights(state, source)
    # All channels are 8, so the layer that reads colours is the same at both resolutions.
    assert transfer.new_parts == ("subspace L2N0", "generator b16", "discriminator b16")
    trained = read_tensors(checkpoint / "training.safetensors")
    assert torch.equal(before.weight[:6], trained["discriminator.coords.weight"])
    assert torch.equal(before.bias[:6], trained["discriminator.coords.bias"])
    assert torch.equal(before.weight[6:], drawn)


def test_it_shrinks_too(
    tmp_path: Path, small_config: Config, small_data: ImageDataset, larger_data: ImageDataset
) -> None:
    checkpoint = checkpoint_of(tmp_path, at(small_config(), resolution=16), larger_data)
    state, transfer = started(small_config(), checkpoint)
    assert transfer.new_parts == ()
    assert state.discriminator.coords is not None
    trained = read_tensors(checkpoint / "training.safetensors")
    assert torch.equal(
        state.discriminator.coords.weight, trained["discriminator.coords.weight"][:6]
    )


def test_rows_are_matched_by_their_site(
    tmp_path: Path, small_config: Config, small_data: ImageDataset
) -> None:
    """In the residual architecture the row of to_rgb moves when the network grows."""
    subspace = SubspaceConfig(dims=3, placement="all")
    config = at(small_config(subspace=subspace, metric_images=0), architecture="residual")
    checkpoint = checkpoint_of(tmp_path, config, small_data)
    state, transfer = started(at(config, resolution=16), checkpoint)
    names = [config.network.sites[row.site].name for row in subspace.table(config.network)]
    assert names == ["b4.conv1", "b8.conv0", "b8.conv1", "b8.to_rgb"]
    grown = [state.config.network.sites[row.site].name for row in state.generator.table]
    assert grown == ["b4.conv1", "b8.conv0", "b8.conv1", "b16.conv0", "b16.conv1", "b16.to_rgb"]
    assert transfer.new_parts[:3] == ("subspace L2N0", "subspace L2N1", "subspace L2N2")
    old = load_generator(checkpoint).generator.state_dict()
    new = state.ema.state_dict()
    for row in range(3):
        assert torch.equal(new[f"subspaces.{row}.basis"], old[f"subspaces.{row}.basis"])
    assert not torch.equal(new["subspaces.3.basis"], old["subspaces.3.basis"])


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ({"mode": 0}, {"mode": 2}),
        ({"mode": 1}, {"mode": 2}),
        ({"mode": 2}, {"mode": 1}),
        ({"mode": 2, "kind": "diagonal"}, {"mode": 2}),
        ({"mode": 1, "kind": "diagonal"}, {"mode": 1}),
        ({"mode": 2}, {"subspace": SubspaceConfig(dims=2)}),
    ],
)
def test_other_subspaces_begin_anew(
    first: dict[str, str],
    then: dict[str, str],
    tmp_path: Path,
    small_config: Config,
    small_data: ImageDataset,
) -> None:
    checkpoint = checkpoint_of(tmp_path, small_config(metric_images=0, **first), small_data)
    source = open_source(checkpoint)
    state = fresh(small_config(**then), source)
    drawn = {name: value.clone() for name, value in state.generator.state_dict().items()}
    transfer = take_weights(state, source)
    # In mode 1 the bases lie in the synthesis network, and its blocks are not new for that.
    assert set(transfer.new_parts) == {"subspace L0N0", "subspace L1N0", "discriminator coords"}
    for name, value in state.generator.state_dict().items():
        if "subspaces." in name or "bases." in name:
            assert torch.equal(value, drawn[name]), name
    trained = read_tensors(checkpoint / "training.safetensors")
    assert torch.equal(
        state.generator.state_dict()["synthesis.blocks.b8.conv0.weight"],
        trained["generator.synthesis.blocks.b8.conv0.weight"],
    )


def test_labels_and_channels_may_differ(
    tmp_path: Path, small_config: Config, small_data: ImageDataset
) -> None:
    checkpoint = checkpoint_of(tmp_path, small_config(), small_data)
    state, transfer = started(at(small_config(c_dim=2), img_channels=1), checkpoint)
    assert torch.equal(state.ema.w_avg, torch.zeros(8))  # that of another mapping is of no use
    assert set(transfer.new_parts) == {
        "generator mapping",
        "generator b4.to_rgb",
        "generator b8.to_rgb",
        "discriminator from_rgb",
        "discriminator out",
        "discriminator embed",
    }


def test_layers_of_other_shapes_are_refused_by_name(
    tmp_path: Path, small_config: Config, small_data: ImageDataset
) -> None:
    checkpoint = checkpoint_of(tmp_path, small_config(), small_data)
    wider = at(small_config(), channel_max=16, mapping_layers=3)
    with pytest.raises(
        ConfigError, match="mapping_layers: 2, now 3; channels at 8²: 8, now 16; channels at 4²: 8"
    ):
        starting_from(open_source(checkpoint), wider)
    # What differs above both resolutions does not matter.
    same = at(small_config(), channel_base=64, channel_max=8)
    assert starting_from(open_source(checkpoint), same).initial_sha256


def test_a_damaged_checkpoint_is_refused(
    tmp_path: Path, small_config: Config, small_data: ImageDataset
) -> None:
    checkpoint = checkpoint_of(tmp_path, small_config(), small_data)
    path = checkpoint / "training.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="altered or truncated"):
        open_source(checkpoint)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pl_mean": None}, "pl_mean is \\[0\\], expected \\[\\]"),
        ({"discriminator.coords.bias": torch.zeros(5)}, "coords.bias is \\[5\\], expected \\[6\\]"),
        ({"discriminator.out.weight": None}, "out.weight is missing"),
        ({"generator.more": torch.zeros(2)}, "more is unknown"),
        ({"generator.w_avg": torch.full((8,), torch.nan)}, "w_avg holds a NaN or infinity"),
        ({"pl_mean": torch.tensor(torch.inf)}, "pl_mean holds a NaN or infinity"),
    ],
)
def test_other_tensors_than_the_checkpoints_own_are_refused(
    change: dict[str, torch.Tensor | None],
    message: str,
    tmp_path: Path,
    small_config: Config,
    small_data: ImageDataset,
) -> None:
    """Altered together with its record, so that the hashes agree."""
    checkpoint = checkpoint_of(tmp_path, small_config(), small_data)
    path, record = checkpoint / "training.safetensors", checkpoint / "checkpoint.json"
    tensors = read_tensors(path) | change
    write_tensors(path, {name: value for name, value in tensors.items() if value is not None})
    text = record.read_text()
    old = read_meta(checkpoint).files["training.safetensors"]
    record.write_text(text.replace(old, sha256_file(path)))
    with pytest.raises(CheckpointError, match=message):
        open_source(checkpoint)


def test_the_average_keeps_its_half_life_unless_layers_are_new(
    tmp_path: Path, small_config: Config, small_data: ImageDataset
) -> None:
    source = open_source(checkpoint_of(tmp_path, small_config(), small_data))
    state = fresh(small_config(), source)
    assert state.config.ema_rampup == 0
    take_weights(state, source)
    with torch.no_grad():
        for value in state.generator.parameters():
            value.add_(1)
    state._update_ema()
    # One batch of 4 images at a half-life of 10,000.
    moved = state.ema.mapping.state_dict()["fc0.bias"] - source.average["mapping.fc0.bias"]
    expected = 1 - 0.5 ** (4 / 10_000)
    gap = source.generator["mapping.fc0.bias"] + 1 - source.average["mapping.fc0.bias"]
    torch.testing.assert_close(moved, gap * expected, rtol=1e-2, atol=1e-6)
    for grown in (at(small_config(), resolution=16), small_config(mode=0)):
        assert (starting_from(source, grown).ema_rampup == 0) == (grown.subspace.mode == 0)


def test_classes_of_other_names_are_learned_anew(
    tmp_path: Path, small_config: Config, small_data: ImageDataset
) -> None:
    config = small_config(c_dim=2, metric_images=0)
    source = open_source(checkpoint_of(tmp_path, config, small_data))
    state = fresh(config, source)
    assert take_weights(state, source, ("even", "odd")).new_parts == ()
    state = fresh(config, source)
    transfer = take_weights(state, source, ("cat", "dog"))
    assert transfer.new_parts == ("generator mapping", "discriminator embed")
    # The average must not show the classes as they were drawn, either.
    assert starting_from(source, config, ("even", "odd")).ema_rampup == 0
    assert starting_from(source, config, ("cat", "dog")).ema_rampup == config.ema_rampup > 0
    name = "embed.weight"
    assert not torch.equal(state.discriminator.state_dict()[name], source.discriminator[name])


def test_the_weights_are_those_that_the_settings_name(
    tmp_path: Path, small_config: Config, small_data: ImageDataset
) -> None:
    source = open_source(checkpoint_of(tmp_path, small_config(), small_data))
    with pytest.raises(ConfigError, match="initial_sha256 is ''; expected that of"):
        take_weights(TrainingState(small_config(), CPU), source)
    with pytest.raises(ConfigError, match="which are missing"):
        train(tmp_path / "second", starting_from(source, small_config()), small_data)


def test_from_its_first_checkpoint_on_the_run_stands_alone(
    tmp_path: Path, small_config: Config, small_data: ImageDataset, larger_data: ImageDataset
) -> None:
    checkpoint = checkpoint_of(tmp_path, small_config(), small_data)
    source = open_source(checkpoint)
    config = starting_from(source, at(small_config(), resolution=16))
    assert config.initial_sha256 == read_meta(checkpoint).sha256
    whole = train(tmp_path / "whole", config, larger_data, initial=source)
    begun = tmp_path / "begun"
    shutil.copytree(whole, begun)
    for later in list_checkpoints(begun)[1:]:
        shutil.rmtree(later)
    shutil.rmtree(tmp_path / "first")
    point = resume_point(begun)
    assert point.checkpoint is not None
    assert point.checkpoint.name == "nimg00000000"
    assert point.config.initial_sha256 == config.initial_sha256
    go_on(begun, larger_data)
    assert_same_weights(whole, begun)
