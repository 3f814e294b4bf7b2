from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from segan.cli.main import run

torch = pytest.importorskip("torch", reason="needs torch; the bare environment has none")

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def models() -> ModuleType:
    path = Path(__file__).parents[1] / "export" / "foreign_models.py"
    spec = importlib.util.spec_from_file_location("foreign_models", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_pickle_becomes_a_bundle_with_its_images(
    tmp_path: Path, models: ModuleType, capsys: Capture
) -> None:
    from segan.runtime.generate.generator import load
    from segan.runtime.latents.draws import sample_z

    with torch.random.fork_rng():
        torch.manual_seed(3)
        original = models.make_ada(resolution=64, clamp=2.0, channels=(16, 12, 9, 8, 6))
    file, out = tmp_path / "photo.png", tmp_path / "a.segan"  # the name does not matter
    file.write_bytes(models.ada_bytes(original))
    assert run(["import", str(file), "-o", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["layout"] == "ada"
    assert told["resolution"] == 64
    assert told["max_error"] < 1e-4
    assert told["parameters"] == sum(value.numel() for value in original.parameters())
    seeds = [1, 2]
    z = sample_z(seeds, original.z_dim)
    with load(out) as bundle:
        assert bundle.manifest.provenance["imported"]["num_ws"] == 10
        for psi in (1.0, 0.5):
            for noise in ("const", "none"):
                expected = models.ada_forward(original, torch.from_numpy(z), psi=psi, noise=noise)
                width = bundle.manifest.num_sites
                rows = np.full((2, width), psi, np.float32)
                ws, shifts = bundle.style(bundle.map(z), rows)
                flat = np.load(out / "noise.npy")[None]
                found = bundle.synthesize(ws, shifts, flat if noise == "const" else flat * 0)
                assert np.abs(found - expected.numpy()).max() < 2e-4


def test_it_says_what_it_is(tmp_path: Path, models: ModuleType, capsys: Capture) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        state = models.make_segan_pytorch(2, resolution=8)
    file, out = tmp_path / "000100.pt", tmp_path / "b.segan"
    file.write_bytes(models.checkpoint_bytes({"g": state, "g_ema": state}))
    assert run(["import", str(file), "-o", str(out)]) == 0
    told = capsys.readouterr().out
    assert "curefate/SEGan_Pytorch" in told
    assert "8 x 8, mode 2" in told
    assert "max error" in told
    assert "note: the original draws new noise" in told
    # 2 or 3 sites of 6 dimensions: the basis [C, r, r, 6] is collapsed.
    manifest = json.loads((out / "manifest.json").read_text())
    assert [row["dims"] for row in manifest["subspaces"]] == [6] * 5
    assert (out / "offsets.onnx").stat().st_size < 20_000


def test_a_checkpoint_of_segan_is_exported(tmp_path: Path, capsys: Capture) -> None:
    from segan.train.networks.config import NetworkConfig, SubspaceConfig
    from segan.train.networks.stylegan2.generator import Generator
    from segan.train.runs.checkpoint import save_checkpoint
    from segan.train.runs.config import TrainConfig

    network = NetworkConfig(resolution=8, z_dim=6, w_dim=8, channel_max=4, mapping_layers=2)
    config = TrainConfig(network=network, subspace=SubspaceConfig(dims=3), batch_size=4)
    folder = save_checkpoint(
        tmp_path / "run",
        Generator(network, config.subspace).state_dict(),
        {"step": torch.zeros(1)},
        name="squares",
        cur_nimg=40,
        step=10,
        class_names=(),
        data_fingerprint="0" * 64,
        config=config,
        versions={"segan": "0.1.0", "torch": str(torch.__version__)},
    )
    out = tmp_path / "c.segan"
    assert run(["import", str(folder), "-o", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["layout"] == "segan"
    assert run(["import", str(folder / "generator.safetensors"), "-o", f"{out.stem}2.segan"]) == 1
    assert "checkpoint's folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"<!DOCTYPE html>", "web page"),
        (b"\x80\x04cos\nsystem\n(X\x02\x00\x00\x00lstR.", "os.system"),
        (b"\x80\x03cdnnlib.tflib.network\nNetwork\n)\x81.", "TensorFlow"),
    ],
)
def test_errors_are_one_line(content: bytes, told: str, tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "model.pkl"
    file.write_bytes(content)
    assert run(["import", str(file), "-o", str(tmp_path / "d.segan")]) == 1
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if line.startswith("segan: ")]
    assert len(lines) == 1
    assert told in lines[0]
    assert not (tmp_path / "d.segan").exists()


def test_wrong_use(tmp_path: Path, capsys: Capture) -> None:
    assert run(["import", str(tmp_path / "none.pkl"), "-o", str(tmp_path / "x.segan")]) == 1
    assert "does not exist" in capsys.readouterr().err
    assert run(["import", str(tmp_path / "none.pkl"), "--layout", "x"]) == 2
    assert run(["import"]) == 2


def test_half_precision_and_a_zip_are_written_too(
    tmp_path: Path, models: ModuleType, capsys: Capture
) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        original = models.make_ada(resolution=16, channels=(8, 6, 4))
    file, out = tmp_path / "a.pkl", tmp_path / "a.segan"
    file.write_bytes(models.ada_bytes(original))
    assert run(["import", str(file), "-o", str(out), "--fp16", "--zip", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert "fp16" in json.dumps(told["precisions"])
    assert (out / "synthesis.fp16.onnx").is_file()
    assert Path(told["zip"]).is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pkl", "a.segan", "a.segan.zip"]


def test_two_files_of_one_name_are_two_bundles(
    tmp_path: Path, models: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    data = models.ada_bytes(models.make_ada(resolution=8, channels=(8, 6)))
    for name in ("ok.pt", "ok.pkl"):
        (tmp_path / name).write_bytes(data)
    for name, bundle in (("ok.pt", "ok"), ("ok.pkl", "ok-pkl"), ("ok.pkl", "ok-pkl-2")):
        assert run(["import", name]) == 0
        assert f"wrote {bundle}.segan" in capsys.readouterr().out
    before = (tmp_path / "ok.segan" / "manifest.json").read_bytes()
    assert run(["import", "ok.pt", "-o", "ok.segan"]) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert (tmp_path / "ok.segan" / "manifest.json").read_bytes() == before
    assert run(["import", "ok.pt", "--overwrite"]) == 0
