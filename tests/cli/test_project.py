from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="needs torch; the bare environment has none")

Segan = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 8², mode 2."""
    from segan.train.networks.config import NetworkConfig, SubspaceConfig
    from segan.train.networks.stylegan2.generator import Generator
    from segan.train.runs.checkpoint import save_checkpoint
    from segan.train.runs.config import TrainConfig

    network = NetworkConfig(resolution=8, z_dim=6, w_dim=8, channel_max=4, mapping_layers=2)
    config = TrainConfig(network=network, subspace=SubspaceConfig(dims=3), batch_size=4)
    folder = tmp_path_factory.mktemp("home") / "runs" / "00000-squares-mode2-paper"
    torch.manual_seed(0)
    save_checkpoint(
        folder,
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
    return folder


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """Neither square nor opaque, and of another size."""
    pixels = np.zeros((30, 20, 4), np.uint8)
    pixels[:15] = (200, 60, 30, 255)
    path = tmp_path / "me.png"
    Image.fromarray(pixels).save(path)
    return path


def test_a_photo(segan_here: Segan, run: Path, photo: Path) -> None:
    done = segan_here("project", photo, run, "--steps", "20", "--space", "coords")
    assert done.returncode == 0, done.stderr
    assert "comparing multi-scale pixels and gradients" in done.stderr
    folder = photo.parent / "project-me"
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "projected.npz", "projected.json", "comparison.png", "progress.gif", "sweep.png"
    }  # fmt: skip
    record = json.loads((folder / "projected.json").read_text())
    assert record["photo"] == "me.png"
    assert record["checkpoint"].startswith("squares nimg00000040 ")
    assert record["features"] == "multi-scale pixels and gradients"
    with np.load(folder / "projected.npz", allow_pickle=False) as arrays:
        assert arrays["w"].shape == (1, 5, 8)
        assert arrays["coords"].shape == (1, 2, 3)
    with Image.open(folder / "progress.gif") as animation:
        assert getattr(animation, "n_frames", 1) > 10


def test_json_and_choices(segan_here: Segan, run: Path, photo: Path) -> None:
    done = segan_here(
        "project", photo, run, "--steps", 3, "--space", "w+", "--video", "none", "--crop", "fit",
        "-o", "there", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["out"] == "there"
    assert set(found["files"]) == {"latents", "comparison", "sweep"}
    assert found["space"] == "w+"


def test_wrong_use(segan_here: Segan, run: Path, photo: Path, toy_bundle: Path) -> None:
    (photo.parent / "page.png").write_text("<html>")
    for words, status, part in (
        (("none.png", run), 1, "none.png does not exist"),
        (("page.png", run), 1, "page.png"),
        ((photo, run, "--crop", "none"), 1, "expected a square"),
        ((photo, run, "--steps", "0"), 2, "expected 1 or more"),
        ((photo, run, "-o", photo), 2, "expected a folder"),
        ((photo, run, "--bundle", toy_bundle), 2, "of another generator"),
        ((photo, run, "--detector", photo), 1, "not TorchScript"),
        ((photo, photo), 1, "me.png"),
        ((photo, "nowhere"), 1, "nowhere does not exist"),
    ):
        done = segan_here("project", *words)
        assert done.returncode == status, (words, done.stderr)
        assert part in done.stderr, words
        assert not (photo.parent / "project-me").exists()
