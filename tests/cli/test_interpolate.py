from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segan.runtime.generate.generator import load

Segan = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.parametrize("space", ["w", "z"])
def test_a_folder_of_frames(
    segan_here: Segan, toy_bundle: Path, tmp_path: Path, space: str
) -> None:
    arguments = ("--seeds", "0,5,9", "--frames", 4, "--space", space, "-o", "walk", "--json")
    done = segan_here("interpolate", *arguments)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    # Two stretches of 4 frames, and the last seed's.
    assert result["frames"] == 9
    assert result["seconds"] == pytest.approx(9 / 30, abs=1e-3)
    assert "walking: 9/9 frames" in done.stderr
    with load(toy_bundle) as generator:
        for position, seed in ((0, 0), (4, 5), (8, 9)):
            with Image.open(tmp_path / "walk" / f"frame{position:06d}.png") as found:
                apart = np.asarray(found).astype(int) - generator.generate([seed])[0]
                assert np.abs(apart).max() <= 1


def test_a_loop_as_gif(segan_here: Segan, toy_bundle: Path, tmp_path: Path) -> None:
    done = segan_here("interpolate", "--seeds", "0,5", "--frames", 3, "--loop", "--fps", 10)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "walk.gif: 6 frames, 0.6 s at 10 a second.\n"
    assert "walking: 6/6 frames" in done.stderr
    with Image.open(tmp_path / "walk.gif") as found:
        assert found.n_frames == 6  # type: ignore[attr-defined]
        assert found.size == (256, 256)


def test_mp4(segan_here: Segan, toy_bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("av", reason="needs av; the bare environment has none")
    done = segan_here("interpolate", "--seeds", "0,5", "--frames", 3, "-o", "walk.mp4")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "walk.mp4").read_bytes()[4:8] == b"ftyp"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--seeds", "3"), "2"),
        (("--frames", "0"), "frames is 0"),
        (("--fps", "0"), "--fps is 0.0; expected 0.1 to 120"),
        (("-o", "walk.avi"), "ends in '.avi'; expected .gif, .mp4"),
        (("--scale", "0"), "scale is 0"),
        (("--space", "x"), "'x'"),
    ],
)
def test_wrong_use(
    segan_here: Segan, toy_bundle: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = segan_here("interpolate", *arguments)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "walk.gif").exists()


def test_a_walk_through_classes(segan_here: Segan, toy_bundle_zip: Path, tmp_path: Path) -> None:
    words = ("interpolate", toy_bundle_zip, "--seeds", "5", "--frames", 2, "-o", "walk")
    done = segan_here(*words, "--class", "star", "--to-class", 0, "--to-class", "square", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["frames"] == 5
    assert "walking: 5/5 frames" in done.stderr
    with load(toy_bundle_zip) as generator:
        for position, number in ((0, 2), (2, 0), (4, 1)):
            with Image.open(tmp_path / "walk" / f"frame{position:06d}.png") as found:
                image = generator.generate([5], class_index=number)[0, :, :, 0]
                assert np.abs(np.asarray(found).astype(int) - image).max() <= 1
    done = segan_here(*words, "--to-class", "square")
    assert done.returncode == 2
    assert "--to-class has no class to start from; expected --class too." in done.stderr
    done = segan_here(*words, "--class", "star", "--to-class", "squares")
    assert done.returncode == 2
    assert "--to-class is 'squares'; expected 0 to 2" in done.stderr
    assert "Did you mean 'square'?" in done.stderr
