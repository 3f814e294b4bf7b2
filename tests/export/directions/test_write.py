from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from segan.export.directions.addition import DirectionsResult
from segan.export.directions.graph import add_directions
from segan.export.directions.pca import principal_components
from segan.export.directions.rows import parse_groups
from segan.export.directions.sefa import factorize, read_style_affines
from segan.export.directions.statistics import sample_w_statistics
from segan.export.directions.write import DirectionsConfig, write_directions
from segan.export.exporter import ExportConfig, export_bundle
from segan.runtime.bundle.reader import open_bundle
from segan.runtime.errors import ConfigError, DataError, ExportError, OutputError
from segan.runtime.generate.generator import Generator, load
from segan.runtime.latents.draws import sample_z

if TYPE_CHECKING:
    from tests.conftest import RaisesError

F64 = NDArray[np.float64]
Make = Callable[..., Any]


def run(generator: Generator, out: Path, **config: Any) -> DirectionsResult:
    return write_directions(generator, out, DirectionsConfig(**{"samples": 300} | config))


def mapped(generator: Generator, samples: int) -> F64:
    return generator.map(sample_z(range(samples), generator.manifest.z_dim)).astype(np.float64)


def test_statistics_and_components_are_those_of_numpys_svd(
    bundle: Callable[..., Generator],
) -> None:
    generator = bundle()
    w = mapped(generator, 1500)  # more than one batch
    found = sample_w_statistics(generator, 1500)
    np.testing.assert_allclose(found.mean, w.mean(0), atol=1e-12)
    np.testing.assert_allclose(found.covariance, np.cov(w.T, ddof=0), atol=1e-12)
    vectors, shares = principal_components(found, 5)
    _, s, vt = np.linalg.svd(w - w.mean(0))
    np.testing.assert_allclose(shares, (s**2 / (s**2).sum())[:5], rtol=1e-9)
    np.testing.assert_allclose(np.abs((vectors * vt[:5]).sum(1)), 1, atol=1e-9)
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(5), atol=1e-12)
    largest = np.abs(vectors).argmax(1)
    assert (vectors[np.arange(5), largest] > 0).all()


def test_sefa_is_numpys_svd_of_the_stacked_affines(
    bundle: Callable[..., Generator], make_generator: Make, tmp_path: Path
) -> None:
    trained = make_generator(resolution=16, mode=2)
    generator = bundle()
    # From the trained network itself, not from the exported graph.
    blocks = dict(trained.synthesis.blocks.items())
    weights = [
        (module.affine.weight * module.affine.weight_gain).double().numpy()
        for name in ("b4", "b8")
        for _, module in blocks[name].site_modules()
    ]
    stacked = np.concatenate(weights)
    _, s, vt = np.linalg.svd(stacked)
    result = run(generator, tmp_path / "out.segan", method="sefa", dims=3, layers="0-1")
    (row,) = result.rows
    assert row.layers == (0, 1)
    w = mapped(generator, 300)
    for dim in range(3):
        at_sites = row.vectors[dim]
        moved = [n for n, site in enumerate(generator.manifest.sites) if site.layer < 2]
        assert np.flatnonzero(np.abs(at_sites).max(1)).tolist() == moved
        step = at_sites[0]
        sign = np.sign(step @ vt[dim])
        expected = sign * vt[dim] * (w @ vt[dim]).std()
        np.testing.assert_allclose(step, expected, atol=1e-6)
        assert row.sigma[dim] == pytest.approx((w @ vt[dim]).std(), rel=1e-5)
    np.testing.assert_allclose(row.explained, (s**2 / (s**2).sum())[:3], rtol=1e-5)


def test_factorize_is_orthonormal_and_ordered() -> None:
    matrix = np.random.RandomState(0).randn(20, 7)
    vectors, shares = factorize(matrix, 7)
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(7), atol=1e-12)
    assert (np.diff(shares) <= 0).all()
    assert shares.sum() == pytest.approx(1)
    gains = np.square(matrix @ vectors.T).sum(0)
    np.testing.assert_allclose(gains / gains.sum(), shares, rtol=1e-10)


@pytest.mark.parametrize(
    ("mode", "kind"),
    [(0, "eigen"), (1, "eigen"), (1, "diagonal"), (2, "eigen"), (2, "diagonal"), (3, "diagonal")],
)
def test_zero_changes_no_bit_and_a_value_adds_sigma(
    bundle: Callable[..., Generator], tmp_path: Path, mode: int, kind: str
) -> None:
    old = bundle(mode=mode, kind=kind)
    result = run(old, tmp_path / "out.segan", method="pca", dims=2, layers="0,1-2")
    new = load(tmp_path / "out.segan")
    for noise in ("const", "random"):
        before = old.generate([3, 4, 5], psi=0.7, noise=noise)
        after = new.generate([3, 4, 5], psi=0.7, noise=noise)
        np.testing.assert_array_equal(before, after)
    w = mapped(old, 300)
    _, _, vt = np.linalg.svd(w - w.mean(0))
    for row, subspace in zip(result.rows, result.subspaces, strict=True):
        number = new.manifest.subspaces.index(subspace)
        sites = [n for n, s in enumerate(new.manifest.sites) if s.layer in row.layers]
        assert subspace.site == sites[0]
        assert (subspace.prior, subspace.low, subspace.high) == ("zero", -3, 3)
        for dim, value in ((0, 1.5), (1, -2.0)):
            direction = vt[dim] * np.sign(row.vectors[dim, sites[0]] @ vt[dim])
            moved = np.repeat(w[:2, None], new.manifest.num_sites, 1)
            moved[:, sites] += value * (w @ direction).std() * direction
            expected, expected_shifts = old.style(moved)
            coords = np.zeros((2, new.manifest.num_subspaces, new.manifest.coords_dim))
            coords[:, number, dim] = value
            found, shifts = new.style(w[:2], 1.0, coords)
            np.testing.assert_allclose(found, expected, atol=2e-5)
            if expected_shifts is not None:
                assert shifts is not None
                rows, width = expected_shifts.shape[1:]
                np.testing.assert_allclose(shifts[:, :rows, :width], expected_shifts, atol=2e-5)
                assert not shifts[:, rows:].any()
    # psi does not scale the user's sliders, as with trained subspaces.
    coords[:] = 0
    coords[:, number, 0] = 1
    at_zero = new.style(w[:1], 0.0, coords[:1])[0] - new.style(w[:1], 0.0)[0]
    if not (kind == "diagonal" and mode in (2, 3)):
        np.testing.assert_allclose(at_zero[0], row.vectors[0], atol=2e-5)


def test_indices_go_on_and_directions_can_be_added_twice_in_place(
    bundle: Callable[..., Generator], tmp_path: Path
) -> None:
    generator = bundle()
    trained = {(s.layer, s.index) for s in generator.manifest.subspaces}
    before = generator.generate([1])
    path = generator.bundle.path
    run(generator, path, method="sefa", dims=5)
    run(load(path), path, method="pca", dims=2, layers="1", low=-2.0, high=2.0)
    found = load(path)
    np.testing.assert_array_equal(found.generate([1]), before)
    manifest = found.manifest
    places = [(s.layer, s.index) for s in manifest.subspaces]
    assert len(set(places)) == len(places)
    assert trained < set(places)
    last = manifest.subspaces[-1]
    assert (last.layer, last.dims, last.low, last.high) == (1, 2, -2.0, 2.0)
    assert last.index == 1 + max(i for layer, i in places[:-1] if layer == 1)
    assert manifest.coords_dim == 5
    assert [d["method"] for d in manifest.provenance["directions"]] == ["sefa", "pca"]
    found.bundle.verify()
    swept = found.sweep(1, 1, 0, index=last.index, steps=3)
    np.testing.assert_array_equal(swept[1], before[0])
    assert (swept[0] != swept[2]).any()
    attributes = found.bundle.attributes["attributes"]
    assert len(attributes) == 3 * 5 + 2
    assert attributes[-1]["name"] == "pca 1, layer 1"
    assert attributes[-1]["range"] == [-2.0, 2.0]


def test_graphs_are_valid_with_a_dynamic_batch(
    bundle: Callable[..., Generator], tmp_path: Path
) -> None:
    run(bundle(mode=0), tmp_path / "out.segan", method="pca", dims=2)
    model = onnx.load(tmp_path / "out.segan" / "offsets.onnx")
    onnx.checker.check_model(model, full_check=True)
    for value in (*model.graph.input, *model.graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_param
    assert [value.name for value in model.graph.input] == ["w", "psi", "coords"]
    found = load(tmp_path / "out.segan")
    for n in (1, 2, 5):
        assert len(found.generate(range(n), batch_size=n)) == n
    one = found.generate([2], sliders={"L1N0D0": 2.0})
    np.testing.assert_array_equal(one, found.generate([1, 2], sliders={"L1N0D0": 2.0})[1:])


def test_planted_directions_are_found(make_generator: Make, tmp_path: Path) -> None:
    trained = make_generator(resolution=16, mode=0)
    random = np.random.RandomState(4)
    for_w, for_style = random.randn(2, 8)
    for_w, for_style = for_w / np.linalg.norm(for_w), for_style / np.linalg.norm(for_style)
    with torch.no_grad():
        last = trained.mapping.fc1
        planted = torch.tensor(np.outer(for_w, random.randn(8)) * 30 / last.weight_gain)
        last.weight += planted.float()
        for _, module in trained.synthesis.blocks["b16"].site_modules():
            affine = module.affine
            rows = affine.weight.shape[0]
            planted = torch.tensor(np.outer(random.randn(rows), for_style) * 9)
            affine.weight += (planted / affine.weight_gain).float()
    export_bundle(trained, tmp_path / "m.segan", ExportConfig(batch_sizes=(1,), tolerance=1e-2))
    generator = load(tmp_path / "m.segan")
    for method, expected in (("pca", for_w), ("sefa", for_style)):
        result = run(generator, tmp_path / "out.segan", method=method, dims=1, layers="2")
        step = result.rows[0].vectors[0][result.rows[0].site]
        cosine = abs(step @ expected) / np.linalg.norm(step)
        assert cosine > 0.97, method
        assert result.rows[0].explained[0] > 0.8, method


def test_vectors_of_each_shape(bundle: Callable[..., Generator], tmp_path: Path) -> None:
    generator = bundle(mode=0)
    sites, random = generator.manifest.sites, np.random.RandomState(0)
    w = mapped(generator, 300)
    out, file = tmp_path / "out.segan", tmp_path / "v.npz"

    def check(row: Any, dim: int, site: int, vector: F64) -> None:
        unit = vector / np.linalg.norm(vector)
        np.testing.assert_allclose(
            row.vectors[dim, site], unit * (w @ unit).std(), rtol=1e-6, atol=1e-9
        )

    w_vectors = random.randn(2, 8) * 50
    np.savez(file, w=w_vectors, names=["smile", "age"])
    result = run(generator, out, method="vectors", vectors=file)
    assert len(result.rows) == 3
    check(result.rows[1], 1, 3, w_vectors[1])
    names = [a["name"] for a in load(out).bundle.attributes["attributes"]]
    assert names == [f"{name}, layer {layer}" for layer in range(3) for name in ("smile", "age")]

    layered = random.randn(3, 4, 8)
    layered[1] = 0
    np.save(tmp_path / "v.npy", layered)
    result = run(generator, out, method="vectors", vectors=tmp_path / "v.npy", dims=3)
    assert [row.layers for row in result.rows] == [(0,), (2,)]
    check(result.rows[1], 2, len(sites) - 1, layered[2, 2])

    plus = random.randn(6, 8)  # num_ws rows: a to_rgb shares the next convolution's
    np.savez(file, ws=plus)
    (row,) = run(generator, out, method="vectors", vectors=file).rows
    assert row.layers == (0, 1, 2)
    steps = row.vectors[0]
    np.testing.assert_allclose(steps[1], steps[2])  # b4.to_rgb and b8.conv0
    np.testing.assert_allclose(steps[-1] / steps[0], plus[5] / plus[0])
    ratio = steps[0] / plus[0]
    unit = plus / plus[0, 0] * steps[0, 0]
    np.testing.assert_allclose(ratio, ratio[0])
    along = w @ (unit[[0, 1, 1, 2, 3, 3, 4, 5]] / row.sigma[0]).T  # [samples, sites]
    variance = along.var(axis=0)
    assert np.sqrt(variance.mean()) == pytest.approx(row.sigma[0], rel=1e-6)


@pytest.mark.parametrize(
    ("arrays", "part"),
    [
        ({"w": np.zeros((2, 8))}, "direction 0 of layer 0 is zero"),
        ({"w": np.full((2, 8), np.nan)}, "not finite"),
        ({"w": np.ones((2, 7))}, "expected w_dim, 8"),
        ({"layers": np.ones((5, 2, 8))}, "num_layers is 3"),
        ({"ws": np.zeros((8, 8))}, "all directions are zero"),
        ({"a": np.ones((2, 8)), "b": np.ones((2, 8))}, "expected one of layers, ws, w"),
        ({"w": np.array(["x"])}, "numbers"),
        ({"w": np.array([{}], dtype=object)}, "Python objects"),
    ],
)
def test_bad_vectors(
    bundle: Callable[..., Generator], tmp_path: Path, arrays: dict[str, Any], part: str
) -> None:
    np.savez(tmp_path / "v.npz", **arrays)
    with pytest.raises(DataError) as caught:
        run(bundle(), tmp_path / "out.segan", method="vectors", vectors=tmp_path / "v.npz")
    assert part in str(caught.value)
    assert not (tmp_path / "out.segan").exists()


def test_wrong_use(
    bundle: Callable[..., Generator], tmp_path: Path, raises_error: RaisesError
) -> None:
    generator = bundle()
    out = tmp_path / "out.segan"
    groups = "layers and groups such as 0-1,3, from 0 to 2"
    cases: tuple[tuple[dict[str, Any], str, Any, str], ...] = (
        ({"method": "lda"}, "method", "lda", "one of sefa, pca, vectors"),
        ({"method": "vectors"}, "vectors", None, ""),
        ({"method": "pca", "vectors": out}, "vectors", out, ""),
        ({"method": "pca", "dims": 9}, "dims", 9, "1 to w_dim (8)"),
        ({"method": "pca", "dims": 0}, "dims", 0, "1 or more"),
        ({"method": "sefa", "layers": "7"}, "layers", "7", "0 to 2"),
        ({"method": "sefa", "layers": "0-1,1"}, "layers", "0-1,1", "each layer at most once"),
        ({"method": "sefa", "layers": "x"}, "layers", "x", groups),
        ({"method": "sefa", "layers": "2-1"}, "layers", "2-1", groups),
        ({"method": "pca", "samples": 8}, "samples", 8, "more than w_dim, 8, such as 20000"),
        ({"method": "pca", "class_index": 0}, "class_index", 0, "none: there are no classes"),
    )
    for settings, field, value, expected in cases:
        with raises_error(ConfigError, field=field, value=value, expected=expected):
            run(generator, out, **settings)
    with raises_error(ConfigError, field="low", value=1.0):
        run(generator, out, method="pca", low=1.0, high=1.0)
    with raises_error(ConfigError, field="out", value=tmp_path / "out"):
        run(generator, tmp_path / "out", method="pca")
    (tmp_path / "file.segan").write_text("mine")
    with raises_error(OutputError, field="out", value=tmp_path / "file.segan"):
        run(generator, tmp_path / "file.segan", method="pca", dims=2)
    assert {p.name for p in tmp_path.iterdir()} == {"model.segan", "file.segan"}


def test_graphs_of_other_makers(
    toy_bundle: Path, tmp_path: Path, raises_error: RaisesError
) -> None:
    toy = load(toy_bundle)
    with raises_error(ExportError, value="b4.conv1.affine.weight", remedy="`method pca`"):
        run(toy, tmp_path / "out.segan", method="sefa")
    result = run(toy, tmp_path / "out.segan", method="pca", dims=2)
    assert result.max_error < 1e-5
    np.testing.assert_array_equal(load(result.path).generate([5]), toy.generate([5]))
    with raises_error(ExportError, field="bundle", problem="not ONNX"):
        add_directions(b"\xff\xff", np.zeros((1, 1, 1, 1)), rows=0, width=0, new_width=1)
    model = toy.bundle.read("mapping.onnx")
    with raises_error(ExportError, field="bundle", problem="psi"):
        add_directions(model, np.zeros((1, 1, 1, 1)), rows=0, width=0, new_width=1)


def test_zips_with_classes(toy_bundle_zip: Path, tmp_path: Path) -> None:
    toy = load(toy_bundle_zip)  # mode 1
    run(toy, tmp_path / "out.segan", method="pca", dims=2, class_index=1)
    new = load(tmp_path / "out.segan")
    options: dict[str, Any] = {"class_index": 2, "psi": 0.6}
    np.testing.assert_array_equal(new.generate([5], **options), toy.generate([5], **options))
    run(toy, toy_bundle_zip, method="pca", dims=2)
    assert open_bundle(toy_bundle_zip).manifest.num_subspaces == 4 + 3
    record = json.loads((tmp_path / "out.segan" / "manifest.json").read_text())
    assert record["provenance"]["directions"][0]["class"] == 1


def test_groups_and_affines(bundle: Callable[..., Generator]) -> None:
    generator = bundle()
    manifest = generator.manifest
    assert parse_groups(manifest, None) == ((0,), (1,), (2,))
    assert parse_groups(manifest, "2, 0-1") == ((2,), (0, 1))
    found = read_style_affines(generator.bundle.read("synthesis.onnx"), manifest)
    assert list(found) == list(range(manifest.num_sites))
    assert all(matrix.shape[1] == manifest.w_dim for matrix in found.values())
