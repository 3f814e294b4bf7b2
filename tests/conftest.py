"""Fixtures that the tests of all rooms share. Imports neither torch nor onnx."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

DATA = Path(__file__).parent / "data"


def pytest_configure() -> None:
    """Lets the processes under test see Ctrl-C, also when the tests run in the background.

    A shell starts background jobs with SIGINT ignored, and children inherit that.
    """
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def toy_bundle(tmp_path: Path) -> Path:
    """A fresh copy of toy.segan, a folder: mode 2, 16², RGB, noise, subspaces in layers 0 to 2."""
    return Path(shutil.copytree(DATA / "toy.segan", tmp_path / "toy.segan"))


@pytest.fixture
def toy_bundle_zip(tmp_path: Path) -> Path:
    """A fresh copy of toy_shifts.segan, one zip: mode 1, 16², grey, three classes, no noise."""
    return Path(shutil.copyfile(DATA / "toy_shifts.segan", tmp_path / "toy_shifts.segan"))


@pytest.fixture
def toy_bundle_plain(tmp_path: Path) -> Path:
    """A fresh copy of toy_plain.segan, a folder: mode 0, 16², RGB, no noise, no subspaces."""
    return Path(shutil.copytree(DATA / "toy_plain.segan", tmp_path / "toy_plain.segan"))


@pytest.fixture(scope="session")
def fake_gpu() -> ModuleType:
    """``fake_gpu.py`` beside this file, which is no test."""
    path = Path(__file__).with_name("fake_gpu.py")
    spec = importlib.util.spec_from_file_location("fake_gpu", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fake_gpu"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def replace_file() -> Callable[[Path, str, bytes], None]:
    """replace_file(bundle, name, data) writes a file and its new SHA-256."""

    def replace(bundle: Path, name: str, data: bytes) -> None:
        (bundle / name).write_bytes(data)
        manifest = json.loads((bundle / "manifest.json").read_bytes())
        manifest["files"][name] = hashlib.sha256(data).hexdigest()
        (bundle / "manifest.json").write_text(json.dumps(manifest))

    return replace
