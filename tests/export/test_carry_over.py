"""A bundle that is replaced: its names and directions stay, or it does."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from segan.export.directions.write import DirectionsConfig, write_directions
from segan.export.exporter import ExportConfig, export_bundle
from segan.runtime.bundle.attributes import Attribute, read_attributes
from segan.runtime.bundle.attributes_editing import change_attributes, name_slider
from segan.runtime.bundle.layout import Slider
from segan.runtime.bundle.reader import open_bundle
from segan.runtime.errors import BundleError, OutputError
from segan.runtime.generate.generator import load

if TYPE_CHECKING:
    from tests.conftest import RaisesError

Make = Callable[..., Any]
pytestmark = pytest.mark.slow
QUICK = ExportConfig(batch_sizes=(1,))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, make_generator: Make) -> Path:
    """The bundle of ``make_generator()``."""
    path = tmp_path_factory.mktemp("exported") / "one.segan"
    return export_bundle(make_generator(), path, QUICK).path


@pytest.fixture
def out(exported: Path, tmp_path: Path) -> Path:
    """A copy of it, which may be changed."""
    return Path(shutil.copytree(exported, tmp_path / "one.segan"))


def name(path: Path, slider: Slider, text: str) -> None:
    change_attributes(path, lambda bundle: name_slider(bundle, slider, text))


def names(path: Path) -> dict[str, str]:
    return {entry.name: str(entry.slider) for entry in read_attributes(open_bundle(path))}


def directions(path: Path, out: Path | None = None, dims: int = 2) -> None:
    config = DirectionsConfig(method="sefa", dims=dims, samples=200)
    with load(path, "cpu") as generator:
        write_directions(generator, out or path, config)


@pytest.mark.parametrize("mode", [0, 1, 2])
def test_the_same_weights_keep_names_and_directions(
    make_generator: Make, tmp_path: Path, mode: int
) -> None:
    out, generator = tmp_path / "one.segan", make_generator(mode=mode)
    export_bundle(generator, out, QUICK)
    directions(out)
    directions(out, dims=3)
    named = Slider(0, 0, 1)
    name(out, named, "smile")
    before, known = open_bundle(out), names(out)
    with load(out, "cpu") as opened:
        expected = opened.generate([3], sliders={"L1N0D1": 0.7, "smile": 1.0})
    result = export_bundle(generator, out, ExportConfig(batch_sizes=(1,), precisions=("fp16",)))
    assert result.carried == (len(known), 4)
    assert names(out) == known
    after = open_bundle(out)
    after.verify()
    assert result.manifest == after.manifest
    assert after.manifest.subspaces == before.manifest.subspaces
    assert after.manifest.provenance["directions"] == before.manifest.provenance["directions"]
    assert "fp16" in after.manifest.graphs.synthesis
    with load(out, "cpu") as opened:
        found = opened.generate([3], sliders={"L1N0D1": 0.7, "smile": 1.0})
    assert np.array_equal(found, expected)
    assert [path.name for path in tmp_path.iterdir()] == ["one.segan"]


def test_other_weights_do_not_replace_names_or_directions(
    make_generator: Make, tmp_path: Path, out: Path, raises_error: RaisesError
) -> None:
    other = make_generator(seed=1)
    bare = Path(shutil.copytree(out, tmp_path / "bare.segan"))
    name(out, Slider(0, 0, 1), "smile")
    with raises_error(OutputError, field="out", value=out, problem="1 named slider"):
        export_bundle(other, out, QUICK)
    assert names(out) == {"smile": "L0N0D1"}
    assert export_bundle(other, bare, QUICK).carried == (0, 0)
    directions(bare)
    with raises_error(OutputError, field="out", value=bare, problem="2 subspaces"):
        export_bundle(make_generator(), bare, QUICK)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bare.segan", "one.segan"]


def test_a_name_that_is_given_during_the_export_stays(make_generator: Make, out: Path) -> None:
    def step(text: str) -> None:
        if text.startswith("verifying") and not names(out):
            name(out, Slider(0, 0, 1), "smile")

    export_bundle(make_generator(), out, QUICK, on_step=step)
    assert names(out) == {"smile": "L0N0D1"}


def test_a_bundle_that_may_not_be_replaced(
    make_generator: Make, exported: Path, tmp_path: Path, raises_error: RaisesError
) -> None:
    out, generator = tmp_path / "one.segan", make_generator()

    def step(text: str) -> None:
        # Another process was quicker.
        if text.startswith("verifying") and not out.exists():
            shutil.copytree(exported, out)

    with raises_error(OutputError, field="out", value=out, remedy="`overwrite`"):
        export_bundle(generator, out, QUICK, overwrite=False, on_step=step)
    with raises_error(OutputError, field="out", value=out, remedy="`overwrite`"):
        export_bundle(generator, out, QUICK, overwrite=False)
    open_bundle(out).verify()


def test_names_that_only_the_zip_has(
    make_generator: Make, tmp_path: Path, raises_error: RaisesError
) -> None:
    out, generator = tmp_path / "one.segan", make_generator()
    config = ExportConfig(batch_sizes=(1,), zip=True)
    export_bundle(generator, out, config)
    packed = tmp_path / "one.segan.zip"
    name(packed, Slider(0, 0, 1), "smile")
    with raises_error(OutputError, field="out", value=packed, problem="smile"):
        export_bundle(generator, out, config)
    assert names(packed) == {"smile": "L0N0D1"}
    name(out, Slider(0, 0, 1), "smile")
    export_bundle(generator, out, config)
    assert names(packed) == names(out) == {"smile": "L0N0D1"}


def test_a_damaged_bundle_is_replaced(make_generator: Make, out: Path) -> None:
    name(out, Slider(0, 0, 1), "smile")
    (out / "attributes.json").write_text("{}")
    export_bundle(make_generator(seed=1), out, QUICK)
    assert names(out) == {}


def test_directions_do_not_replace_given_names(
    exported: Path, tmp_path: Path, raises_error: RaisesError
) -> None:
    """The names that directions come with may be replaced, also those of a file of vectors."""
    source, out = exported, tmp_path / "two.segan"
    np.savez(tmp_path / "v.npz", w=np.eye(2, 8), names=np.array(["grin", "age"]))
    config = DirectionsConfig(method="vectors", vectors=tmp_path / "v.npz", samples=200)
    with load(source, "cpu") as generator:
        write_directions(generator, out, config)
    assert "grin, layer 0" in names(out)
    directions(source, out)
    name(out, Slider(0, 1, 0), "pose")
    with raises_error(OutputError, field="out", value=out, problem="pose (L0N1D0)"):
        directions(source, out)
    assert "pose" in names(out)


def test_directions_in_place_keep_the_names_of_these_seconds(out: Path) -> None:
    config = DirectionsConfig(method="pca", dims=2, samples=200)
    with load(out, "cpu") as generator:
        name(out, Slider(0, 0, 1), "smile")
        write_directions(generator, out, config)
    assert names(out)["smile"] == "L0N0D1"
    assert len(names(out)) == 5
    with load(out, "cpu") as generator:
        # Another generator, which has no more directions than before.
        _replace(out, generator.bundle.path / "mapping.onnx")
        with pytest.raises(BundleError, match="another generator"):
            write_directions(generator, out, config)


def _replace(bundle: Path, file: Path) -> None:
    """Give a bundle another file, with its hash."""
    import hashlib

    file.write_bytes(file.read_bytes() + b"\n")
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"][file.name] = hashlib.sha256(file.read_bytes()).hexdigest()
    (bundle / "manifest.json").write_text(json.dumps(manifest))


def test_a_zip_stays_a_zip_in_place(exported: Path, tmp_path: Path) -> None:
    out = tmp_path / "two.segan"

    def named(bundle: Any) -> tuple[Attribute, ...]:
        return name_slider(bundle, Slider(0, 0, 1), "smile")

    change_attributes(exported, named, out)
    assert out.is_file()
    shutil.copyfile(out, tmp_path / "two.segan.zip")
    for path in (out, tmp_path / "two.segan.zip"):
        directions(path)
        assert path.is_file()
        assert names(path)["smile"] == "L0N0D1"
        open_bundle(path).verify()
