"""The public names of segan.export."""

from __future__ import annotations

import subprocess
import sys

import pytest

import segan.export


def test_importing_the_package_is_light() -> None:
    code = "import sys, segan.export; sys.exit(bool({'torch', 'onnx'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_public_name_exists_and_is_described() -> None:
    pytest.importorskip("torch", reason="needs torch; the bare environment has none")
    for name in segan.export.__all__:
        found = getattr(segan.export, name)
        assert found.__name__ == name
        assert found.__doc__
    with pytest.raises(AttributeError, match="export_all"):
        _ = segan.export.export_all
