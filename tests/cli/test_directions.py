from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from segan.runtime.generate.generator import load

pytest.importorskip("onnx", reason="needs onnx; the bare environment has none")

Segan = Callable[..., subprocess.CompletedProcess[str]]


def test_a_bundle_without_sliders_gets_some(segan_here: Segan, toy_bundle_plain: Path) -> None:
    done = segan_here(
        "directions", toy_bundle_plain, "--method", "pca", "--dims", 2, "--samples", 200, "--json"
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    path = toy_bundle_plain.parent / "toy_plain-pca.segan"
    assert found["bundle"] == str(path)
    assert [row["subspace"] for row in found["subspaces"]] == ["L0N0", "L1N0", "L2N0"]
    assert found["coords_dim"] == 2
    shares = found["subspaces"][0]["explained_variance"]
    assert 1 > shares[0] >= shares[1] > 0
    before, after = load(toy_bundle_plain), load(path)
    np.testing.assert_array_equal(before.generate([4]), after.generate([4]))
    done = segan_here("sweep", path, "--at", "L1N0D1", "--steps", "3", "-o", "s.png")
    assert done.returncode == 0, done.stderr
    done = segan_here("info", path)
    assert "zero" in done.stdout
    assert "-3 to 3" in done.stdout


def test_in_place_and_in_words(segan_here: Segan, toy_bundle: Path) -> None:
    file = toy_bundle.parent / "v.npz"
    np.savez(file, w=np.eye(8)[:2])
    done = segan_here(
        "directions", toy_bundle, "--in-place", "--method", "vectors", "--vectors", file,
        "--layers", "1-2", "--range", "-2,2", "--samples", 100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "L1N1: layers 1, 2; 2 dims" in done.stdout
    assert "--layer 1 --index 1" in done.stdout
    row = load(toy_bundle).manifest.subspaces[-1]
    assert (row.layer, row.index, row.low, row.high) == (1, 1, -2.0, 2.0)


def test_wrong_use(segan_here: Segan, toy_bundle: Path) -> None:
    for words, part in (
        (("--in-place", "-o", "x.segan"), "exclude each other"),
        (("--method", "pca", "--dims", "9"), "expected 1 to w_dim (8)"),
        (("--method", "vectors"), "--vectors FILE"),
        (("--range", "2,1"), "LOW below HIGH"),
    ):
        done = segan_here("directions", toy_bundle, *words)
        assert done.returncode == 2, done.stderr
        assert part in done.stderr
    done = segan_here("directions", toy_bundle, "--method", "sefa", "--samples", "50")
    assert done.returncode == 1
    assert "--method pca" in done.stderr
