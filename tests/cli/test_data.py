from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from segan.cli.main import run
from segan.train.data.dataset import describe_dataset, open_dataset


def test_faces_are_rendered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "faces.zip"
    options = ["--count", "6", "--resolution", "16", "--seed", "4"]
    assert run(["data", "render", str(path), *options]) == 0
    assert "6 faces of 16 x 16" in capsys.readouterr().out
    assert open_dataset(path).images.shape == (6, 3, 16, 16)
    assert run(["data", "render", str(path), *options, "--overwrite", "--json"]) == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert (result["count"], result["resolution"], result["seed"]) == (6, 16, 4)
    assert "smile" in result["attributes"]
    assert "drawing: 6/6 images" in captured.err


def write_photos(folder: Path) -> Path:
    for name, color in [("cat/1.jpg", "red"), ("dog/2.jpg", "blue")]:
        (folder / name).parent.mkdir(parents=True)
        PIL.Image.new("RGB", (40, 30), color).save(folder / name)
    return folder


def test_faces_with_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "faces.zip"
    words = ["data", "render", str(out), "--count", "5", "--resolution", "8", "--labels", "glasses"]
    assert run([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["class_names"] == ["none", "round", "square"]
    assert describe_dataset(out)["class_names"] == ["none", "round", "square"]
    assert run([*words, "--overwrite"]) == 0
    assert (
        "5 faces of 8 x 8, 18 attributes, 3 classes: none, round, square."
        in capsys.readouterr().out
    )
    assert run([*words[:-1], "smile"]) == 2
    assert "'smile' is not one of 'none', 'glasses', 'fringe'" in capsys.readouterr().err


def test_photos_are_converted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = write_photos(tmp_path / "photos"), tmp_path / "photos.zip"
    assert run(["data", "convert", str(source), str(out), "--resolution", "16"]) == 0
    assert "2 images of 16 x 16, 3 channels, 2 classes: cat 1, dog 1." in capsys.readouterr().out
    assert open_dataset(out).class_names == ("cat", "dog")
    assert describe_dataset(out)["class_counts"] == {"cat": 1, "dog": 1}


def test_folders_of_plain_numbers_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_photos(tmp_path / "photos")
    for number, name in enumerate(("cat", "dog")):
        (source / name).rename(source / str(number))
    words = ["data", "convert", str(source), str(tmp_path / "out.zip"), "--resolution", "16"]
    assert run(words) == 0
    done = capsys.readouterr()
    assert "3 channels, no labels." in done.out
    assert "the sub-folders 0, 1 are not used as classes" in done.err
    assert "--labels folders" in done.err
    for labels, expected in (("folders", "2 classes: 0 1, 1 1."), ("none", "no labels.")):
        assert run([*words, "--labels", labels, "--overwrite"]) == 0
        done = capsys.readouterr()
        assert expected in done.out
        assert "not used" not in done.err


def test_bad_images_are_named_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = write_photos(tmp_path / "photos"), tmp_path / "photos.zip"
    for index in range(12):
        (source / "cat" / f"bad{index}.png").write_bytes(b"x")
    arguments = ["data", "convert", str(source), str(out), "--resolution", "16"]
    assert run(arguments) == 1
    assert "cat/bad0.png" in capsys.readouterr().err
    assert not out.exists()
    assert run([*arguments, "--on-bad", "skip"]) == 0
    text = capsys.readouterr().out
    assert "12 images left out" in text
    assert "cat/bad9.png" in text
    assert "and 2 more; --json lists all" in text
    assert run([*arguments, "--on-bad", "skip", "--overwrite", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["count"] == 2
    assert [entry["name"] for entry in result["skipped"]] == [
        f"cat/bad{index}.png" for index in range(12)
    ]
    assert np.isclose(result["seconds"], 0, atol=60)


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["render", "OUT", "--resolution", "48"], 2, "resolution is 48; expected a power of two"),
        (["render", "OUT", "--count", "0"], 2, "count is 0; expected 1 to"),
        (["render", "OUT", "--seed", "-1"], 2, "seed is -1; expected 0 to"),
        (["render"], 2, "Missing argument 'OUT'"),
        (["convert", "none", "OUT"], 1, "none does not exist"),
        (["convert", "none", "OUT", "--crop", "left"], 2, "'left' is not one of"),
        (["convert", ".", "OUT", "--background", "whyte"], 2, "background is 'whyte'"),
    ],
)
def test_wrong_use_and_failure(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    status: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["out.zip" if argument == "OUT" else argument for argument in arguments]
    assert run(["data", *arguments]) == status
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["render", "convert"])
def test_help_is_complete(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", name, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"Example: segan data {name}" in text
    assert "[default: 64]" in text


def test_data_needs_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None; sys.modules['lmdb'] = None\n"
        "from segan.cli.main import run\n"
        "import segan.train.data.convert, segan.train.data.dataset\n"
        f"sys.exit(run(['data', 'render', {str(tmp_path / 'a.zip')!r}, '--count', '2']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
