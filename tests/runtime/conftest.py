"""An independent computation of the toy bundles' images, and ways to damage a bundle."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

DATA = Path(__file__).parents[1] / "data"
F64 = NDArray[np.float64]


class Oracle:
    """The images of a toy bundle in float64 numpy, from its weights in tests/data/NAME.npz."""

    def __init__(self, name: str, manifest: dict[str, Any]) -> None:
        with np.load(DATA / f"{name}.npz", allow_pickle=False) as weights:
            self.k = {key: value.astype(np.float64) for key, value in weights.items()}
        self.manifest = manifest
        self.sites: list[dict[str, Any]] = manifest["sites"]
        self.subspaces: list[dict[str, Any]] = manifest["subspaces"]

    def z(self, seeds: Sequence[int]) -> F64:
        width = self.manifest["z_dim"]
        return np.stack([np.random.RandomState(seed).randn(width) for seed in seeds])

    def coords(self, seeds: Sequence[int], psi: ArrayLike = 1.0) -> F64:
        """Sampled coordinates times psi at each subspace's site."""
        psi = np.broadcast_to(np.asarray(psi, np.float64), len(self.sites))
        out = np.zeros((len(seeds), len(self.subspaces), self.manifest["coords_dim"]))
        for n, seed in enumerate(seeds):
            bits = np.random.MT19937(np.random.SeedSequence((seed, 1)))
            stream = np.random.RandomState(bits)
            for row, subspace in enumerate(self.subspaces):
                k = subspace["dims"]
                if subspace["prior"] == "uniform":
                    out[n, row, :k] = 3**0.5 * (2 * stream.random_sample(k) - 1)
                elif subspace["prior"] == "normal":
                    out[n, row, :k] = stream.standard_normal(k)
                out[n, row] *= psi[subspace["site"]]
        return out

    def noise(self, seeds: Sequence[int]) -> F64:
        size = self.k["noise"].size
        rows = []
        for seed in seeds:
            bits = np.random.MT19937(np.random.SeedSequence((seed, 2)))
            rows.append(np.random.RandomState(bits).standard_normal(size))
        return np.stack(rows)

    def w(self, z: F64, label: int | None = None) -> F64:
        x: F64 = z @ self.k["A"] + self.k["b"]
        found: F64 = np.tanh(x if label is None else x + self.k["B"][label])
        return found

    def image(
        self,
        w: F64,
        *,
        psi: ArrayLike = 1.0,
        coords: F64 | None = None,
        noise: F64 | None = None,
    ) -> F64:
        """[N, C, 16, 16] from w [N, w_dim] or [N, sites, w_dim]; noise None: the constant one."""
        k, count = self.k, len(w)
        if w.ndim == 2:
            w = np.repeat(w[:, None], len(self.sites), axis=1)
        psi = np.broadcast_to(np.asarray(psi, np.float64), (count, len(self.sites)))
        ws = k["w_avg"] + psi[:, :, None] * (w - k["w_avg"])
        if "D" in k:
            assert coords is not None
            offsets = coords.reshape(count, -1) @ k["D"]
            ws = ws + offsets.reshape(ws.shape) + k["m"]
        total = np.zeros((count, self.manifest["img_channels"], 16, 16))
        for layer in range(3):
            own = [n for n, site in enumerate(self.sites) if site["layer"] == layer]
            h = ws[:, own].reshape(count, -1) @ k[f"P{layer}"] + k[f"q{layer}"]
            if self.manifest["mode"] == 1:
                assert coords is not None
                for row, subspace in enumerate(self.subspaces):
                    if subspace["layer"] == layer:
                        h = h + coords[:, row] @ k[f"V{row}"]
            E = k[f"E{layer}"]
            total += np.einsum("yi,ncij,xj->ncyx", E, h.reshape(count, -1, 4, 4), E)
        if "noise" in k:
            rows = k["noise"][None] if noise is None else noise
            start = 0
            for site, strength in zip(self.sites, k["strength"], strict=True):
                if site["kind"] == "rgb":
                    continue
                r = site["resolution"]
                part = rows[:, start : start + r * r].reshape(-1, 1, r, r)
                start += r * r
                scale = 16 // r
                total += strength * part.repeat(scale, axis=2).repeat(scale, axis=3)
        return 1.1 * np.tanh(total)


def pixels(image: F64) -> NDArray[np.uint8]:
    """[N, H, W, C] uint8, in float64 all the way."""
    return np.moveaxis(np.clip(np.floor(image * 127.5 + 128), 0, 255), 1, -1).astype(np.uint8)


def assert_same_images(found: NDArray[np.uint8], image: F64) -> None:
    """Equal but where float32 falls on the other side of a whole number."""
    expected = pixels(image)
    assert found.dtype == np.uint8
    assert found.shape == expected.shape
    apart = np.abs(found.astype(int) - expected.astype(int))
    assert apart.max() <= 1
    assert apart.mean() < 0.01


@pytest.fixture
def same_images() -> Callable[[NDArray[np.uint8], F64], None]:
    return assert_same_images


def _manifest_of(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((path / "manifest.json").read_bytes())
    return found


@pytest.fixture
def oracle() -> Oracle:
    """Of toy.segan."""
    return Oracle("toy", _manifest_of(DATA / "toy.segan"))


@pytest.fixture
def oracle_shifts() -> Oracle:
    """Of toy_shifts.segan."""
    import zipfile

    with zipfile.ZipFile(DATA / "toy_shifts.segan") as archive:
        return Oracle("toy_shifts", json.loads(archive.read("manifest.json")))


@pytest.fixture
def oracle_plain() -> Oracle:
    """Of toy_plain.segan."""
    return Oracle("toy_plain", _manifest_of(DATA / "toy_plain.segan"))


@pytest.fixture
def edit_manifest() -> Callable[..., None]:
    """edit_manifest(bundle, name=value, ...) rewrites fields of a folder's manifest."""

    def edit(bundle: Path, **fields: object) -> None:
        manifest = {**_manifest_of(bundle), **fields}
        (bundle / "manifest.json").write_text(json.dumps(manifest))

    return edit
