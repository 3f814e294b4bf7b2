"""Whole bundles: every mode and kind on ONNX Runtime, failures, and what is left behind."""

from __future__ import annotations

import errno
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from onnx import load_from_string, numpy_helper

from segan.export import ExportConfig, export_bundle, exporter
from segan.export.reference import fresh_seeds
from segan.runtime.bundle.reader import open_bundle
from segan.runtime.bundle.writer import BundleDraft, bundle_name
from segan.runtime.errors import ConfigError, OutputError, VerifyError
from segan.runtime.generate.generator import load
from segan.runtime.latents.draws import psi_row, sample_coords, sample_noise, sample_z
from segan.train.networks.stylegan2.generator import Generator

if TYPE_CHECKING:
    from tests.conftest import RaisesError

Make = Callable[..., Generator]

#: Every mode and kind; with them every architecture, form and channel count, and classes.
CASES: list[dict[str, Any]] = [
    {"mode": 0, "architecture": "skip", "lowering": "transposed"},
    {"mode": 0, "architecture": "residual", "lowering": "subpixel", "img_channels": 1},
    {"mode": 0, "architecture": "original", "lowering": "folded", "c_dim": 2},
    {"mode": 1, "kind": "eigen", "architecture": "skip", "lowering": "folded"},
    {"mode": 1, "kind": "diagonal", "architecture": "residual", "lowering": "transposed"},
    {"mode": 2, "kind": "eigen", "architecture": "residual", "lowering": "folded", "c_dim": 3},
    {"mode": 2, "kind": "diagonal", "architecture": "skip", "lowering": "subpixel"},
    {"mode": 3, "kind": "eigen", "architecture": "original", "lowering": "transposed"},
    {"mode": 3, "kind": "diagonal", "architecture": "skip", "lowering": "folded"},
    {"mode": 2, "placement": "all", "img_channels": 4, "architecture": "original"},
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case.values())))
def test_every_mode_and_kind(make_generator: Make, tmp_path: Path, case: dict[str, Any]) -> None:
    settings = dict(case)
    config = ExportConfig(lowering=settings.pop("lowering", None))
    generator = make_generator(**settings)
    result = export_bundle(generator, tmp_path / "one.segan", config)
    record = result.verification.record
    assert record.max_error <= 1e-4
    assert record.psnr_db > 90
    assert record.batch_sizes == (1, 3, 8)
    assert len(set(record.seeds)) == 12
    assert len(record.cases) == 4
    assert max(record.cases.values()) == record.max_error
    compare_by_hand(generator, result.path)


def compare_by_hand(generator: Generator, path: Path) -> None:
    """``generate`` against the generator, without anything from segan.export."""
    seeds, moved = [5, 6, 7], 0.8
    c_dim, table = generator.network.c_dim, generator.table
    bundle = load(path)
    sliders = {"L1N0D1": moved} if table else {}
    label = 1 if c_dim else None
    images = bundle.generate(
        seeds, psi=0.6, cutoff=4, noise="random", sliders=sliders, class_index=label, batch_size=2
    )
    psi = torch.from_numpy(psi_row(generator.network.sites, 0.6, 4)).expand(3, -1)
    coords = None
    if table:
        drawn = sample_coords(seeds, table, generator.coords_shape[1])
        coords = torch.from_numpy(drawn) * psi[:, [row.site for row in table], None]
        row = next(n for n, row in enumerate(table) if row.layer == 1 and row.index == 0)
        coords[:, row, 1] += moved
    image = generator(
        torch.from_numpy(sample_z(seeds, 6)),
        torch.eye(c_dim)[[1, 1, 1]] if c_dim else None,
        coords,
        psi=psi,
        noise=torch.from_numpy(sample_noise(seeds, generator.synthesis.num_noise)),
    )
    expected = np.clip(np.floor(image.numpy() * 127.5 + 128), 0, 255).transpose(0, 2, 3, 1)
    # A pixel next to a step of the quantisation may fall on its other side.
    assert np.abs(images.astype(int) - expected).max() <= 1
    assert (images != expected).mean() < 0.01


@pytest.fixture(scope="module")
def generator(make_generator: Make) -> Generator:
    return make_generator()


@pytest.fixture(scope="module")
def made(generator: Generator) -> list[tuple[str, bytes]]:
    """The files of ``generator``'s bundle, so that tests need no second run of the exporter."""
    return [*exporter.export_files(generator, ExportConfig().table(generator), lambda _: None)]


@pytest.fixture
def quick(made: list[tuple[str, bytes]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporter, "export_files", lambda *_: made)


def spoil(made: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """The same files with one weight of one convolution changed."""
    files = dict(made)
    model = load_from_string(files["synthesis.onnx"])
    tensor = next(entry for entry in model.graph.initializer if entry.name == "b8.conv1.weight")
    weight = numpy_helper.to_array(tensor).copy()
    weight[0, 0, 1, 1] += 0.05
    tensor.CopyFrom(numpy_helper.from_array(weight, tensor.name))
    return [*(files | {"synthesis.onnx": model.SerializeToString()}).items()]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_manifest(quick: None, generator: Generator, tmp_path: Path) -> None:
    config = ExportConfig(name="Faces", site_lowering={"b8.conv0": "folded"})
    out = tmp_path / "deeper" / "faces.segan"
    manifest = export_bundle(generator, out, config).manifest
    assert open_bundle(out).manifest == manifest
    open_bundle(out).verify()
    assert (manifest.name, manifest.opset, manifest.mode) == ("Faces", 18, 2)
    assert manifest.lowering == {"b8.conv0": "folded"}
    assert manifest.provenance["versions"]["torch"] == torch.__version__
    assert set(manifest.files) == {
        "mapping.onnx",
        "offsets.onnx",
        "synthesis.onnx",
        "noise.npy",
        "attributes.json",
    }
    assert open_bundle(out).attributes == {"format": "segan.attributes/1", "attributes": []}
    noise = np.load(out / "noise.npy", allow_pickle=False)
    np.testing.assert_array_equal(noise, generator.synthesis.noise_const()[0].numpy())


def test_the_generator_is_not_changed(quick: None, make_generator: Make, tmp_path: Path) -> None:
    generator = make_generator().train().double()
    export_bundle(generator, tmp_path / "one.segan")
    assert generator.training
    assert generator.w_avg.dtype == torch.float64


def test_zip_holds_the_same(quick: None, generator: Generator, tmp_path: Path) -> None:
    result = export_bundle(generator, tmp_path / "one.segan", ExportConfig(zip=True))
    assert result.zip_path == tmp_path / "one.segan.zip"
    with zipfile.ZipFile(result.zip_path) as archive:
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        assert {name: archive.read(name) for name in archive.namelist()} == contents(result.path)
    np.testing.assert_array_equal(
        load(result.zip_path).generate([1, 2]), load(result.path).generate([1, 2])
    )
    # A second export replaces both.
    again = export_bundle(generator, tmp_path / "one.segan", ExportConfig(zip=True))
    assert again.zip_path == result.zip_path


def test_a_wrong_graph_is_noticed_and_the_old_bundle_stays(
    quick: None,
    made: list[tuple[str, bytes]],
    generator: Generator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    raises_error: RaisesError,
) -> None:
    out = tmp_path / "one.segan"
    export_bundle(generator, out)
    before = contents(out)
    monkeypatch.setattr(exporter, "export_files", lambda *_: spoil(made))
    with raises_error(VerifyError, field="max_error", problem="(psi ") as caught:
        export_bundle(generator, out, ExportConfig(zip=True))
    assert 1e-4 < caught.value.value < 5
    assert "0.0001" in caught.value.expected
    assert contents(out) == before
    assert os.listdir(tmp_path) == ["one.segan"]
    # With a larger tolerance the bundle is written, with the measured figures.
    result = export_bundle(generator, out, ExportConfig(tolerance=5.0))
    assert 1e-4 < result.manifest.verification[0].max_error < 5


@pytest.mark.parametrize("broken", ["checkpoint", "graph"])
def test_not_a_number_fails(
    broken: str,
    make_generator: Make,
    made: list[tuple[str, bytes]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    raises_error: RaisesError,
) -> None:
    generator = make_generator()
    files = dict(made)
    if broken == "checkpoint":
        generator.synthesis.block_list()[1].conv1.bias[0] = torch.nan
        field = "checkpoint"
    else:
        model = load_from_string(files["mapping.onnx"])
        bias = next(entry for entry in model.graph.initializer if entry.name.endswith("fc1.bias"))
        bias.CopyFrom(numpy_helper.from_array(np.full(8, np.nan, np.float32), bias.name))
        files["mapping.onnx"] = model.SerializeToString()
        field = "max_error"
    monkeypatch.setattr(exporter, "export_files", lambda *_: [*files.items()])
    with raises_error(VerifyError, field=field) as caught:
        export_bundle(generator, tmp_path / "one.segan")
    assert field == "checkpoint" or np.isnan(caught.value.value)
    assert not any(tmp_path.iterdir())


def test_replacing(quick: None, generator: Generator, tmp_path: Path) -> None:
    out = tmp_path / "one.segan"
    export_bundle(generator, out)
    # A damaged bundle, or a bundle that is one zip, is replaced too.
    (out / "synthesis.onnx").unlink()
    export_bundle(generator, out, ExportConfig(zip=True))
    open_bundle(out).verify()
    packed = tmp_path / "two.segan"
    (tmp_path / "one.segan.zip").rename(packed)
    export_bundle(generator, packed)
    assert packed.is_dir()
    assert sorted(os.listdir(tmp_path)) == ["one.segan", "two.segan"]


def test_a_link_is_followed(quick: None, generator: Generator, tmp_path: Path) -> None:
    real, link = tmp_path / "real.segan", tmp_path / "link.segan"
    export_bundle(generator, real, ExportConfig(name="old"))
    link.symlink_to(real)
    export_bundle(generator, link, ExportConfig(name="new"))
    assert link.is_symlink()
    assert open_bundle(real).manifest.name == "new"


@pytest.mark.parametrize("kind", ["folder", "file", "zip", "web"])
def test_something_else_is_not_replaced(
    kind: str, quick: None, generator: Generator, tmp_path: Path, raises_error: RaisesError
) -> None:
    out = tmp_path / "mine.segan"
    if kind in ("folder", "web"):
        out.mkdir()
        name = "manifest.json" if kind == "web" else "thesis.tex"
        (out / name).write_text('{"format": "web app"}')
    elif kind == "zip":
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr("thesis.tex", "")
    else:
        out.write_text("mine")
    with raises_error(OutputError, field="out", value=out):
        export_bundle(generator, out)
    assert os.listdir(tmp_path) == ["mine.segan"]


def test_another_file_under_the_zips_name_is_not_replaced(
    quick: None, generator: Generator, tmp_path: Path, raises_error: RaisesError
) -> None:
    (tmp_path / "one.segan.zip").write_text("mine")
    with raises_error(OutputError, field="out", value=tmp_path / "one.segan.zip"):
        export_bundle(generator, tmp_path / "one.segan", ExportConfig(zip=True))
    assert os.listdir(tmp_path) == ["one.segan.zip"]


@pytest.mark.parametrize("name", ["faces", "faces.onnx", ".segan"])
def test_name_without_suffix(
    name: str, generator: Generator, tmp_path: Path, raises_error: RaisesError
) -> None:
    out = tmp_path / name
    with raises_error(ConfigError, field="out", value=out, expected="a name that ends in .segan"):
        export_bundle(generator, out)


def test_unwritable_folder(quick: None, generator: Generator, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="there is a file where a folder is expected"):
        export_bundle(generator, tmp_path / "file" / "one.segan")


@pytest.mark.parametrize("after", [0, 3, 5, 6])
def test_full_disk(
    after: int, quick: None, generator: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "one.segan"
    export_bundle(generator, out)
    before, calls, fsync = contents(out), [0], os.fsync

    def fill(handle: int) -> None:
        calls[0] += 1
        if calls[0] > after:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", fill)
    with pytest.raises(OutputError, match="the disk is full"):
        export_bundle(generator, out)
    assert contents(out) == before
    assert os.listdir(tmp_path) == ["one.segan"]


def test_failing_rename_puts_the_old_bundle_back(
    quick: None, generator: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "one.segan"
    export_bundle(generator, out)
    before, rename = contents(out), os.rename

    def fail(source: Path, target: Path) -> None:
        if Path(source).name.endswith(".tmp") and ".old." not in Path(source).name:
            raise OSError(errno.EIO, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(OutputError, match="Input/output error"):
        export_bundle(generator, out)
    assert contents(out) == before
    assert os.listdir(tmp_path) == ["one.segan"]


def test_bad_settings(generator: Generator, tmp_path: Path, raises_error: RaisesError) -> None:
    lowering: Any = "bicubic"
    forms = "one of transposed, subpixel, folded"
    with raises_error(ConfigError, field="lowering", value="bicubic", expected=forms):
        ExportConfig(lowering=lowering)
    for tolerance in (0.0, -1.0, float("nan"), float("inf")):
        with raises_error(ConfigError, field="tolerance", value=tolerance):
            ExportConfig(tolerance=tolerance)
    for sizes in ((), (0,), (3, -1)):
        with raises_error(ConfigError, field="batch_sizes", value=sizes):
            ExportConfig(batch_sizes=sizes)
    config = ExportConfig(site_lowering={"b16.conv0": "folded"})
    with raises_error(
        ConfigError, field="site_lowering", value="b16.conv0", expected="one of b8.conv0"
    ):
        export_bundle(generator, tmp_path / "one.segan", config)


def test_seeds_are_fresh_for_each_checkpoint_and_repeatable() -> None:
    one, two = fresh_seeds(500, "a" * 64), fresh_seeds(500, "b" * 64)
    assert one == fresh_seeds(500, "a" * 64)
    assert not set(one) & set(two)
    assert 0 <= min(one) < 2**30
    assert 3 * 2**30 < max(one) < 2**32


@pytest.mark.parametrize(
    ("text", "expected"),
    [("faces", "faces.segan"), ("my faces/64", "my-faces-64.segan"), ("..", "model.segan")],
)
def test_bundle_name(text: str, expected: str) -> None:
    assert bundle_name(text) == expected


def test_what_killed_exports_left_is_put_right(
    quick: None, generator: Generator, tmp_path: Path
) -> None:
    out = tmp_path / "one.segan"
    export_bundle(generator, out)
    manifest = (out / "manifest.json").read_bytes()
    dead = 2**22 + 1  # no process has this number: Linux stops at 2**22
    os.rename(out, tmp_path / f"one.segan.old-{dead}-01234567")
    draft = tmp_path / f"one.segan.tmp-{dead}-01234567"
    draft.mkdir()
    (draft / "mapping.onnx").write_bytes(b"torn")
    with BundleDraft(out):  # puts the bundle back that was moved aside, and removes the draft
        assert (out / "manifest.json").read_bytes() == manifest
    assert [path.name for path in tmp_path.iterdir()] == ["one.segan"]
