"""``segan.train``: its public names, and what importing it costs."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import segan.train

#: Rooms whose modules import no torch when they are imported.
LIGHT = ("segan.train", "segan.train.data", "segan.train.runs", "segan.train.report")


@pytest.mark.parametrize("package", LIGHT)
def test_importing_it_imports_no_torch(package: str) -> None:
    """Every module of the package, not of the others below ``segan.train``."""
    code = (
        "import importlib, pkgutil, sys\n"
        "package = importlib.import_module(sys.argv[1])\n"
        "names = [sys.argv[1]]\n"
        "if sys.argv[1] != 'segan.train':\n"
        "    found = pkgutil.walk_packages(package.__path__, sys.argv[1] + '.')\n"
        "    names += [module.name for module in found]\n"
        "    assert len(names) > 5\n"
        "for name in names:\n"
        "    importlib.import_module(name)\n"
        "    assert 'torch' not in sys.modules, name\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, package], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_public_names_exist_and_are_described() -> None:
    assert sorted(segan.train.__all__) == segan.train.__all__
    for name in segan.train.__all__:
        assert inspect.getdoc(getattr(segan.train, name)), name
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        segan.train.trian  # noqa: B018
