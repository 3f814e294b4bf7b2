from __future__ import annotations

import hashlib
import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from segan.cli.main import run

pytest.importorskip("torch", reason="needs torch; the bare environment has none")

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one run in ``runs``, of 8² and mode 2."""
    import torch

    from segan.train.networks.config import NetworkConfig, SubspaceConfig
    from segan.train.networks.stylegan2.generator import Generator
    from segan.train.runs.checkpoint import save_checkpoint
    from segan.train.runs.config import TrainConfig

    home = tmp_path_factory.mktemp("home")
    network = NetworkConfig(resolution=8, z_dim=6, w_dim=8, channel_max=4, mapping_layers=2)
    config = TrainConfig(network=network, subspace=SubspaceConfig(dims=3), batch_size=4)
    torch.manual_seed(0)
    save_checkpoint(
        home / "runs" / "00000-squares-mode2-paper",
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
    return home


@pytest.fixture
def at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(home)
    return home


def test_newest_run(at_home: Path, capsys: Capture) -> None:
    assert run(["export"]) == 0
    captured = capsys.readouterr()
    checkpoint = "runs/00000-squares-mode2-paper/checkpoints/nimg00000040"
    assert f"checkpoint: {checkpoint}" in captured.err
    assert "exporting synthesis.onnx ..." in captured.err
    assert "wrote squares.segan in" in captured.out
    assert "verified on cpu: max error" in captured.out
    assert captured.out.splitlines()[-1] == "next: segan sweep squares.segan --layer 1 --dim 2"
    # Only segan's own lines: torch's exporter prints nothing.
    assert all(line.endswith("...") or ": " in line for line in captured.err.splitlines())
    # The suggested command works, and the manifest states the checkpoint.
    assert run(["sweep", "squares.segan", "--layer", "1", "--dim", "2", "-o", "sheet.png"]) == 0
    manifest = json.loads((at_home / "squares.segan" / "manifest.json").read_text())
    record = json.loads((at_home / checkpoint / "checkpoint.json").read_text())
    origin = manifest["provenance"]["checkpoint"]
    assert origin["sha256"] == record["files"]["generator.safetensors"]
    assert origin["cur_nimg"] == 40
    assert manifest["provenance"]["training"] == record["config"]


def test_everything_given(at_home: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "one.segan"
    options = ["-o", str(out), "--name", "One", "--lowering", "folded", "--zip", "--json"]
    assert run(["export", "runs/00000-squares-mode2-paper", *options]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["bundle"] == str(out)
    assert result["zip"] == f"{out}.zip"
    assert result["name"] == "One"
    assert result["lowering"] == {"b8.conv0": "folded"}
    assert result["max_error"] <= result["tolerance"] == 1e-4
    assert set(result["files"]) > {"mapping.onnx", "offsets.onnx", "synthesis.onnx"}

    from segan.runtime.generate.generator import load
    from segan.train.runs.checkpoint import load_generator, resolve_checkpoint

    generator = load_generator(resolve_checkpoint(Path("runs/00000-squares-mode2-paper"))).generator
    images = load(out).generate([3], coords="zero", noise="none")
    import torch

    from segan.runtime.latents.draws import sample_z

    expected: NDArray[np.float32] = generator(torch.from_numpy(sample_z([3], 6))).numpy()
    expected = np.clip(np.floor(expected * 127.5 + 128), 0, 255).transpose(0, 2, 3, 1)
    assert np.abs(images - expected).max() <= 1


def test_half_precision(at_home: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "one.segan"
    assert run(["export", "-o", str(out), "--fp16", "--bf16", "--json"]) == 0
    captured = capsys.readouterr()
    assert "exporting synthesis.fp16.onnx ..." in captured.err
    result = json.loads(captured.out)
    assert set(result["files"]) > {"synthesis.onnx", "synthesis.fp16.onnx", "synthesis.bf16.onnx"}
    rows = result["precisions"]
    assert [(row["precision"], row["min_psnr_db"]) for row in rows] == [
        ("fp16", 45),
        ("fp16", 45),
        ("bf16", 35),
    ]
    assert all(row["psnr_db"] >= row["min_psnr_db"] for row in rows)
    assert run(["info", str(out), "--check"]) == 0
    assert "fp16" in capsys.readouterr().out


def test_tolerance_that_cannot_be_met(at_home: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "one.segan"
    assert run(["export", "-o", str(out), "--tolerance", "1e-12"]) == 1
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("segan: the bundle's images differ from the checkpoint's by up to")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["nowhere"], 1, "nowhere does not exist. Give a run folder"),
        (["-o", "faces"], 2, "--out is faces; expected a name that ends in .segan"),
        (["--tolerance", "0"], 2, "tolerance is 0.0; expected more than 0"),
        (["--lowering", "bicubic"], 2, "'bicubic' is not one of 'transposed', 'subpixel'"),
        (["-o", "runs.segan"], 1, "runs.segan exists and is not a bundle"),
    ],
)
def test_wrong_use(
    at_home: Path, arguments: list[str], status: int, message: str, capsys: Capture
) -> None:
    (at_home / "runs.segan").mkdir(exist_ok=True)
    (at_home / "runs.segan" / "notes").write_text("mine")
    assert run(["export", *arguments]) == status
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_no_run_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["export"]) == 1
    assert "no training run under" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["pickle", "truncated", "gone", "record"])
def test_damaged_checkpoint(
    damage: str,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    import shutil

    shutil.copytree(home / "runs", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    (weights,) = tmp_path.rglob("generator.safetensors")
    if damage == "pickle":
        weights.write_bytes(pickle.dumps({"weights": [1, 2, 3]}))
        expected = "pickle"
    elif damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:-100])
        expected = "truncated"
    elif damage == "gone":
        weights.unlink()
        expected = "generator.safetensors"
    else:
        (weights.parent / "checkpoint.json").write_text("{")
        expected = "truncated or not JSON"
    assert run(["export"]) == 1
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("segan: ")
    assert expected in message
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_help_imports_no_torch() -> None:
    code = (
        "import sys; from segan.cli.main import run; status = run(['export', '--help']); "
        "sys.exit(status or int('torch' in sys.modules or 'onnx' in sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    for text in ("--lowering", "--tolerance", "--fp16", "0.0001", "Example: segan export"):
        assert text in found.stdout


def test_two_runs_are_two_bundles(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """By default names; with --overwrite each run replaces its own, and names of sliders stay."""
    from segan.runtime.bundle.attributes import read_attributes
    from segan.runtime.bundle.reader import open_bundle

    def names(path: str) -> list[str]:
        return [entry.name for entry in read_attributes(open_bundle(path))]

    first, second = "runs/00000-squares-mode2-paper", "runs/00001-squares-mode2-paper"
    shutil.copytree(home / first, tmp_path / first)
    shutil.copytree(home / first, tmp_path / second)
    record = tmp_path / second / "checkpoints" / "nimg00000040" / "checkpoint.json"
    changed = json.loads(record.read_text())
    changed["config"]["seed"] = 1
    record.write_text(json.dumps(changed))
    weights = record.with_name("generator.safetensors")
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    changed["files"]["generator.safetensors"] = hashlib.sha256(data).hexdigest()
    record.write_text(json.dumps(changed))
    monkeypatch.chdir(tmp_path)

    assert run(["export", first]) == 0
    assert run(["name", "squares.segan", "L0N0D0", "smile"]) == 0
    capsys.readouterr()
    assert run(["export", second]) == 0
    captured = capsys.readouterr()
    assert "squares.segan exists, so the bundle is squares-00001.segan" in captured.err
    assert "wrote squares-00001.segan" in captured.out
    assert names("squares.segan") == ["smile"]
    # Each its own.
    assert run(["export", second, "--overwrite", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["bundle"], result["kept"]) == (
        "squares-00001.segan",
        {"names": 0, "subspaces": 0},
    )
    assert run(["export", first, "--overwrite"]) == 0
    assert "kept from the replaced bundle: 1 name" in capsys.readouterr().out
    assert names("squares.segan") == ["smile"]
    # A later checkpoint of the run has the same sliders; another run has not.
    changed["config"]["seed"], changed["config"]["total_kimg"] = 0, 99.0
    record.write_text(json.dumps(changed))
    assert run(["export", second, "-o", "squares.segan"]) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert run(["export", second, "-o", "squares.segan", "--overwrite"]) == 0
    assert names("squares.segan") == ["smile"]
    changed["config"]["seed"] = 2
    record.write_text(json.dumps(changed))
    other = json.loads(Path("squares.segan/manifest.json").read_text())
    other["provenance"]["weights_sha256"] = "0" * 64
    Path("squares.segan/manifest.json").write_text(json.dumps(other))
    capsys.readouterr()
    assert run(["export", second, "-o", "squares.segan", "--overwrite"]) == 1
    captured = capsys.readouterr()
    assert "1 named slider" in captured.err
    assert "exporting" not in captured.err  # Before the work.
    assert names("squares.segan") == ["smile"]
