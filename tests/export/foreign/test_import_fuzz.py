"""A bounded run of the coverage-guided fuzzer over the readers of foreign files."""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("target", ["files", "safetensors", "latents"])
def test_fuzzing_finds_nothing(fuzz: Callable[[str, str, int], None], target: str) -> None:
    pytest.importorskip("torch", reason="needs torch; the bare environment has none")
    fuzz("fuzz_import.py", target, 100)
