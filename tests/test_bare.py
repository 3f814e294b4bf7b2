"""The light half, segan.runtime and segan.cli, stands without torch, onnx and every extra."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import requires
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HEAVY = ("torch", "onnx", "onnxscript", "safetensors", "lmdb", "matplotlib", "tensorboard", "av")


def test_every_light_module_imports_without_the_extras() -> None:
    code = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({HEAVY!r}))\n"  # None there: import raises
        "sys.path.append(sys.argv[1])\n"
        "from import_every_module import module_names\n"
        "names = module_names('runtime') + module_names('cli')\n"
        f"assert not [name for name in {HEAVY!r} if sys.modules[name] is not None]\n"
        "print(len(names))"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 40


@pytest.mark.skipif("SEGAN_BARE" not in os.environ, reason="only .ci/run's light half is bare")
def test_the_bare_environment_is_bare() -> None:
    assert [name for name in HEAVY if importlib.util.find_spec(name)] == []


def test_the_core_asks_for_nothing_heavy() -> None:
    core = [text for text in requires("segan") or [] if "extra ==" not in text]
    assert core
    assert not {re.split(r"[^\w-]", text)[0] for text in core} & set(HEAVY)
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert len(core) == len(declared["project"]["dependencies"])
