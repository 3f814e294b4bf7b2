from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from segan.export.foreign.latent_tensors import read_tensor_latents
from segan.runtime.bundle.manifest import Manifest
from segan.runtime.bundle.reader import open_bundle
from segan.runtime.errors import DataError
from segan.runtime.latents.files import is_tensor_file

if TYPE_CHECKING:
    from tests.conftest import RaisesError

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
    expanded = torch.randn(8).half().expand(1, 6, 8)
    for value in (w, {"w": w}, {"latent": w, "n_iter": 3}, {"mine": w}, {"w": expanded}):
        torch.save(value, tmp_path / "a.pt")
        found = read_tensor_latents(tmp_path / "a.pt", manifest)
        given = expanded if isinstance(value, dict) and value.get("w") is expanded else w
        np.testing.assert_array_equal(found.w, given.float().numpy()[:, ROWS])


def test_rows_and_images(manifest: Manifest, tmp_path: Path, raises_error: RaisesError) -> None:
    """Two dimensions of a tensor: rows of one image where their number is the bundle's."""
    path, rows, images = tmp_path / "a.pt", torch.randn(6, 8), torch.randn(3, 8)
    torch.save({"w": rows}, path)
    found = read_tensor_latents(path, manifest)
    np.testing.assert_array_equal(found.w, rows.numpy()[None, ROWS])
    assert any("`latent_space w` takes it as 6 images" in note for note in found.notes)
    found = read_tensor_latents(path, manifest, latent_space="w")
    np.testing.assert_array_equal(found.w, rows.numpy()[:, None].repeat(8, 1))
    torch.save({"w": images}, path)
    found = read_tensor_latents(path, manifest)
    np.testing.assert_array_equal(found.w, images.numpy()[:, None].repeat(8, 1))
    assert any("taken as 3 images" in note for note in found.notes)
    # W+ of 128 x 128, as rosinality's projector writes it, is not 12 images.
    torch.save({"a.png": {"latent": torch.randn(12, 8)}}, path)
    with raises_error(DataError, field="latents", problem="12 rows, num_ws of 128 x 128") as caught:
        read_tensor_latents(path, manifest)
    assert "this bundle of 16 x 16" in caught.value.expected
    assert len(read_tensor_latents(path, manifest, latent_space="w").w) == 12
    with raises_error(DataError, problem="num_ws of 128 x 128"):
        read_tensor_latents(path, manifest, latent_space="w+")


def test_z_is_mapped(manifest: Manifest, tmp_path: Path, raises_error: RaisesError) -> None:
    path, z = tmp_path / "a.pt", torch.randn(2, 8)
    torch.save({"z": z}, path)
    with raises_error(DataError, field="latents", problem="z is z"):
        read_tensor_latents(path, manifest)
    found = read_tensor_latents(path, manifest, map_z=lambda z: z * 2)
    np.testing.assert_array_equal(found.w[:, 3], z.numpy() * 2)
    torch.save(z, path)
    with raises_error(DataError, problem="may be z"):
        read_tensor_latents(path, manifest, map_z=lambda z: z)


def test_tensors_that_share_a_storage(manifest: Manifest, tmp_path: Path) -> None:
    shared = torch.zeros(1 << 21, 8)
    content = {f"{number}.png": {"w": shared} for number in range(50)}
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(DataError, match="holds tensors of more than"):
        read_tensor_latents(tmp_path / "a.pt", manifest)


def test_bad_files(manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.pt"
    for value, part in (
        ({"w": _Command()}, "more than tensors"),
        ([1, 2], "holds list"),
        ({"g_ema": torch.zeros(3), "g": torch.zeros(3)}, "an array named"),
        ({"w": torch.zeros(1, 8).expand(1 << 40, 8)}, "on a storage of 8 values"),
        ({"w": torch.zeros(2, 8).to_sparse()}, "_rebuild_sparse_tensor"),
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
