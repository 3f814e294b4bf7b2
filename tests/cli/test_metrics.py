from __future__ import annotations

import json
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="metrics need torch; the bare environment has none")

import torch
from PIL import Image

Segan = Callable[..., subprocess.CompletedProcess[str]]


class Pixels(torch.nn.Module):
    """Features are means of 4 × 4 pixels; classes are the softmax of the first four."""

    def forward(
        self,
        x: torch.Tensor,
        return_features: bool = False,
        no_output_bias: bool = False,
        resize_images: bool = True,
        return_lpips: bool = False,
    ) -> torch.Tensor:
        found = torch.nn.functional.avg_pool2d(x.float() / 255, 4).flatten(1)
        if no_output_bias:
            return torch.softmax(found[:, :4], 1)
        return found


@pytest.fixture
def pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEGAN_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "pixels.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the end of TorchScript
        torch.jit.script(Pixels()).save(str(path))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """20 random images of 16²."""
    path = tmp_path / "images"
    path.mkdir()
    random = np.random.RandomState(0)
    for number in range(20):
        pixels = random.randint(0, 256, (16, 16, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(path / f"{number:02}.png")
    return path


def test_scores_are_printed_and_stored(
    segan_here: Segan, toy_bundle: Path, folder: Path, pixels: Path
) -> None:
    arguments = ("metrics", toy_bundle, "--data", folder, "--backend", "cpu", "--threads", 1)
    done = segan_here(
        *arguments, "--metrics", "fid40_full,is20", "--detector", pixels, "--bootstrap", 10
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("fid40_full ")
    assert "[" in lines[0]
    assert "cpu fp32, n 40" in lines[0]
    assert "data images" in lines[0]
    assert "mean" in lines[1]
    stored = toy_bundle.with_name("toy.metrics.jsonl")
    assert f"{stored}: 2 added." in done.stderr
    record = json.loads(stored.read_bytes().splitlines()[0])
    assert record["metric"] == "fid40_full"
    assert record["protocol"]["data"]["images"] == 20
    assert record["model"]["kind"] == "bundle"
    again = segan_here(*arguments, "--metrics", "fid40_full", "--detector", pixels, "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["scores"][0]["value"] == record["value"]
    assert len(stored.read_bytes().splitlines()) == 3


def test_the_shipped_model_is_scored_with_the_network_that_ships(segan_here: Segan) -> None:
    done = segan_here(
        "metrics", "--metrics", "fd_faces20,ppl_faces4_wend", "--backend", "cpu", "--threads", 1,
        "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "not stored" in done.stderr
    scores = json.loads(done.stdout)["scores"]
    assert [score["protocol"]["detector"]["name"] for score in scores] == ["faces64"] * 2


def test_the_faces_of_16_are_scored_with_the_network_that_ships(
    segan_here: Segan, toy_bundle: Path, folder: Path, tmp_path: Path
) -> None:
    common = ("--backend", "cpu", "--threads", 1, "--json", "-o", tmp_path / "all.jsonl")
    names = "fd_faces20,kd_faces20_full,pr_faces20_3"
    toy = segan_here("metrics", toy_bundle, "--data", folder, "--metrics", names, *common)
    assert toy.returncode == 0, toy.stderr
    scores = json.loads(toy.stdout)["scores"]
    assert [score["protocol"]["detector"]["name"] for score in scores] == ["faces16"] * 3
    sha256 = scores[0]["protocol"]["detector"]["sha256"]
    for demanded, status in ((sha256, 0), ("0" * 64, 1)):
        done = segan_here(
            "metrics", toy_bundle, "--metrics", "fd_faces20", "--detector-sha256", demanded, *common
        )
        assert done.returncode == status, done.stderr


def test_an_engine_against_another(
    segan_here: Segan, toy_bundle: Path, pixels: Path, tmp_path: Path
) -> None:
    done = segan_here(
        "metrics", toy_bundle, "--against", toy_bundle, "--metrics", "is40", "--backend", "cpu",
        "--detector", pixels, "--bootstrap", 10, "--json", "-o", tmp_path / "all.jsonl",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    scores = json.loads(done.stdout)["scores"]
    assert [score["metric"] for score in scores] == ["is40", "is40", "is40.difference"]
    assert scores[2]["value"] == 0
    assert scores[2]["interval"] == [0, 0]
    assert len((tmp_path / "all.jsonl").read_bytes().splitlines()) == 3


def test_the_list_names_every_family(segan: Segan) -> None:
    done = segan("metrics", "--list")  # without torch
    assert done.returncode == 0, done.stderr
    for name in (
        "fid50k_full",
        "kid50k_full",
        "pr50k3_full",
        "is50k",
        "ppl_wend",
        "fd_faces5k",
        "control",
        "mig",
        "dci",
        "separability10k",
        "ppl_faces2k_wend",
        "ppl_faces_segan30k",
    ):
        assert name in done.stdout


@pytest.mark.parametrize(
    ("arguments", "status", "part"),
    [
        (("--metrics", "fid50_ful"), 2, "Did you mean"),
        (("--metrics", ","), 2, "no metric is named"),
        (("--metrics", "fid40_full"), 1, "Pass --data PATH"),
        (("--metrics", "is20", "--detector", "none.pt"), 1, "none.pt does not exist"),
        (("--metrics", "is20", "--bootstrap", "1"), 2, "expected 0, or 2 or more"),
        (("--metrics", "is20", "--seed", "-1"), 2, "seed is -1"),
        (("--metrics", "is20", "--psi", "3"), 2, "psi is 3"),
        (("--metrics", "is20", "--backend", "torch"), 2, "which PyTorch cannot run"),
        (("--metrics", "is20", "--data", "none.zip"), 1, "none.zip does not exist"),
    ],
)
def test_wrong_use(
    segan_here: Segan,
    toy_bundle: Path,
    pixels: Path,
    arguments: tuple[str, ...],
    status: int,
    part: str,
) -> None:
    detector = () if "--detector" in arguments else ("--detector", pixels)
    done = segan_here("metrics", toy_bundle, "--threads", 1, *arguments, *detector)
    assert done.returncode == status
    assert part in done.stderr
    assert "Traceback" not in done.stderr
    assert not toy_bundle.with_name("toy.metrics.jsonl").exists()


def test_another_hash_is_refused(segan_here: Segan, toy_bundle: Path, pixels: Path) -> None:
    done = segan_here(
        "metrics", toy_bundle, "--metrics", "is20", "--detector", pixels,
        "--detector-sha256", "0" * 64, "--backend", "cpu",
    )  # fmt: skip
    assert done.returncode == 1
    assert f"expected {'0' * 64}" in done.stderr
    assert "--detector-sha256" in done.stderr


def test_a_missing_model_is_named(segan_here: Segan, pixels: Path) -> None:
    for model, part in (("none.segan", "there is no bundle"), ("runs/none", "does not exist")):
        done = segan_here("metrics", model, "--metrics", "is20", "--detector", pixels)
        assert done.returncode == 1
        assert part in done.stderr


def test_the_benchmark_has_a_column_for_a_metric(
    segan_here: Segan, toy_bundle: Path, pixels: Path
) -> None:
    quick = ("--backends", "cpu", "--batches", "1,2", "--seconds", "0.01", "--rounds", "1")
    arguments = ("benchmark", toy_bundle, *quick, "--threads", "1")
    done = segan_here(*arguments, "--metric", "is40", "--detector", pixels, "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert len(rows) == 2
    for row in rows:
        assert row["metrics"]["is40"]["value"] > 1
        assert row["metrics"]["is40"]["difference"] == 0
    for wrong, part in (
        (("--metric", "is4x"), "no metric 'is4x'"),
        (("--data", "a.zip"), "are for --metric"),
        (("--metric", "fid40_full", "--detector", pixels), "Pass --data"),
    ):
        failed = segan_here(*arguments, *wrong)
        assert failed.returncode in (1, 2)
        assert part in failed.stderr
