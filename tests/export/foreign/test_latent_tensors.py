from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from segan.export.foreign.latent_tensors import read_tensor_latents
from segan.runtime.bundle.manifest import Manifest
from segan.runtime.bundle.reader import open_bundle
from segan.runtime.errors import DataError
from segan.runtime.latents.files import is_tensor_file

ROWS = [0, 1, 1, 2, 3, 3, 4, 5]


@pytest.fixture
def manifest(toy_bundle: Path) -> Manifest:
    return open_bundle(toy_bundle).manifest


class _Command:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch harmed",)


@pytest.mark.parametrize("zipped", [True, False])
def test_rosinalitys_files(manifest: Manifest, tmp_path: Path, zipped: bool) -> None:
    plus, plain = torch.randn(6, 8), torch.randn(8)
    noise = [torch.randn(1, 1, 4, 4)]
    path = tmp_path / "projected.pt"
    found = {
        "a.png": {"img": torch.zeros(3, 16, 16), "latent": plus, "noise": noise},
        "b.png": {"img": torch.zeros(3, 16, 16), "latent": plain, "noise": noise},
    }
    torch.save(found, path, _use_new_zipfile_serialization=zipped)
    assert is_tensor_file(path)
    latents = read_tensor_latents(path, manifest)
    assert latents.coords is None
    np.testing.assert_array_equal(latents.w[0], plus.numpy()[ROWS])
    np.testing.assert_array_equal(latents.w[1], np.tile(plain.numpy(), (8, 1)))


def test_other_containers(manifest: Manifest, tmp_path: Path) -> None:
    w = torch.randn(1, 6, 8).half()
    for value in (w, {"w": w}, {"latent": w, "n_iter": 3}, {"mine": w}):
        torch.save(value, tmp_path / "a.pt")
        found = read_tensor_latents(tmp_path / "a.pt", manifest)
        np.testing.assert_array_equal(found.w, w.float().numpy()[:, ROWS])


def test_bad_files(manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.pt"
    for value, part in (
        ({"w": _Command()}, "more than tensors"),
        ([1, 2], "holds list"),
        ({"g_ema": torch.zeros(3), "g": torch.zeros(3)}, "an array named"),
        ({"w": torch.zeros(1, 8).expand(1 << 40, 8)}, r"w has \d+ values"),
        ({"w": torch.zeros(2, 8).to_sparse()}, "not a dense tensor"),
        ({"w": torch.zeros(2, 9)}, "another generator"),
    ):
        torch.save(value, path)
        with pytest.raises(DataError, match=part):
            read_tensor_latents(path, manifest)
    assert not (tmp_path / "harmed").exists()
    torch.save({"w": torch.zeros(2, 8)}, path)
    data = path.read_bytes()
    for percent in range(0, 100, 7):
        path.write_bytes(data[: len(data) * percent // 100])
        with pytest.raises(DataError):
            read_tensor_latents(path, manifest)
    with pytest.raises(DataError, match="does not exist"):
        read_tensor_latents(tmp_path / "none.pt", manifest)
