from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from segan.cli import doctor

Segan = Callable[..., subprocess.CompletedProcess[str]]


def test_json_states_what_is_here(segan: Segan, toy_bundle: Path) -> None:
    done = segan("doctor", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["python"] == platform.python_version()
    assert found["packages"]["numpy"] == version("numpy")
    assert found["backends"]["cpu"] == {"works": True, "problem": None}
    assert 1 <= found["cpu"]["cores"] <= (os.cpu_count() or 1)
    assert found["encoders"]["png"] == "Pillow"
    assert found["bundle"] == "toy.segan"
    assert set(found["extras"]) == {
        *("train", "export", "openvino", "gpu", "tensorrt", "tensorrt-rtx", "video")
    }
    # What export needs includes what train needs.
    assert set(found["extras"]["train"]["packages"]) < set(found["extras"]["export"]["packages"])


def test_text_names_what_to_install(segan_here: Segan, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = doctor._version
    monkeypatch.setattr(
        doctor, "_version", lambda name: None if name == "onnxscript" else installed(name)
    )
    done = segan_here("doctor")
    assert done.returncode == 0, done.stderr
    assert "pip install 'segan[export]'" in done.stdout
    assert "No bundle under this folder. Write one with: segan export" in done.stdout
    works = [line for line in done.stdout.splitlines() if line.split() == ["cpu", "works"]]
    assert len(works) == 1


def test_a_backend_that_does_not_work_is_said(
    segan_here: Segan, monkeypatch: pytest.MonkeyPatch
) -> None:
    import segan.runtime.machine as machine

    monkeypatch.setattr(machine, "_NEGATION", b"no model")
    done = segan_here("doctor")
    assert done.returncode == 0
    assert "does not work: " in done.stdout
