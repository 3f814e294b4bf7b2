"""Small exported bundles, each test with a copy of its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from segan.export.exporter import ExportConfig, export_bundle
from segan.runtime.generate.generator import Generator, load

Make = Callable[..., Any]


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory, make_generator: Make) -> Make:
    """Exports a small generator, once for each mode and kind."""
    folder = tmp_path_factory.mktemp("exported")

    def build(mode: int, kind: str) -> Path:
        path = folder / f"{mode}{kind}.segan"
        if not path.exists():
            trained = make_generator(resolution=16, mode=mode, kind=kind)
            export_bundle(trained, path, ExportConfig(batch_sizes=(2,)))
        return path

    return build


@pytest.fixture
def bundle(tmp_path: Path, exported: Make) -> Callable[..., Generator]:
    """A bundle of the given mode and kind, open; a copy of its own."""

    def build(mode: int = 2, kind: str = "eigen") -> Generator:
        return load(shutil.copytree(exported(mode, kind), tmp_path / "model.segan"))

    return build
