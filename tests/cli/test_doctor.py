from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from segan.runtime.files.cache import cache_root
from segan.runtime.machine import packages

Segan = Callable[..., subprocess.CompletedProcess[str]]


def test_json_states_what_is_here(segan: Segan, toy_bundle: Path) -> None:
    done = segan("doctor", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["python"] == platform.python_version()
    assert found["packages"]["numpy"] == version("numpy")
    assert list(found["backends"]) == ["tensorrt", "cuda", "openvino", "cpu"]
    cpu = found["backends"]["cpu"]
    assert cpu == {"works": True, "problem": None, "precisions": ["fp32", "fp16", "int8"]}
    for entry in found["backends"].values():
        assert entry["works"] == (entry["problem"] is None) == bool(entry["precisions"])
    assert found["cache"] == {"folder": str(cache_root()), "problem": None}
    assert bool(found["gpus"]["devices"]) == (found["gpus"]["problem"] is None)
    assert 1 <= found["cpu"]["cores"] <= (os.cpu_count() or 1)
    assert found["encoders"]["png"] == "Pillow"
    assert found["bundle"] == "toy.segan"
    assert set(found["extras"]) == {
        *("train", "export", "heic", "metrics", "openvino", "tensorrt", "tensorrt-rtx", "video")
    }
    # What export needs includes what train needs.
    assert set(found["extras"]["train"]["packages"]) < set(found["extras"]["export"]["packages"])


def test_text_names_what_to_install(segan_here: Segan, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = packages.installed_version
    monkeypatch.setattr(
        packages,
        "installed_version",
        lambda name: None if name == "onnxscript" else installed(name),
    )
    done = segan_here("doctor")
    assert done.returncode == 0, done.stderr
    assert "pip install 'segan[export]'" in done.stdout
    assert (
        "No bundle under this folder: commands take the one that ships with segan." in done.stdout
    )
    works = [line for line in done.stdout.splitlines() if line.split()[:2] == ["cpu", "works:"]]
    assert len(works) == 1


def test_a_backend_that_does_not_work_is_said(
    segan_here: Segan, monkeypatch: pytest.MonkeyPatch
) -> None:
    import segan.runtime.doctor as machine

    monkeypatch.setattr(machine, "_NEGATION", b"no model")
    done = segan_here("doctor")
    assert done.returncode == 0
    assert "does not work: " in done.stdout


def test_a_gpu_and_what_it_needs(segan_here: Segan, monkeypatch: pytest.MonkeyPatch) -> None:
    from segan.runtime.machine import hardware
    from segan.runtime.machine.gpus import CudaDevice

    device = CudaDevice(
        index=0, name="Card X", capability=(9, 0), memory=80 * 2**30, driver=(13, 0)
    )
    monkeypatch.setattr(hardware, "cuda_devices", lambda: [device])
    monkeypatch.setattr(hardware, "why_no_gpu", lambda: None)
    done = segan_here("doctor")
    assert "Card X, 80.0 GiB, compute capability 9.0, driver for CUDA 13.0" in done.stdout
    found = json.loads(segan_here("doctor", "--json").stdout)
    assert found["gpus"]["devices"] == [
        {"name": "Card X", "memory": 80 * 2**30, "capability": "9.0", "cuda": "13.0"}
    ]


def test_without_a_gpu_it_says_why(segan_here: Segan, monkeypatch: pytest.MonkeyPatch) -> None:
    from segan.runtime.machine import hardware

    monkeypatch.setattr(hardware, "cuda_devices", list)
    monkeypatch.setattr(hardware, "why_no_gpu", lambda: "no NVIDIA driver is installed here")
    assert "none: no NVIDIA driver is installed here" in segan_here("doctor").stdout


def test_a_cache_that_others_may_write_is_said(
    segan_here: Segan, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    folder.chmod(0o777)
    monkeypatch.setenv("SEGAN_CACHE", str(folder))
    if not hasattr(os, "getuid"):
        pytest.skip("this system has no such permissions")
    assert "can be written by other users" in segan_here("doctor").stdout
