"""The toy bundles in tests/data are what tests/make_toy_bundle.py writes."""

from __future__ import annotations

import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest

from segan.runtime.bundle.reader import open_bundle
from segan.runtime.generate.generator import load

pytest.importorskip("onnx", reason="needs onnx; the bare environment has none")
TESTS = Path(__file__).parents[1]


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Newly made bundles and weights."""
    runpy.run_path(str(TESTS / "make_toy_bundle.py"))["main"](tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["toy", "toy_shifts", "toy_plain"])
def test_making_a_bundle_again_gives_the_same_images(made: Path, name: str) -> None:
    old, new = (open_bundle(folder / f"{name}.segan") for folder in (TESTS / "data", made))
    fields = set(old.manifest.__struct_fields__) - {"files"}
    for field in fields:
        assert getattr(old.manifest, field) == getattr(new.manifest, field)
    assert old.manifest.files.keys() == new.manifest.files.keys()
    label = 1 if old.manifest.c_dim else None
    one, two = (load(bundle.path).generate(range(8), class_index=label) for bundle in (old, new))
    np.testing.assert_array_equal(one, two)
    with (
        np.load(TESTS / "data" / f"{name}.npz", allow_pickle=False) as weights,
        np.load(made / f"{name}.npz", allow_pickle=False) as again,
    ):
        assert set(weights) == set(again)
        for key in weights:
            np.testing.assert_array_equal(weights[key], again[key])


def test_the_toys_stay_small(made: Path) -> None:
    for name in ("toy.segan", "toy_plain.segan"):
        packed = shutil.make_archive(str(made / name), "tar", made / name)
        assert Path(packed).stat().st_size < 100_000
    assert (made / "toy_shifts.segan").stat().st_size < 100_000
