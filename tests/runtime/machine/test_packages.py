from __future__ import annotations

from importlib.metadata import PackageNotFoundError

import pytest

from segan.runtime.machine import packages


def test_onnxruntime_gpu_stands_in_for_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> None:
    def only_gpu(package: str) -> str:
        if package == "onnxruntime-gpu":
            return "1.31.1"
        raise PackageNotFoundError(package)

    monkeypatch.setattr(packages, "version", only_gpu)
    assert packages.required_version("onnxruntime") == "1.31.1 (onnxruntime-gpu)"
    assert packages.required_version("onnxruntime-gpu") == "1.31.1"
    assert packages.required_version("openvino") is None
