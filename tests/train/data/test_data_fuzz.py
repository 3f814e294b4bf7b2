"""Bounded runs of the coverage-guided fuzzer over the readers of pictures and data sets."""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("target", ["pictures", "zips", "lmdb", "labels"])
def test_fuzzing_finds_nothing(fuzz: Callable[[str, str, int], None], target: str) -> None:
    fuzz("fuzz_data.py", target, 100)
