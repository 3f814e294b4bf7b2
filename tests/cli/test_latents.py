"""--latents of generate, sweep, mix and interpolate."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segan.runtime.generate.generator import load
from segan.runtime.latents.files import Latents

Segan = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def projected(tmp_path: Path) -> Path:
    """Two latents of the toy, as StyleGAN2-ADA's projector writes them."""
    path = tmp_path / "projected_w.npz"
    np.savez(path, w=np.random.RandomState(1).randn(2, 6, 8).astype(np.float32))
    return path


def test_npz_without_torch(segan: Segan, toy_bundle: Path, projected: Path) -> None:
    done = segan("generate", toy_bundle, "--latents", projected, "-o", "out", "--sheet", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["requested"] == 2
    w = np.load(projected, allow_pickle=False)["w"][:, [0, 1, 1, 2, 3, 3, 4, 5]]
    expected = load(toy_bundle).generate([0, 1], latents=Latents(w))
    folder = projected.parent / "out"
    for number in range(2):
        found = np.asarray(Image.open(folder / f"seed{number:06d}.png"))
        np.testing.assert_array_equal(found, expected[number])


def test_every_command(segan_here: Segan, toy_bundle: Path, projected: Path) -> None:
    given = ("--latents", projected, "--latents", projected)
    for words in (
        ("sweep", toy_bundle, "--at", "L1N0D2", "--steps", "3", "-o", "s.png"),
        ("sweep", toy_bundle, "--layer", "1", "--seeds", "1", "--steps", "2", "-o", "t.png"),
        ("mix", toy_bundle, "--cols", "5-6", "-o", "m.png"),
        ("mix", toy_bundle, "--cols", "1,3", "--cols-from", "latents", "-o", "n.png"),
        ("interpolate", toy_bundle, "--frames", "2", "-o", "w.gif"),
    ):
        done = segan_here(*words, *given)
        assert done.returncode == 0, done.stderr
        assert (projected.parent / str(words[-1])).stat().st_size > 0


def test_wrong_use(segan_here: Segan, toy_bundle: Path, projected: Path) -> None:
    done = segan_here("generate", toy_bundle, "--latents", projected, "--seeds", "2")
    assert done.returncode == 2
    assert "expected 0 to 1" in done.stderr
    (projected.parent / "bad.npz").write_bytes(b"<html>")
    done = segan_here("sweep", toy_bundle, "--at", "L1N0D2", "--latents", "bad.npz")
    assert done.returncode == 1
    assert "neither .npz nor .npy" in done.stderr
    done = segan_here("generate", toy_bundle, "--latents", "none.npz")
    assert "does not exist" in done.stderr


def test_z_and_w(segan_here: Segan, toy_bundle: Path, tmp_path: Path) -> None:
    """z is known by its name or by asking; what may be both is refused with how to tell."""
    z = np.random.RandomState(0).randn(1, 8).astype(np.float32)
    np.savez(tmp_path / "z.npz", z=z)
    np.save(tmp_path / "a.npy", z)
    for number, words in enumerate((("z.npz",), ("a.npy", "--latent-space", "z"))):
        out = f"z{number}"
        done = segan_here("generate", toy_bundle, "-o", out, "--latents", *words)
        assert done.returncode == 0, done.stderr
        assert "is z, mapped to w" in done.stderr
        found = np.asarray(Image.open(tmp_path / out / "seed000000.png"))
        expected = load(toy_bundle).generate([0], coords="zero")[0]
        np.testing.assert_array_equal(found, expected)
    done = segan_here("generate", toy_bundle, "-o", "b", "--latents", "a.npy")
    assert done.returncode == 1
    assert "--latent-space z" in done.stderr
    assert "--latent-space w" in done.stderr
    for words, out in (
        (("sweep", "--at", "L1N0D2", "--steps", "2"), "s.png"),
        (("mix", "--cols", "5"), "m.png"),
        (("interpolate", "--frames", "2", "--latents", "z.npz"), "w.gif"),
    ):
        given = ("--latents", "a.npy", "--latent-space", "z", "-o", out)
        done = segan_here(words[0], toy_bundle, *words[1:], *given)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / out).stat().st_size > 0
    done = segan_here("generate", toy_bundle, "--latent-space", "z")
    assert done.returncode == 2
    assert "--latents FILE" in done.stderr


def test_both_readings_are_said(segan_here: Segan, toy_bundle: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", w=np.zeros((6, 8), np.float32))
    done = segan_here("generate", toy_bundle, "-o", "a", "--latents", "w.npz", "--json")
    assert json.loads(done.stdout)["requested"] == 6
    assert "--latent-space w+ takes it as the rows of one image" in done.stderr
    done = segan_here(
        *("generate", toy_bundle, "-o", "b", "--latents", "w.npz", "--latent-space", "w+", "--json")
    )
    assert json.loads(done.stdout)["requested"] == 1
