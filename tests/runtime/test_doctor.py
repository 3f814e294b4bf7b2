from __future__ import annotations

import os
from pathlib import Path

import pytest

from segan.runtime.doctor import describe_encoders, try_backends
from segan.runtime.machine.hardware import describe_cpu, describe_memory


def test_the_processor() -> None:
    found = describe_cpu()
    assert found["name"]
    assert 1 <= found["cores"] <= found["threads"] == os.cpu_count()


def test_memory_agrees_with_sysconf() -> None:
    found = describe_memory()
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError):
        pytest.skip("this system does not tell")
    assert found["total"] == pytest.approx(total, rel=0.01)
    if found["available"] is not None:
        assert 0 < found["available"] <= total


def test_a_system_that_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", nothing)
    monkeypatch.setattr(os, "sysconf", lambda _: -1, raising=False)
    assert describe_cpu()["instruction_sets"] is None
    assert describe_memory()["available"] is None


def test_the_cpu_backend_works_here() -> None:
    assert try_backends()["cpu"] is None


def test_encoders() -> None:
    found = describe_encoders()
    assert list(found) == ["png", "jpeg", "webp", "gif", "mp4"]
    assert found["png"] == found["gif"] == "Pillow"
