from __future__ import annotations

import json
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segan.train.measure.models.model import ModelRecord
from segan.train.measure.quality.record import Protocol, ScoreRecord, append_scores

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


def test_scores_beside_a_bundle_are_named(segan_here: Segan, toy_bundle: Path) -> None:
    assert "measured" not in segan_here("info", toy_bundle).stdout
    model = ModelRecord(path="toy", kind="bundle", kimg=None, sha256="")
    protocol = Protocol(
        n=64, seeds="0-63", psi=1, noise="none", resize="none", detector=None,
        backend="cpu", precision="fp32", data=None,
    )  # fmt: skip
    append_scores(
        toy_bundle.with_name("toy.metrics.jsonl"),
        [
            ScoreRecord(
                metric="control", value=value, values={}, interval=None, protocol=protocol,
                model=model, seconds=1, segan="0", time="",
            )
            for value in (3.0, 4.0)
        ],
    )  # fmt: skip
    done = segan_here("info", toy_bundle)
    assert "measured        control 4.0" in done.stdout
    found = json.loads(segan_here("info", toy_bundle, "--json").stdout)
    assert found["measured"] == {"control": 4.0}


def test_check_finds_an_altered_file(segan_here: Segan, toy_bundle: Path) -> None:
    (toy_bundle / "noise.npy").write_bytes(b"altered")
    assert segan_here("info", toy_bundle).returncode == 0
    done = segan_here("info", toy_bundle, "--check")
    assert done.returncode == 1
    assert "noise.npy" in done.stderr


def test_a_data_set(segan: Segan, tmp_path: Path) -> None:
    pytest.importorskip("lmdb", reason="needs lmdb; the bare environment has none")
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
    assert "nowhere does not exist" in done.stderr
    done = segan_here("info", "nowhere.segan")
    assert done.returncode == 1
    assert "there is no bundle at nowhere.segan" in done.stderr


def test_without_a_bundle_the_shipped_one_is_shown(segan_here: Segan) -> None:
    done = segan_here("info")
    assert done.returncode == 0, done.stderr
    assert "which ships with segan (train and export your own to replace it)" in done.stderr
    assert "L3N0" in done.stdout
    assert "By name: segan sweep --attr " in done.stdout


def test_names_are_listed_beside_the_sliders(
    segan_here: Segan, toy_bundle: Path, replace_file: Callable[[Path, str, bytes], None]
) -> None:
    entries = [
        {"name": "smile", "layer": 1, "dim": 2, "range": [-1, 1.5], "sign": -1},
        {"name": "noise", "layer": 0, "dim": 0, "range": [-1, 1], "hidden": True},
    ]
    replace_file(toy_bundle, "attributes.json", json.dumps({"attributes": entries}).encode())
    done = segan_here("info")
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["smile", "L1N0D2", "-1", "to", "1.5", "-1"] in lines
    assert "noise" not in {line[0] for line in lines if len(line) > 4}
    assert "Hidden names: 1;" in done.stdout
    names = json.loads(segan_here("info", "--json").stdout)["names"]
    assert [(row["name"], row["slider"], row["hidden"]) for row in names] == [
        ("smile", "L1N0D2", False),
        ("noise", "L0N0D0", True),
    ]


def test_what_is_no_data_set(segan_here: Segan, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a picture")
    done = segan_here("info", "notes.txt")
    assert done.returncode == 1
    assert "notes.txt" in done.stderr
