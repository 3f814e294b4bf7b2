from __future__ import annotations

import json
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segan.runtime.backends.choose import candidates
from segan.runtime.generate.generator import load

Segan = Callable[..., subprocess.CompletedProcess[str]]
Replace = Callable[[Path, str, bytes], None]


def test_generates_as_typed_in_a_folder_with_a_bundle(
    segan: Segan, toy_bundle: Path, tmp_path: Path
) -> None:
    done = segan("generate", "--seeds", "0-5,40", "-o", "out", "--psi", "0.7")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "out: 7 images written.\n"
    assert "bundle: toy.segan" in done.stderr
    assert "generating: 7/7 images" in done.stderr
    with load(toy_bundle) as generator:
        for seed in (*range(6), 40):
            with Image.open(tmp_path / "out" / f"seed{seed:06d}.png") as found:
                apart = np.asarray(found).astype(int) - generator.generate([seed], psi=0.7)[0]
                assert np.abs(apart).max() <= 1


def test_every_setting_reaches_the_generator(
    segan_here: Segan, toy_bundle: Path, tmp_path: Path
) -> None:
    settings = ("--psi", 0.5, "--cutoff", "b8.conv1", "--coords", "zero", "--noise", "none")
    sliders = ("--set", "L1N0D2=1.5", "--set", "l2n0d0=-1")
    done = segan_here("generate", toy_bundle, "--seeds", 3, "-o", "out", *settings, *sliders)
    assert done.returncode == 0, done.stderr
    assert "bundle:" not in done.stderr
    with load(toy_bundle) as generator:
        expected = generator.generate(
            [3],
            psi=0.5,
            cutoff="b8.conv1",
            coords="zero",
            noise="none",
            sliders={"L1N0D2": 1.5, "L2N0D0": -1.0},
        )[0]
    with Image.open(tmp_path / "out" / "seed000003.png") as found:
        assert np.abs(np.asarray(found).astype(int) - expected).max() <= 1


def test_classes(segan_here: Segan, toy_bundle_zip: Path, tmp_path: Path) -> None:
    done = segan_here("generate", toy_bundle_zip, "--seeds", 0, "-o", "out", "--class", 2)
    assert done.returncode == 0, done.stderr
    with load(toy_bundle_zip) as generator, Image.open(tmp_path / "out/seed000000.png") as found:
        assert found.mode == "L"
        expected = generator.generate([0], class_index=2)[0, :, :, 0]
        assert np.abs(np.asarray(found).astype(int) - expected).max() <= 1
    # By name it is the same class: a batch of the one continues as a batch of the other.
    again = segan_here("generate", toy_bundle_zip, "--seeds", 0, "-o", "out", "--class", "star")
    assert again.returncode == 0, again.stderr
    for wrong in (3, "oval"):
        done = segan_here("generate", toy_bundle_zip, "--seeds", 0, "-o", "other", "--class", wrong)
        assert done.returncode == 2
        assert "0 to 2 (0 circle, 1 square, 2 star)" in done.stderr


def test_json_sheet_and_shards(segan: Segan, toy_bundle: Path, tmp_path: Path) -> None:
    arguments = ("generate", "--seeds", "0-24", "-o", "out", "--format", "zip", "--json", "--sheet")
    done = segan(*arguments, "--shard-size", 10, "-v")
    assert done.returncode == 0, done.stderr
    assert f"backend: {candidates()[0].backend}, fp32; images: 16 x 16, 3 channels" in done.stderr
    result = json.loads(done.stdout)
    assert result["bundle"] == "toy.segan"
    assert (result["format"], result["requested"], result["written"]) == ("zip", 25, 25)
    assert result["images_per_s"] > 0
    assert Path(result["sheet"]) == Path("out/sheet.png")
    with Image.open(tmp_path / "out" / "sheet.png") as sheet:
        assert sheet.size == (5 * 100 + 4, 5 * 100 + 4)
    names = []
    for number in range(3):
        with zipfile.ZipFile(tmp_path / "out" / f"shard-{number:06d}.zip") as archive:
            names += archive.namelist()
    assert names == [f"seed{seed:06d}.png" for seed in range(25)]


def test_going_on_and_starting_anew(segan_here: Segan, toy_bundle: Path, tmp_path: Path) -> None:
    assert segan_here("generate", "--seeds", "0-9").returncode == 0
    (tmp_path / "out" / "seed000004.png").unlink()
    done = segan_here("generate", "--seeds", "0-9")
    assert done.stdout == "out: 1 images written, 9 existed already.\n"
    assert "out: 9 of 10 images exist already." in done.stderr
    done = segan_here("generate", "--seeds", "0-9", "--psi", "0.5")
    assert done.returncode == 2
    assert "psi is 1.0 there, 0.5 here" in done.stderr
    assert "--overwrite" in done.stderr
    done = segan_here("generate", "--seeds", "0-3", "--psi", "0.5", "--overwrite")
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out").glob("*.png"))) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--psi", "1.8"), "psi is 1.8; expected 0 to 1"),
        (("--psi", "nan"), "psi is nan"),
        (("--seeds", "5-3"), "--seeds is '5-3', where 5-3 ends before it begins; expected 3-5"),
        (("--seeds", "a"), "--seeds is 'a', where"),
        (("--seeds", ""), "--seeds is ''"),
        (("--seeds", "4294967296"), "expected 0 to 4294967295"),
        (("--seeds", "1,2,1"), "seed 1 is given twice"),
        (("--set", "L1N0D2"), "expected SLIDER=VALUE"),
        (("--set", "L1N0D2=x"), "'x' is not a number"),
        (("--set", "L1N0D2=inf"), "'inf' is not a number"),
        (("--set", "L1N0D2=1", "--set", "l1n0d2=2"), "--set 'l1n0d2=2': L1N0D2 is given twice"),
        (("--set", "L7N0D2=1"), "layer is 7; expected 0 to 2"),
        (("--set", "L1N0D9=1"), "dim is 9; expected 0 to 5"),
        (("--set", "1.5"), "expected SLIDER=VALUE"),
        (("--cutoff", "17"), "17"),
        (("--cutoff", "b9.conv7"), "b9.conv7"),
        (("--class", "0"), "class"),
        (("--batch-size", "0"), "--batch-size is 0"),
        (("--threads", "0"), "threads is 0; expected 1 or more"),
        (("--workers", "0"), "workers is 0"),
        (
            ("--backend", "gpu"),
            "backend is 'gpu'; expected one of auto, tensorrt, cuda",
        ),
        (("--format", "bmp"), "'bmp'"),
        (("--format", "jpeg", "--quality", "0"), "quality is 0; expected 1 to 100"),
        (("--compress-level", "10"), "--compress-level is 10; expected 0 to 9"),
        (("-o", "out.zip"), "--out is out.zip; expected a folder"),
        (("--shard-size", "5"), "--shard-size does not apply to the format png"),
    ],
)
def test_wrong_use_exits_with_2_and_one_line(
    segan_here: Segan, toy_bundle: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = segan_here("generate", *arguments)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if not line.startswith("bundle:")]
    assert 1 <= len(lines) <= 2
    assert not (tmp_path / "out").exists()


def test_without_a_bundle_the_shipped_one_generates(segan: Segan, tmp_path: Path) -> None:
    done = segan("generate", "--seeds", "0-1", "-o", "out")
    assert done.returncode == 0, done.stderr
    assert "which ships with segan" in done.stderr
    assert len(list((tmp_path / "out").glob("seed*.png"))) == 2


def name_a_slider(bundle: Path, replace_file: Replace, **fields: object) -> None:
    entry = {"name": "smile", "layer": 1, "dim": 2, "range": [-1, 2], **fields}
    replace_file(bundle, "attributes.json", json.dumps({"attributes": [entry]}).encode())


def test_a_name_moves_its_slider_and_is_recorded_as_one(
    segan_here: Segan, toy_bundle: Path, tmp_path: Path, replace_file: Replace
) -> None:
    name_a_slider(toy_bundle, replace_file, sign=-1)
    one = ("generate", toy_bundle, "--seeds", "0-1", "-o")
    assert segan_here(*one, "a", "--attr", "SMILE=1.5").returncode == 0
    assert segan_here(*one, "b", "--set", "L1N0D2=-1.5").returncode == 0
    a, b = ((tmp_path / name / "seed000001.png").read_bytes() for name in "ab")
    assert a == b
    record = json.loads((tmp_path / "a" / "generation.json").read_text())
    assert record["sliders"] == {"L1N0D2": -1.5}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--attr", "smile"), "--attr 'smile' has no value; expected one, such as smile=1.5"),
        (("--attr", "smil=1"), "--attr is 'smil'; expected one of smile. Did you mean smile?"),
        (("--attr", "smile=much"), "'much' is not a number"),
        (("--attr", "smile=inf"), "'inf' is not a number"),
        (("--attr", "=1"), "expected NAME=VALUE"),
        (("--attr", "smile=1,blush"), "expected NAME=VALUE"),
        (("--attr", "smile=1,smile=2"), "smile is given twice"),
        (("--attr", "smile=1", "--attr", "Smile=2"), "slider L1N0D2 is given twice"),
        (("--attr", "smile=1", "--set", "L1N0D2=1"), "slider L1N0D2 is given twice"),
    ],
)
def test_wrong_use_of_names(
    segan_here: Segan,
    toy_bundle: Path,
    replace_file: Replace,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    name_a_slider(toy_bundle, replace_file)
    done = segan_here("generate", toy_bundle, "--seeds", "0", *arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_no_bundle(segan_here: Segan, tmp_path: Path) -> None:
    done = segan_here("generate", "nowhere.segan")
    assert done.returncode == 1
    assert "there is no bundle at nowhere.segan" in done.stderr


def test_the_newest_bundle_is_taken(
    segan_here: Segan, toy_bundle: Path, toy_bundle_plain: Path
) -> None:
    import os

    os.utime(toy_bundle / "manifest.json", (2_000_000_000, 2_000_000_000))
    os.utime(toy_bundle_plain / "manifest.json", (1_900_000_000, 1_900_000_000))
    done = segan_here("generate", "--seeds", "0")
    assert "bundle: toy.segan" in done.stderr


def test_an_altered_bundle_is_refused(segan_here: Segan, toy_bundle: Path) -> None:
    with open(toy_bundle / "synthesis.onnx", "r+b") as file:
        file.seek(100)
        file.write(b"altered")
    done = segan_here("generate")
    assert done.returncode == 1
    assert "synthesis.onnx" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unwritable_folder(segan_here: Segan, toy_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    done = segan_here("generate")
    assert done.returncode == 1
    assert "cannot write out: there is a file where a folder is expected" in done.stderr


def test_a_noise_mode_that_can_change_nothing_is_said_so(
    segan_here: Segan, toy_bundle: Path
) -> None:
    path = toy_bundle / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["provenance"]["training"] = {"noise": False}
    path.write_text(json.dumps(manifest))
    done = segan_here("generate", toy_bundle, "--seeds", "0", "-o", "out", "--noise", "random")
    assert done.returncode == 0
    assert "--noise random has no effect" in done.stderr


def test_sliders_psi_by_layer_mixing_and_noise_at_once(
    segan_here: Segan, toy_bundle: Path, tmp_path: Path
) -> None:
    assert segan_here("name", toy_bundle, "L1N0D2", "smile").returncode == 0
    edits = ("--attr", "smile=1.5", "--set", "L2N0D3=-1", "--psi", 0.8, "--noise", "random")
    layers = ("--psi-layers", "0=0.5,2=1", "--mix", "0-1,2=17")
    done = segan_here("generate", toy_bundle, "--seeds", "0-2", *edits, *layers)
    assert done.returncode == 0, done.stderr
    with load(toy_bundle) as generator:
        images = generator.generate(
            range(3),
            psi=0.8,
            psi_layers={0: 0.5, 2: 1.0},
            mix={"0-2": 17},
            sliders={"L1N0D2": 1.5, "L2N0D3": -1.0},
            noise="random",
        )
    for seed, image in enumerate(images):
        with Image.open(tmp_path / "out" / f"seed{seed:06d}.png") as found:
            assert (np.asarray(found) == image).all()
    record = json.loads((tmp_path / "out" / "generation.json").read_text())
    assert record["psi_layers"] == {"0": 0.5, "2": 1.0}
    assert record["mix"] == {"0": 17, "1": 17, "2": 17}
    done = segan_here("generate", toy_bundle, "--seeds", "0-2", *edits)
    assert done.returncode == 2
    assert "mix is {'0': 17, '1': 17, '2': 17} there, none here" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--psi-layers", "0-1"), "expected LAYERS=PSI, such as 0-1=0.5"),
        (("--psi-layers", "0=x"), "'x' is not a number"),
        (("--psi-layers", "0=1,0=0.5"), "layers 0 is given twice"),
        (("--psi-layers", "0=1.5"), "--psi-layers sets layer 0 to 1.5; expected 0 to 1"),
        (("--psi-layers", "7=1"), "layer is 7; expected 0 to 2"),
        (("--mix", "17"), "expected LAYERS=SEED, such as 0-1=17"),
        (("--mix", "0=1-3"), "1-3 is not one seed"),
        (("--mix", "0=x"), "--mix is 'x'"),
        (("--mix", "9=1"), "layer is 9; expected 0 to 2"),
    ],
)
def test_layers_that_cannot_be(
    segan_here: Segan, toy_bundle: Path, words: tuple[str, str], message: str
) -> None:
    done = segan_here("generate", toy_bundle, "--seeds", 0, *words)
    assert done.returncode == 2
    assert message in done.stderr
