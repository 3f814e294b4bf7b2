from __future__ import annotations

import json
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Segan = Callable[..., subprocess.CompletedProcess[str]]


def test_a_bundle_lists_its_subspaces(segan: Segan, toy_bundle: Path) -> None:
    done = segan("info")
    assert done.returncode == 0, done.stderr
    assert "bundle: toy.segan" in done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["images", "16", "x", "16,", "RGB"] in lines
    # Subspace, layer, index, site, resolution, K, dims, prior, range.
    row = ["L2N0", "2", "0", "b16.conv0", "16", "x", "16", "4", "0-3", "uniform"]
    assert [*row, "-1.73", "to", "1.73"] in lines
    # The advice at the end works as typed.
    advice = done.stdout.splitlines()[-1].partition("segan ")[2]
    assert segan(*advice.split()).returncode == 0


def test_a_bundle_as_json(segan_here: Segan, toy_bundle_zip: Path) -> None:
    done = segan_here("info", toy_bundle_zip, "--json", "--check")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    with zipfile.ZipFile(toy_bundle_zip) as archive:
        manifest = json.loads(archive.read("manifest.json"))
    assert found["kind"] == "bundle"
    assert found["checked"] is True
    for name in ("name", "resolution", "img_channels", "c_dim", "mode", "subspace", "class_names"):
        assert found[name] == manifest[name]
    assert [(row["layer"], row["index"], row["dims"]) for row in found["subspaces"]] == [
        (row["layer"], row["index"], row["dims"]) for row in manifest["subspaces"]
    ]
    assert found["verification"] == manifest["verification"]


def test_a_bundle_with_classes_or_without_subspaces(
    segan_here: Segan, toy_bundle_zip: Path, toy_bundle_plain: Path
) -> None:
    assert "0 to 2" in segan_here("info", toy_bundle_zip).stdout
    plain = segan_here("info", toy_bundle_plain).stdout
    assert "There are no subspaces to sweep (mode 0)." in plain


def test_check_finds_an_altered_file(segan_here: Segan, toy_bundle: Path) -> None:
    (toy_bundle / "noise.npy").write_bytes(b"altered")
    assert segan_here("info", toy_bundle).returncode == 0
    done = segan_here("info", toy_bundle, "--check")
    assert done.returncode == 1
    assert "noise.npy" in done.stderr


def test_a_data_set(segan: Segan, tmp_path: Path) -> None:
    pytest.importorskip("lmdb")
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(3):
        pixels = np.full((8, 8, 3), 40 * i, np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    done = segan("info", folder, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["kind"], found["count"], found["resolution"]) == ("data", 3, 8)
    assert "photos: a data set" in segan("info", "photos").stdout


@pytest.mark.parametrize("inside", ["", "checkpoint.json"])
def test_a_damaged_checkpoint(segan_here: Segan, tmp_path: Path, inside: str) -> None:
    run = tmp_path / "00000-run"
    run.mkdir()
    (run / "checkpoint.json").write_text("{}")
    done = segan_here("info", run / inside)
    assert done.returncode == 1
    assert "checkpoint" in done.stderr
    assert "Traceback" not in done.stderr


def test_nothing_there(segan_here: Segan, tmp_path: Path) -> None:
    done = segan_here("info", "nowhere")
    assert done.returncode == 1
    assert "there is nothing at nowhere" in done.stderr
    done = segan_here("info", "nowhere.segan")
    assert done.returncode == 1
    assert "there is no bundle at nowhere.segan" in done.stderr
    done = segan_here("info")
    assert done.returncode == 1
    assert "Write one with 'segan export'" in done.stderr


def test_what_is_no_data_set(segan_here: Segan, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a picture")
    done = segan_here("info", "notes.txt")
    assert done.returncode == 1
    assert "notes.txt" in done.stderr
