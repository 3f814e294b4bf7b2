"""A bounded run of the coverage-guided fuzzer over the readers of bundles."""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("target", ["zip", "manifest", "attributes", "graph", "noise"])
def test_fuzzing_finds_nothing(fuzz: Callable[[str, str, int], None], target: str) -> None:
    pytest.importorskip("onnx", reason="needs onnx; the bare environment has none")
    fuzz("fuzz_bundle.py", target, 50)
