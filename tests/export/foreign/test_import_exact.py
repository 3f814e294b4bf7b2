"""Imported generators make the images of the original architectures, restated in this folder."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch; the bare environment has none")

from segan.export.foreign.load import ImportedGenerator, load_foreign  # noqa: E402
from segan.export.importer import ImportConfig, import_model  # noqa: E402
from segan.runtime.errors import CheckpointError, ConfigError, VerifyError  # noqa: E402

if TYPE_CHECKING:
    from tests.conftest import RaisesError

ADA: dict[str, dict[str, Any]] = {
    "skip": {},
    "residual": {"architecture": "resnet"},
    "original": {"architecture": "orig"},
    "conditional": {"c_dim": 4, "embed": 5, "hidden": 7, "layers": 3},
    "clamped": {"clamp": 0.8},
    "clamped residual": {"architecture": "resnet", "clamp": 0.6},
    "two taps": {"taps": (1, 1)},
    "three uneven taps": {"taps": (1, 2, 4), "architecture": "resnet"},
    "one tap": {"taps": (1,)},
    "six taps": {"taps": (1, 5, 10, 10, 5, 1)},
    "nine taps": {"taps": (1, 2, 3, 4, 5, 4, 3, 2, 9)},
    "no noise": {"use_noise": False},
    "grey, another learning rate": {"img_channels": 1, "lr": 0.1},
}


@pytest.fixture(autouse=True)
def _seeded() -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        yield


def _write(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "model.bin"
    path.write_bytes(data)
    return path


def _images(imported: ImportedGenerator, z: Any, c: Any, psi: float, noise: str) -> Any:
    generator = imported.generator
    constant = generator.synthesis.noise_const() if noise == "const" else None
    with torch.inference_mode():
        return generator(z, c, psi=psi, noise=constant)


@pytest.mark.parametrize("name", ADA)
def test_ada(name: str, tmp_path: Path, foreign_models: ModuleType) -> None:
    original = foreign_models.make_ada(**ADA[name])
    imported = load_foreign(_write(tmp_path, foreign_models.ada_bytes(original)))
    z = torch.randn(3, original.z_dim)
    c = torch.eye(original.c_dim)[torch.tensor([0, 2, 3])] if original.c_dim else None
    for psi in (1.0, 0.5):
        for noise in ("const", "none"):
            expected = foreign_models.ada_forward(original, z, c, psi=psi, noise=noise)
            found = _images(imported, z, c, psi, noise)
            assert found.shape == expected.shape
            assert expected.std() > 0.05
            assert (found - expected).abs().max() < 2e-5 * max(1.0, float(expected.abs().max()))


def test_ada_without_a_mean(tmp_path: Path, foreign_models: ModuleType) -> None:
    original = foreign_models.make_ada(w_avg=False, w_dim=3)
    imported = load_foreign(_write(tmp_path, foreign_models.ada_bytes(original)))
    z = torch.randn(50_000, original.z_dim)
    mean = imported.generator.mapping(z).mean(dim=0)
    assert (imported.generator.w_avg - mean).abs().max() < 0.05 * mean.abs().max()
    assert any("mean of w" in note for note in imported.notes)


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("taps", [(1, 3, 3, 1), (1, 2, 1), (1, 4, 6, 4, 1)])
def test_rosinality(old: bool, taps: Any, tmp_path: Path, foreign_models: ModuleType) -> None:
    state = foreign_models.make_rosinality(taps=taps)
    mean = torch.randn(1, 8)
    content = {"g": {k: v * 0 for k, v in state.items()}, "g_ema": state, "latent_avg": mean}
    data = foreign_models.checkpoint_bytes(content, old=old)
    imported = load_foreign(_write(tmp_path, data))
    z = torch.randn(3, 8)
    for psi in (1.0, 0.5):
        for noise in ("const", "none"):
            expected = foreign_models.rosinality_forward(state, z, mean, psi=psi, noise=noise)
            found = _images(imported, z, None, psi, noise)
            assert expected.std() > 0.05
            assert (found - expected).abs().max() < 2e-5 * max(1.0, float(expected.abs().max()))


@pytest.mark.parametrize("key", ["G_ema", "G", "state_dict", "model", None])
@pytest.mark.parametrize("architecture", ["skip", "resnet"])
def test_ada_as_tensors(
    key: str | None, architecture: str, tmp_path: Path, foreign_models: ModuleType
) -> None:
    """``torch.save({"G_ema": G.state_dict()})`` of the original layout."""
    original = foreign_models.make_ada(architecture=architecture)
    state = original.state_dict()
    data = foreign_models.checkpoint_bytes({key: state} if key else dict(state))
    imported = load_foreign(_write(tmp_path, data))
    z = torch.randn(3, original.z_dim)
    for psi in (1.0, 0.5):
        expected = foreign_models.ada_forward(original, z, psi=psi, noise="const")
        found = _images(imported, z, None, psi, "const")
        assert (found - expected).abs().max() < 2e-5 * max(1.0, float(expected.abs().max()))
    assert imported.provenance["imported"]["weights"] == (key or "the file's")


def test_the_clamp_that_tensors_do_not_state(
    tmp_path: Path, foreign_models: ModuleType, raises_error: RaisesError
) -> None:
    original = foreign_models.make_ada(clamp=0.7)
    path = _write(tmp_path, foreign_models.checkpoint_bytes({"G_ema": original.state_dict()}))
    z = torch.randn(3, original.z_dim)
    expected = foreign_models.ada_forward(original, z, psi=1.0, noise="const")
    without = load_foreign(path)
    assert any("conv_clamp" in note for note in without.notes)
    assert (_images(without, z, None, 1.0, "const") - expected).abs().max() > 0.1
    stated = load_foreign(path, conv_clamp=0.7)
    assert not any("conv_clamp" in note for note in stated.notes)
    found = _images(stated, z, None, 1.0, "const")
    assert (found - expected).abs().max() < 2e-5 * max(1.0, float(expected.abs().max()))
    for value in (0.0, float("nan")):
        with raises_error(ConfigError, field="conv_clamp", value=value):
            load_foreign(path, conv_clamp=value)
    path.write_bytes(foreign_models.ada_bytes(original))
    with raises_error(ConfigError, field="conv_clamp", value=256.0):
        load_foreign(path, conv_clamp=256.0)
    path.write_bytes(foreign_models.checkpoint_bytes({"g_ema": foreign_models.make_rosinality()}))
    with raises_error(ConfigError, field="conv_clamp", value=256.0):
        load_foreign(path, conv_clamp=256.0)


def test_a_run_of_segan_states_its_own_clamp(tmp_path: Path, raises_error: RaisesError) -> None:
    config = ImportConfig(conv_clamp=256.0)
    with raises_error(ConfigError, field="conv_clamp", value=256.0):
        import_model(tmp_path, tmp_path / "a.segan", config)


#: Forms of latent_avg: one mean (pSp), the same in each row (e4e), and rows that differ.
MEANS: dict[str, Any] = {
    "one": lambda: torch.randn(8),
    "one row": lambda: torch.randn(1, 8),
    "alike": lambda: torch.randn(8).repeat(6, 1),
    "alike, for a larger image": lambda: torch.randn(8).repeat(18, 1),
    "rows": lambda: torch.randn(6, 8),
    "rows of a batch": lambda: torch.randn(1, 6, 8),
}


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("kind", MEANS)
def test_psp(kind: str, old: bool, tmp_path: Path, foreign_models: ModuleType) -> None:
    """The decoder of pSp, e4e and ReStyle is rosinality's generator."""
    state, mean = foreign_models.make_rosinality(), MEANS[kind]()
    whole = {"encoder.input_layer.0.weight": torch.randn(4, 3, 3, 3)}
    whole |= {f"decoder.{name}": value for name, value in state.items()}
    content = {
        "state_dict": whole,
        "latent_avg": mean,
        "opts": {"output_size": 16, "device": "cuda", "exp_dir": Path("runs")},
    }
    imported = load_foreign(_write(tmp_path, foreign_models.checkpoint_bytes(content, old=old)))
    assert imported.layout == "rosinality"
    assert imported.provenance["imported"]["weights"] == "state_dict.decoder"
    assert any("1 other tensor of" in note for note in imported.notes)
    z = torch.randn(3, 8)
    rows = mean.reshape(-1, 8)[:6].expand(6, 8)
    for psi in (1.0, 0.5, 0.0):
        for noise in ("const", "none"):
            expected = foreign_models.rosinality_forward(state, z, rows, psi=psi, noise=noise)
            found = _images(imported, z, None, psi, noise)
            assert (found - expected).abs().max() < 2e-5 * max(1.0, float(expected.abs().max()))


def test_the_mean_must_fit(
    tmp_path: Path, foreign_models: ModuleType, raises_error: RaisesError
) -> None:
    state = foreign_models.make_rosinality()
    for shape in ((7,), (5, 8), (8, 6)):
        content = {"g_ema": state, "latent_avg": torch.randn(shape)}
        path = _write(tmp_path, foreign_models.checkpoint_bytes(content))
        with raises_error(CheckpointError, problem=f"latent_avg has shape {list(shape)}"):
            load_foreign(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_named(
    value: float, tmp_path: Path, foreign_models: ModuleType, raises_error: RaisesError
) -> None:
    state = foreign_models.make_rosinality()
    for name in ("conv1.conv.weight", "noises.noise_1", "style.2.bias", "latent_avg"):
        bad = {n: v.clone() for n, v in state.items()} | {"latent_avg": torch.zeros(8)}
        bad[name].view(-1)[0] = value
        mean = bad.pop("latent_avg")
        data = foreign_models.checkpoint_bytes({"g_ema": bad, "latent_avg": mean})
        with raises_error(CheckpointError, problem=f"{name} holds 1 of") as caught:
            load_foreign(_write(tmp_path, data))
        assert "checkpoint of the run" not in str(caught.value)


@pytest.mark.slow
def test_images_that_are_not_finite(
    tmp_path: Path, foreign_models: ModuleType, raises_error: RaisesError
) -> None:
    state = foreign_models.make_rosinality()
    for name in state:
        if name.endswith(("conv.weight", "modulation.weight")):
            state[name] = state[name] * 1e25
    path = _write(tmp_path, foreign_models.checkpoint_bytes({"g_ema": state}))
    with raises_error(VerifyError, field="path", problem="model.bin: the images") as caught:
        import_model(path, tmp_path / "a.segan")
    assert "run" not in caught.value.remedy
    assert not (tmp_path / "a.segan").exists()


def test_what_is_under_a_known_key_is_said(
    tmp_path: Path, foreign_models: ModuleType, raises_error: RaisesError
) -> None:
    content = {"G_ema": {"layer.weight": torch.zeros(3)}}
    with raises_error(CheckpointError, problem="1 tensors under G_ema match no known layout"):
        load_foreign(_write(tmp_path, foreign_models.checkpoint_bytes(content)))
    other: dict[str, Any] = {"G_ema": {"lr": 3}, "epoch": "last"}
    with raises_error(CheckpointError, problem="G_ema (1 entries), epoch (a text)"):
        load_foreign(_write(tmp_path, foreign_models.checkpoint_bytes(other)))


@pytest.mark.parametrize("mode", [0, 1, 2, 3])
def test_segan_pytorch(mode: int, tmp_path: Path, foreign_models: ModuleType) -> None:
    state = foreign_models.make_segan_pytorch(mode)
    content = {"g": state, "d": {"x": torch.zeros(2)}, "g_ema": state}
    imported = load_foreign(_write(tmp_path, foreign_models.checkpoint_bytes(content)))
    generator = imported.generator
    assert generator.subspace.mode == mode
    z = torch.randn(3, 6)
    noises = [
        plane.view(size, size)
        for plane in generator.synthesis.noise_const()[0].split(
            [n for n in generator.synthesis.noise_sizes if n]
        )
        for size in [int(len(plane) ** 0.5)]
    ]
    for psi in (1.0, 0.5):
        for noise in ("const", "none"):
            expected = foreign_models.segan_pytorch_forward(
                state,
                mode,
                z,
                generator.w_avg,
                psi=psi,
                noises=noises if noise == "const" else None,
            )
            found = _images(imported, z, None, psi, noise)
            assert expected.std() > 0.05
            assert (found - expected).abs().max() < 2e-5 * max(1.0, float(expected.abs().max()))


def test_segan_pytorch_takes_g_where_g_ema_has_no_subspaces(
    tmp_path: Path, foreign_models: ModuleType
) -> None:
    state = foreign_models.make_segan_pytorch(2)
    plain = {name: value * 2 for name, value in state.items() if ".subspaces." not in name}
    data = foreign_models.checkpoint_bytes({"g": state, "g_ema": plain})
    imported = load_foreign(_write(tmp_path, data))
    assert imported.generator.subspace.mode == 2
    assert imported.provenance["imported"]["weights"] == "g"
    assert any("moving average" in note for note in imported.notes)


def test_rows_of_the_original_latents(tmp_path: Path, foreign_models: ModuleType) -> None:
    original = foreign_models.make_ada(resolution=8)
    imported = load_foreign(_write(tmp_path, foreign_models.ada_bytes(original)))
    source = imported.provenance["imported"]
    # b4: conv1, to_rgb; b8: conv0, conv1, to_rgb. A to_rgb takes the next convolution's row.
    assert source["ws_rows"] == [0, 1, 1, 2, 3]
    assert source["num_ws"] == 4


@pytest.mark.parametrize("layout", ["ada", "rosinality", "segan-pytorch"])
def test_safetensors(
    layout: str, tmp_path: Path, foreign_models: ModuleType, raises_error: RaisesError
) -> None:
    from safetensors.torch import save

    z = torch.randn(2, 8)
    if layout == "ada":
        original = foreign_models.make_ada(z_dim=8, clamp=0.7)
        state = original.state_dict()
        expected = foreign_models.ada_forward(original, z, psi=1.0, noise="const")
    elif layout == "rosinality":
        state = foreign_models.make_rosinality()
        expected = foreign_models.rosinality_forward(
            state, z, torch.zeros(8), psi=1.0, noise="const"
        )
    else:
        state = foreign_models.make_segan_pytorch(3, w_dim=8)
        expected = foreign_models.segan_pytorch_forward(state, 3, z, None, psi=1.0, noises=None)
    metadata = {"layout": layout, "conv_clamp": "0.7"}
    path = _write(tmp_path, save({k: v.contiguous() for k, v in state.items()}, metadata))
    imported = load_foreign(path, layout)
    found = _images(imported, z, None, 1.0, "none" if layout == "segan-pytorch" else "const")
    assert (found - expected).abs().max() < 2e-5 * max(1.0, float(expected.abs().max()))
    other = "ada" if layout != "ada" else "rosinality"
    with raises_error(CheckpointError, field="layout", value=other, expected=layout):
        load_foreign(path, other)


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float64"])
def test_other_precisions(kind: str, tmp_path: Path, foreign_models: ModuleType) -> None:
    state = foreign_models.make_rosinality(resolution=8)
    kept = {name: value.to(getattr(torch, kind)) for name, value in state.items()}
    data = foreign_models.checkpoint_bytes({"g_ema": kept})
    generator = load_foreign(_write(tmp_path, data)).generator
    found = generator.state_dict()["synthesis.blocks.b8.conv0.weight"]
    np.testing.assert_array_equal(found.numpy(), kept["convs.0.conv.weight"][0].float().numpy())


def test_views_of_one_storage(tmp_path: Path, foreign_models: ModuleType) -> None:
    state = foreign_models.make_rosinality(resolution=8)
    whole = torch.randn(8, 8, 3)
    state["style.1.weight"] = whole.permute(2, 1, 0)[1]
    data = foreign_models.checkpoint_bytes({"g_ema": state})
    generator = load_foreign(_write(tmp_path, data)).generator
    found = generator.state_dict()["mapping.fc0.weight"]
    np.testing.assert_array_equal(found.numpy(), state["style.1.weight"].numpy())
