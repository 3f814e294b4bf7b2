from __future__ import annotations

from pathlib import Path

import pytest

from segan.runtime.bundle import shipped
from segan.runtime.bundle.attributes import read_attributes
from segan.runtime.bundle.layout import Slider
from segan.runtime.bundle.reader import open_bundle
from segan.runtime.bundle.shipped import is_shipped, newest_or_shipped, shipped_bundle
from segan.runtime.errors import BundleError
from segan.runtime.generate.generator import load


def test_one_model_ships_and_is_whole() -> None:
    path = shipped_bundle()
    assert path.is_file()
    assert path.stat().st_size <= 10_000_000
    bundle = open_bundle(path)
    bundle.verify()
    assert bundle.manifest.name == path.stem
    assert bundle.manifest.mode == 2
    about = bundle.manifest.provenance["shipped_model"]
    assert about["trained_with"].startswith("segan train --mode 2")


def test_what_the_readme_types_shows_something() -> None:
    """segan sweep --layer 3 --dim 5 moves a slider that has a name, and can be seen."""
    path = shipped_bundle()
    assert Slider(3, 0, 5) in {entry.slider for entry in read_attributes(open_bundle(path))}
    with load(path, "cpu", threads=1) as generator:
        for seed in range(4):
            ends = generator.sweep(seed, 3, 5, steps=2).astype(float)
            assert abs(ends[1] - ends[0]).mean() > 3, seed


def test_its_names_are_measured() -> None:
    attributes = read_attributes(open_bundle(shipped_bundle()))
    assert attributes
    assert len({entry.slider for entry in attributes}) == len(attributes)
    for entry in attributes:
        assert entry.extra["effect_sd"] >= 1, entry.name
        assert entry.extra["leakage"] <= 0.6, entry.name


def test_a_bundle_under_the_folder_comes_first(toy_bundle: Path, tmp_path: Path) -> None:
    assert newest_or_shipped(tmp_path) == toy_bundle
    empty = tmp_path / "empty"
    empty.mkdir()
    assert newest_or_shipped(empty) == shipped_bundle()


def test_what_is_shipped(toy_bundle: Path) -> None:
    assert is_shipped(shipped_bundle())
    assert not is_shipped(toy_bundle)
    link = toy_bundle.with_name("link.segan")
    link.symlink_to(shipped_bundle())
    assert is_shipped(link)


@pytest.mark.parametrize("count", [0, 2])
def test_a_broken_installation_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    models = tmp_path / "models"
    models.mkdir()
    for number in range(count):
        (models / f"{number}.segan").touch()
    monkeypatch.setattr(shipped, "MODELS", models)
    with pytest.raises(BundleError, match=f"{count} instead of one"):
        shipped_bundle()
